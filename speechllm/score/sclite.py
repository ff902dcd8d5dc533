r"""``result.txt``, identical to the output of ``sclite -i rm -s -e utf-8 -o sum pralign``.

The format is that of NIST SCTK 2.4 (``sctk sclite`` in Debian): the percentages by speaker, then every alignment.
There are two deliberate differences. For sclite ``{ / } @ ; \`` are markup in every transcript; here ``;`` and ``\``
are parts of words, and so are the others in hypotheses and in Kaldi's ``text``. If several speakers have no reference
words, sclite excludes wrong rows from mean, deviation and median; here the correct rows are excluded.
"""

import math
from collections.abc import Sequence

import numpy as np

from speechllm.score.wer import Counts, ScoredUtterance, by_speaker, count

LINE_WIDTH = 1000
"""Maximum line length of an alignment block, sclite's default (bytes)."""

PAGE_WIDTH = 80
HEADER = (" SPKR", " # Snt", "# Wrd", "Corr", " Sub", " Del", " Ins", " Err", "S.Err")
FOOTNOTE = """
* No Reference words for this/these speaker(s).  Word counts supplied
  rather than percents.
# No Reference words for this/these speaker(s).  NCE not computable.
+ Speaker(s) with no reference data is ignored
"""


def format_result(utterances: Sequence[ScoredUtterance], title: str = "hyp.trn") -> str:
    """Return the content of ``result.txt``; ``title`` is the name of the hypothesis file."""
    speakers = by_speaker(utterances)
    return _summary({name: count(spoken) for name, spoken in speakers.items()}, title) + _alignments(speakers, title)


