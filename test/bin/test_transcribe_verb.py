"""The verb transcribe with a recogniser that outputs the loudness: files, folders, pipes, names and errors."""

import errno
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechllm import api
from speechllm.bin import main
from speechllm.errors import DataError
from speechllm.inference import inputs, outputs
from speechllm.inference.transcribe import Transcriber
from speechllm.inference.transcript import Transcript
from speechllm.interfaces import Hypothesis

RATE = 16000


class LoudnessModel:
    """Replacement of a loaded model; the text of a window is its loudness in per mille and a letter beyond ASCII."""

    max_window = 4.0
    loaded: list[str]

    def fingerprint(self, max_window: float | None = None, context: str = "", language: str = "") -> str:
        return f"toy {max_window or self.max_window} {context} {language}"

    def transcribe_each(
        self,
        audio: Iterable[Path],
        *,
        batch_size: int,
        max_window: float | None,
        context: str,
        language: str,
        progress: Any,
    ) -> Iterator[Transcript | DataError]:
        def recognize(batch: list[np.ndarray]) -> list[list[Hypothesis]]:
            texts = [f"{1000 * np.abs(samples_N).max():.0f} \u00e9" for samples_N in batch]
            return [[Hypothesis(text=text, score=0.0, num_tokens=1, truncated=False)] for text in texts]

        options: Any = {"max_window": max_window or self.max_window, "batch_size": batch_size, "progress": progress}
        return Transcriber(recognize, sample_rate=RATE, **options)(audio)


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that has an entry for each time a model was loaded."""
    times: list[str] = []

    def load(name: str | None, **options: Any) -> LoudnessModel:
        times.append(str(name))
        times.extend(options["overrides"])
        return LoudnessModel()

    monkeypatch.setattr(api, "load", load)
    return times


def record(path: Path, level: float = 0.25, seconds: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        soundfile.write(file, np.full(round(seconds * RATE), level), RATE, format="WAV")
    return path


def transcribe(*arguments: object) -> int:
    return main(["transcribe", *map(str, arguments)])


def test_a_folder_lists_all_that_it_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    record(folder / "a.wav")
    record(folder / "sub/b.wav")
    record(tmp_path / "far/c.wav")
    record(folder / "._a.wav")
    (folder / "link").symlink_to(tmp_path / "far")
    (folder / "sub/cycle").symlink_to(folder)
    (folder / "video.m4a").touch()
    (folder / "gone.wav").symlink_to("nowhere")
    (folder / "notes.txt").touch()
    (folder / "empty.wav").touch()
    os.mkfifo(folder / "pipe.wav")
    assert transcribe(folder) == 3
    out, err = capsys.readouterr()
    assert out == "".join(f"{folder}/{name}\t250 \u00e9\n" for name in ("a.wav", "link/c.wav", "sub/b.wav"))
    for name in ("video.m4a", "gone.wav", "pipe.wav", "empty.wav"):
        assert err.count(f"{folder}/{name}: ") == 1, name
    assert "4 of 7 files left out" in err and "notes" not in err and "._a" not in err


def test_a_format_that_is_not_read_needs_no_model(
    tmp_path: Path, loaded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(500))
    assert transcribe(tmp_path / "a.m4a") == 3
    assert "MPEG-4 (.m4a, .mp4) is an unsupported format; convert it, for example: ffmpeg" in capsys.readouterr().err
    assert transcribe(tmp_path) == 3
    assert "ffmpeg" in capsys.readouterr().err
    assert loaded == []


def test_two_files_of_one_name_are_printed_but_not_written(
    tmp_path: Path, loaded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    both = [record(tmp_path / "day1/rec.wav", 0.1), record(tmp_path / "day2/rec.wav", 0.2)]
    assert transcribe(*both) == 0
    assert capsys.readouterr().out == f"{both[0]}\t100 \u00e9\n{both[1]}\t200 \u00e9\n"
    loaded.clear()
    assert transcribe(*both, "--out", tmp_path / "out") == 1
    assert "both would be written" in capsys.readouterr().err and loaded == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "srt"], "found 2 files, expected one without --out"),
        (["--max_window", "0.0001"], "max_window: found 0.0001 s, expected a number of at least 1 s"),
        (["--max_window", "nan"], "max_window"),
        (["--max_window", "inf"], "max_window"),
        (["--max_window", "-3"], "max_window"),
        (["--batch_size", "0"], "batch_size"),
        (["--out", "{file}"], "found a file, expected a folder"),
    ],
)
def test_arguments_are_checked_before_a_model_is_loaded(
    tmp_path: Path, loaded: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    files = [record(tmp_path / name) for name in ("a.wav", "b.wav")]
    assert transcribe(*files, *(argument.format(file=files[0]) for argument in arguments)) == 1
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert loaded == []


def test_word_times_are_an_override(tmp_path: Path, loaded: list[str]) -> None:
    file = record(tmp_path / "a.wav")
    assert transcribe(file, "--word_times", "--set", "decode.search.num_beams=2") == 0
    assert loaded == ["None", "decode.word_times=true", "decode.search.num_beams=2"]
    loaded.clear()
    assert transcribe(file) == 0
    assert loaded == ["None"]


def test_a_folder_of_transcripts_is_of_one_max_window(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [record(tmp_path / "a.wav"), "--out", tmp_path / "out"]
    assert transcribe(*command) == 0
    assert transcribe(*command, "--max_window", "4") == 0  # the model's own
    assert transcribe(*command, "--max_window", "2") == 1
    assert "--max_window; choose another --out" in capsys.readouterr().err
    (tmp_path / "out" / outputs.RECORD).write_text("{")
    assert transcribe(*command) == 1
    assert "damaged" in capsys.readouterr().err


def test_odd_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [b"caf\xe9.wav", b"caf\xe8.wav", b"x" * 251 + b".wav", b"x" * 250 + b"y.wav", b"line\nbreak.wav"]
    folder = tmp_path / "in"
    for number, name in enumerate(names, start=1):
        record(folder / os.fsdecode(name), number / 10)
    assert transcribe(folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(len(line.split("\t")) == 2 for line in lines)
    assert any("caf\\udce9.wav\t100" in line for line in lines) and any(
        "line\\nbreak.wav\t500" in line for line in lines
    )
    for _ in range(2):  # the second time all are there
        assert transcribe(folder, "--out", tmp_path / "out", "--format", "json") == 0
    err = capsys.readouterr().err
    assert err.count("the transcript is in") == 4
    written = sorted((tmp_path / "out").glob("*.json"))
    texts = {json.loads(path.read_text(encoding="utf-8"))["text"] for path in written}
    assert texts == {f"{100 * number} \u00e9" for number in range(1, 6)}
    assert all(len(os.fsencode(path.name)) < 230 and str(path).encode() for path in written)
    sources = {json.loads(path.read_text(encoding="utf-8"))["source"] for path in written}
    assert {os.fsencode(Path(source).name) for source in sources} == set(names), "the source is the path"


@pytest.mark.parametrize(("encoding", "text"), [("ascii", "250 \\xe9\n"), ("latin-1", "250 \u00e9\n")])
def test_a_terminal_that_cannot_print_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, text: str
) -> None:
    paths = [record(tmp_path / name) for name in ("a.wav", "\u4f60.wav")]
    for form in ("txt", "json"):
        for names in (paths, paths[:1]):
            raw = io.BytesIO()
            monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
            assert transcribe(*names, "--format", form) == 0
            sys.stdout.flush()
            printed = raw.getvalue().decode(encoding)
            if form == "txt":
                assert printed.endswith(text) and printed.count("\n") == len(names)
                assert len(names) == 1 or "\\u4f60.wav\t" in printed
            else:
                found = [json.loads(line) for line in printed.splitlines()] if len(names) > 1 else [json.loads(printed)]
                assert [one["text"] for one in found] == ["250 \u00e9"] * len(names)
                assert [one["source"] for one in found] == [str(path) for path in names]


def test_pipes_and_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = record(tmp_path / "a.wav").read_bytes()
    for name in ("-", "/dev/stdin"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert transcribe(name, "--format", "json") == 0
        assert json.loads(capsys.readouterr().out)["source"] == name
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"no audio")))
    assert transcribe("-") == 3
    assert "transcribe: -: truncated, damaged or no audio" in capsys.readouterr().err
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(data)
    assert transcribe(f"/dev/fd/{reading}", tmp_path / "a.wav") == 0
    assert capsys.readouterr().out == f"/dev/fd/{reading}\t250 \u00e9\n{tmp_path}/a.wav\t250 \u00e9\n"
    os.close(reading)
    os.mkfifo(tmp_path / "pipe.wav")
    thread = threading.Thread(target=lambda: (tmp_path / "pipe.wav").write_bytes(data))
    thread.start()
    assert transcribe(tmp_path / "pipe.wav", "--out", tmp_path / "out") == 0
    thread.join()
    assert (tmp_path / "out/pipe.txt").read_text() == "250 \u00e9\n"


def test_a_pipe_without_a_writer_and_a_device_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inputs, "_PATIENCE", 0.1)
    os.mkfifo(tmp_path / "pipe.wav")
    assert transcribe(tmp_path / "pipe.wav", "/dev/zero", record(tmp_path / "a.wav"), tmp_path / "none.wav") == 3
    out, err = capsys.readouterr()
    assert out == "250 \u00e9\n"
    for message in (
        "found no program that writes to it",
        "/dev/zero: left out: a device",
        "none.wav: no such",
        "3 of 4 files",
    ):
        assert message in err


def test_process_substitution(tmp_path: Path) -> None:
    """A shell's pipe has a path that leads to no file."""
    record(tmp_path / "a.wav")
    code = (
        "import sys\nfrom speechllm.inference.inputs import find_inputs\n"
        "with find_inputs(sys.argv[1:]) as (found, errors):\n"
        "    print(len(found), len(errors), found[0].path.stat().st_size, found[0].name)"
    )
    script = f"{sys.executable} -c '{code}' <(cat {tmp_path}/a.wav)"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"1 0 {(tmp_path / 'a.wav').stat().st_size} /dev/fd/")


