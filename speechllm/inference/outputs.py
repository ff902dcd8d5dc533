"""Output of transcripts: printed, or written to a folder, where an interrupted run can be resumed."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from tqdm import tqdm

from speechllm.atomic import new_file
from speechllm.data.audio.read import stated_duration
from speechllm.errors import ConfigError, DataError
from speechllm.inference.inputs import Input
from speechllm.inference.transcript import FORMATS, Transcript
from speechllm.interfaces import Seconds

Transcribe: TypeAlias = Callable[[Iterable[Path]], Iterator[Transcript | DataError]]
RECORD = ".transcribed_by"


def check_outputs(inputs: Sequence[Input], out_dir: Path | None, form: str) -> None:
    """Check that the transcripts of all ``inputs`` can be printed (``out_dir`` None) or written.

    Raises:
        ConfigError: for subtitles of several files without ``out_dir``, for two transcripts with the same name, or if
            ``out_dir`` is not a writable folder.
    """
    if out_dir is None:
        if len(inputs) > 1 and form not in ("txt", "json"):
            raise ConfigError(f"--format {form}: found {len(inputs)} files, expected one without --out; set --out")
        return
    owners: dict[Path, Input] = {}
    for one in inputs:
        other = owners.setdefault(one.result, one)
        if other != one:
            raise ConfigError(
                f"{one.name} and {other.name}: both would be written to {_target(one, out_dir, form)}; "
                "transcribe one of them to another --out"
            )
    if out_dir.exists() and not out_dir.is_dir():
        raise ConfigError(f"--out {out_dir}: found a file, expected a folder; choose another name")
    out_dir.mkdir(parents=True, exist_ok=True)
    if not os.access(out_dir, os.W_OK | os.X_OK):
        raise ConfigError(f"--out {out_dir}: found a folder without write permission; choose another one")


def missing_outputs(inputs: Sequence[Input], out_dir: Path | None, form: str) -> list[Input]:
    """Return the inputs without a transcript in ``out_dir``; all inputs if ``out_dir`` is None."""
    return [one for one in inputs if out_dir is None or not _target(one, out_dir, form).exists()]


def measure(inputs: Sequence[Input]) -> tuple[dict[Input, Seconds], list[DataError]]:
    """Open each file; return the durations in the headers, and the errors of unreadable files."""
    durations: dict[Input, Seconds] = {}
    errors: list[DataError] = []
    for one in inputs:
        try:
            durations[one] = stated_duration(one.path)
        except DataError as error:
            errors.append(DataError(str(error).replace(str(one.path), one.name)))
    return durations, errors


@contextlib.contextmanager
def progress_bar(total: Seconds) -> Iterator[Callable[[Seconds], None]]:
    """Show a progress bar of ``total`` seconds of speech; yield a function that adds seconds to it."""
    done = 0.0
    with tqdm(total=round(total), unit="s", desc="speech", dynamic_ncols=True) as bar:

        def progress(seconds: Seconds) -> None:
            nonlocal done
            done += seconds
            bar.update(round(done) - bar.n)

        yield progress


def print_transcripts(inputs: Sequence[Input], transcribe: Transcribe, form: str) -> int:
    """Print the transcripts of ``inputs`` in order; report files without a transcript, and return their number.

    With several files, each has one line: name, tab and text, or JSON.
    """
    num_errors = 0
    for one, result in zip(inputs, transcribe(item.path for item in inputs), strict=True):
        transcript = _reported(one, result)
        if transcript is None:
            num_errors += 1
            continue
        text = FORMATS[form](transcript)
        if form == "json":
            indent = 1 if len(inputs) == 1 else None
            text = json.dumps(json.loads(text), ensure_ascii=not _can_print(text), indent=indent) + "\n"
        elif len(inputs) > 1:
            text = f"{_escaped(one.name)}\t{text}"
        tqdm.write(_printable(text), file=sys.stdout, end="")
        sys.stdout.flush()
    return num_errors


def write_transcripts(
    inputs: Sequence[Input], transcribe: Transcribe, out_dir: Path, form: str, fingerprint: str
) -> int:
    """Write the transcript of each of ``inputs``; report files without a transcript, and return their number.

    Args:
        inputs: result of ``find_inputs``.
        transcribe: function that yields transcripts of files, or errors, in order.
        out_dir: folder of the transcripts, one file each.
        form: one of ``FORMATS``.
        fingerprint: fingerprint of all inputs of a transcript except the audio, the same for the complete folder.

    Raises:
        ConfigError: if the folder contains transcripts with another fingerprint.
    """
    _check_record(out_dir / RECORD, fingerprint)
    num_errors = 0
    for one, result in zip(inputs, transcribe(item.path for item in inputs), strict=True):
        transcript = _reported(one, result)
        if transcript is None:
            num_errors += 1
            continue
        target = _target(one, out_dir, form)
        if one.is_renamed:
            report(f"{_escaped(one.name)}: the name is too long or not UTF-8; the transcript is in {target}")
        with new_file(target) as temporary:
            temporary.write_text(FORMATS[form](transcript), encoding="utf-8", errors="backslashreplace")
    return num_errors


def report(message: str) -> None:
    """Print a line on stderr, above the progress bar, if any."""
    tqdm.write(message, file=sys.stderr)
    sys.stderr.flush()


def _reported(one: Input, result: Transcript | DataError) -> Transcript | None:
    """Report the warnings of a transcript or an error; return the transcript, None for an error."""
    result = one.named(result)
    if isinstance(result, DataError):
        report(f"speechllm transcribe: {result}")
        return None
    for warning in result.warnings:
        report(f"{_escaped(one.name)}: {warning}")
    return result


def _target(one: Input, out_dir: Path, form: str) -> Path:
    return out_dir / one.result.with_name(f"{one.result.name}.{form}")


def _check_record(path: Path, fingerprint: str) -> None:
    if path.exists():
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            found = record.get("identity") or record["fingerprint"]  # earlier versions: identity
        except (ValueError, KeyError, AttributeError) as error:
            raise ConfigError(f"{path}: damaged, expected a JSON object; choose another --out") from error
        if found != fingerprint:
            raise ConfigError(
                f"{path.parent}: found transcripts by another model, search or --max_window; choose another --out, "
                "or remove it"
            )
    with new_file(path) as temporary:
        temporary.write_text(json.dumps({"fingerprint": fingerprint}) + "\n", encoding="utf-8")


def _escaped(name: str) -> str:
    """Return a file name with escapes for control characters and for bytes that are not UTF-8."""
    return "".join(letter if letter == " " or letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def _encoding() -> str:
    return sys.stdout.encoding or "utf-8"


def _can_print(text: str) -> bool:
    try:
        text.encode(_encoding())
    except UnicodeEncodeError:
        return False
    return True


def _printable(text: str) -> str:
    """Return ``text`` with escapes for characters that standard output cannot encode."""
    return text.encode(_encoding(), errors="backslashreplace").decode(_encoding())