def _summary(speakers: dict[str, Counts], title: str) -> str:
    total = _add(list(speakers.values()))
    left = [[f" {name} ", *_cells(counts)] for name, counts in speakers.items()]
    left.append([" Sum/Avg", *_cells(total)])
    centred = _statistics(list(speakers.values()))
    widths = [max(map(len, column)) for column in zip(HEADER, *left, *centred, strict=True)]
    lines = ["|" + _centre(title, sum(widths) + 8) + "|", _rule(widths, "-", "-"), _row(list(HEADER), widths)]
    for row in left[:-1]:
        lines += [_rule(widths, "-", "+"), _row(row, widths)]
    lines += [_rule(widths, "=", "="), _row(left[-1], widths), _rule(widths, "=", "=")]
    lines += [_row([_centre(row[0], widths[0]), *row[1:]], widths) for row in centred]
    border = "-" * (sum(widths) + 8)
    indent = " " * ((PAGE_WIDTH - len(border) - 2) // 2)
    table = "\n".join(indent + line for line in (f",{border}.", *lines, f"`{border}'"))
    heading = "SYSTEM SUMMARY PERCENTAGES by SPEAKER".center(PAGE_WIDTH)
    footnote = FOOTNOTE if any(not counts.words for counts in speakers.values()) else ""
    return f"\n\n\n{heading}\n\n{table}\n{footnote}"


def _cells(counts: Counts) -> list[str]:
    """Return Snt, Wrd and the percentages; without reference words, the counts with a star."""
    shares = [f"{_round(value):5.1f} " for value in counts.percentages]
    if not counts.words:
        numbers = (counts.correct, counts.substitutions, counts.deletions, counts.insertions, counts.errors)
        shares[:5] = [f"{number:5d}*" for number in numbers]
    return [f"{counts.sentences:5d}", f"{counts.words:5d}", *shares]


def _statistics(speakers: list[Counts]) -> list[list[str]]:
    """Return the rows of mean, sample standard deviation and median over speakers."""
    worded = [counts for counts in speakers if counts.words]
    mark = " " if len(worded) == len(speakers) else "+"
    columns = [
        *(
            [float(number) for number in column]
            for column in zip(*((c.sentences, c.words) for c in speakers), strict=True)
        ),
        *([c.percentages[k] for c in worded] for k in range(5)),
        [c.percentages[5] for c in speakers],
    ]
    marks = [" ", " ", *mark * 5, " "]
    rows = []
    for name, statistic in ((" Mean ", np.mean), (" S.D. ", _deviation), ("Median", np.median)):
        values = [float(statistic(column)) if column else 0.0 for column in columns]
        rows.append([name, *(f"{_round(value):5.1f}{sign}" for value, sign in zip(values, marks, strict=True))])
    return rows


def _deviation(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _round(value: float) -> float:
    """Round half up to one decimal, as sclite does."""
    return math.floor(value * 10 + 0.5) / 10


def _add(parts: list[Counts]) -> Counts:
    return Counts(**{name: sum(getattr(part, name) for part in parts) for name in Counts.__dataclass_fields__})


def _row(cells: list[str], widths: list[int]) -> str:
    middle = [_centre(cell, width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return f"|{cells[0].ljust(widths[0])}|{' '.join(middle[:2])}|{' '.join(middle[2:])}|"


def _rule(widths: list[int], line: str, crossing: str) -> str:
    groups = (widths[:1], widths[1:3], widths[3:])
    return f"|{crossing.join(line * (sum(group) + len(group) - 1) for group in groups)}|"


def _centre(text: str, width: int) -> str:
    """Centre a text with the odd space to the right (str.center varies the side)."""
    return text.rjust((width - len(text)) // 2 + len(text)).ljust(width)


def _alignments(speakers: dict[str, list[ScoredUtterance]], title: str) -> str:
    parts = ["\n\n\t\tDUMP OF SYSTEM ALIGNMENT STRUCTURE\n\n", f"System name:   {title}\n\nSpeakers: \n"]
    parts += [f"   {k:2d}:  {name}\n" for k, name in enumerate(speakers)]
    parts.append("\n")
    for k, (name, utterances) in enumerate(speakers.items()):
        parts.append(f"Speaker sentences{k:4d}:  {name}   #utts: {len(utterances)}\n")
        parts += [_alignment(utterance) for utterance in utterances]
    return "".join(parts) + "\n"


def _alignment(utterance: ScoredUtterance) -> str:
    letters = utterance.alignment
    correct = letters.count("C") + letters.count("O")
    numbers = " ".join(str(number) for number in (correct, *map(letters.count, "SDI")))
    head = f"id: ({utterance.trn_id})\n{utterance.notes}Scores: (#C #S #D #I) {numbers}\nAttributes: Case_sensitve \n"
    if utterance.is_correct:
        words = " ".join(utterance.ref)
        if words and (width := _width(words)) < LINE_WIDTH - 10:
            return f"{head}REF:  {words} \nHYP:  {words} \nEval: {' ' * (width + 1)}\n\n"
    return head + "".join(_lines(_columns(utterance))) + "\n"


def _columns(utterance: ScoredUtterance) -> list[tuple[str, str, str, int]]:
    """Return REF, HYP, Eval and width of each column; widths are bytes of UTF-8, as in sclite."""
    columns = []
    for letter, ref, hyp in utterance.columns():
        width = ref_width = len(ref) if ref.isascii() else len(ref.encode())
        if hyp == ref and letter == "C":
            columns.append((ref, hyp, " " * width, width))
            continue
        hyp_width = _width(hyp)
        if hyp_width > width:
            width = hyp_width
        left = ref + " " * (width - ref_width) if letter != "I" else "*" * width
        right = hyp + " " * (width - hyp_width) if letter != "D" else "*" * width
        columns.append((left, right, (letter if letter not in "CO" else "").ljust(width), width))
    return columns


def _width(word: str) -> int:
    return len(word) if word.isascii() else len(word.encode())


def _lines(columns: list[tuple[str, str, str, int]]) -> list[str]:
    """Return an alignment in blocks of three lines, each shorter than ``LINE_WIDTH``."""
    lines: list[str] = []
    start = 0
    while start < len(columns):
        prefix = ">> " if start else ""
        if start:
            lines.append("\n")
        end, width = start, len(prefix) + 6
        while end < len(columns) and width < LINE_WIDTH:
            width += 1 + columns[end][3]
            end += 1
        if end < len(columns):
            end = max(end - 1, start + 1)
        for k, label in enumerate(("REF: ", "HYP: ", "Eval:")):
            lines.append(f"{prefix}{label} {' '.join([str(column[k]) for column in columns[start:end]])} \n")
        start = end
    return lines