def test_what_was_finished_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a full disk nor an interruption takes finished transcripts, or leaves unfinished ones."""
    files = [record(tmp_path / f"in/{name}.wav") for name in "abc"]
    for error in (OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()):
        out = tmp_path / type(error).__name__
        write, count = Path.write_text, 0

        def failing(path: Path, *args: Any, **options: Any) -> int:
            nonlocal count
            count += ".txt" in path.name
            if count == 3:
                raise error  # noqa: B023
            return write(path, *args, **options)  # noqa: B023

        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_text", failing)
            try:
                status = transcribe(*files, "--out", out, "--batch_size", "1")
            except BaseException as raised:
                assert raised is error
            else:
                assert status
        assert sorted(path.name for path in out.iterdir()) == [outputs.RECORD, "a.txt", "b.txt"]
        assert transcribe(*files, "--out", out) == 0
        assert len(list(out.glob("*.txt"))) == 3


def test_messages_are_not_glued_to_the_progress_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file whose end is missing is found while the bar is shown."""
    files = [record(tmp_path / name) for name in ("a.wav", "b.mp3")]
    soundfile.write(files[1], np.random.default_rng(0).uniform(-0.3, 0.3, 3 * RATE), RATE, format="MP3")
    files[1].write_bytes(files[1].read_bytes()[:-300])
    assert transcribe(*files) == 3
    err = capsys.readouterr().err
    (message,) = [part for part in err.replace("\r", "\n").splitlines() if "truncated" in part]
    assert message.startswith("speechllm transcribe: ")
