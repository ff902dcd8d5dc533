"""NIST's global mapping (GLM): rules that unify spellings before telephone speech is scored.

A rule of a GLM file is ``[GONNA] => {GONNA / GOING TO} / [ ] __ [ ]``: a pattern, its replacement (nothing, words, or
alternatives), and the required text before and after it. At every position of the original text, from left to right,
rules are tried in the order of the file. The result equals that of ``csrfilt.sh -dh`` (NIST SCTK), except for
alternatives of an optional word, which csrfilt corrupts.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from speechllm.errors import DataError
from speechllm.score.nist.network import parse_network, tokenize
from speechllm.score.transcripts import read_lines

APPLIES_TO = re.compile(r';;\s+INPUT_DEPENDENT_APPLICATION\s*=\s*"([^"]*)"')
RULE = re.compile(r"(?P<found>\[[^\]]*\]|\"[^\"]*\"|.*?)\s*=>\s*(?P<rest>.*)")
CONTEXT = re.compile(r"(?P<new>.*?)\s*/\s*(?:\[(?P<before>[^\]]*)\])?\s*__\s*(?:\[(?P<behind>[^\]]*)\])?\s*")
HYPHEN = re.compile(r"(?<=[^( ])-(?=[^) ])")
OPTIONAL = re.compile(r"\( ([^()]*) \)")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Pattern, replacement, and required text on both sides; '' matches any text."""

    found: str
    new: str
    before: str = ""
    behind: str = ""


@dataclass(frozen=True)
class Glm:
    """Global mapping of a text to the scored text, in upper case."""

    name: str
    rules: tuple[Rule, ...]
    by_letter: dict[str, list[Rule]] = field(init=False, repr=False, default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        """Index the rules by their first letter."""
        for rule in self.rules:
            self.by_letter[rule.found[0]].append(rule)

    def __call__(self, text: str) -> str:
        """Apply the rules, split compounds at their hyphens, and mark every word of an optional phrase."""
        spaced = text.upper().replace("(", " ( ").replace(")", " ) ")
        spaced = re.sub(r"([{}])", r" \1 ", spaced)
        mapped = self._map(f" {' '.join(spaced.split())} ")
        mapped = " ".join(HYPHEN.sub(" ", re.sub(r"([{}])", r" \1 ", mapped)).split())
        return OPTIONAL.sub(lambda match: " ".join(map(_optional, match[1].split())), mapped)

    def _map(self, text: str) -> str:
        parts, place = [], 0
        while place < len(text):
            for rule in self.by_letter.get(text[place], ()):
                end = place + len(rule.found)
                if (
                    text.startswith(rule.found, place)
                    and text.endswith(rule.before, 0, place)
                    and text.startswith(rule.behind, end)
                ):
                    parts.append(rule.new)
                    place = end
                    break
            else:
                parts.append(text[place])
                place += 1
        return "".join(parts)


def read_glm(path: Path, kind: Literal["stm", "ctm"], side: Literal["ref", "hyp"]) -> Glm:
    """Read the rules of a GLM file for a kind of file and a side of the score.

    Raises:
        DataError: if the file cannot be read or has no such rule.
    """
    rules, applies = [], True
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        if dependent := APPLIES_TO.match(line):
            applies = _applies(dependent[1].lower(), (kind, side), where)
        content = line.partition(";;")[0].strip()
        if applies and "=>" in content and not content.startswith("*"):
            rules.append(_rule(content, where))
    if not rules:
        raise DataError(f"{path}: found no rule for {kind} and {side}, expected lines such as [A] => [B] / [ ] __ [ ]")
    return Glm(path.name, tuple(rule for rule in rules if rule.found))


def _applies(pattern: str, names: Sequence[str], where: str) -> bool:
    try:
        return any(re.search(pattern, name) for name in names)
    except re.error as error:
        raise DataError(
            f"{where}: found {pattern!r} ({error}), expected a regular expression such as stm|ref"
        ) from error


def _rule(content: str, where: str) -> Rule:
    """Parse one rule without its comment; ``where`` is for errors."""
    match = RULE.match(content)
    context = CONTEXT.fullmatch(match["rest"]) if match else None
    if match is None or any(content.count(opening) != content.count(closing) for opening, closing in ("[]", "{}")):
        expected = "[A] => [B] / [ ] __ [ ], with each bracket and brace closed"
        raise DataError(f"{where}: found {content!r}, expected a rule such as {expected}")
    new = context["new"] if context else match["rest"]
    sides = ((context["before"] or ""), (context["behind"] or "")) if context else ("", "")
    rule = Rule(found=_bare(match["found"]), new=_bare(new), before=sides[0].upper(), behind=sides[1].upper())
    try:
        parse_network(tokenize(rule.new))
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    return rule


def _bare(text: str) -> str:
    """Remove brackets or quotation marks."""
    text = re.sub(r"\[([^\]]*)\]", r"\1", text.strip())
    return (text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text).upper()


def _optional(word: str) -> str:
    return word if word in "{/}@" else f"({word})"
