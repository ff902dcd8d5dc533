"""The verb import: detection of formats, and error messages."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.bin import main, verbs
from speechllm.data.kaldi.data_dir import read_language, read_table
from speechllm.registry import available


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    """Return a source of each format except Hugging Face's, all with the same two files."""
    (tmp_path / "folder").mkdir()
    wavs = [tmp_path / "folder" / f"{name}.wav" for name in "ab"]
    for wav in wavs:
        soundfile.write(wav, np.zeros(16000), 16000)
        wav.with_suffix(".txt").write_text(f"hello {wav.stem}\n")
    (tmp_path / "table.tsv").write_text("".join(f"{wav}\thello {wav.stem}\n" for wav in wavs))
    lines = [{"audio_filepath": str(wav), "text": f"hello {wav.stem}", "duration": 1.0} for wav in wavs]
    (tmp_path / "nemo.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recordings = [{"id": wav.stem, "sources": [{"type": "file", "source": str(wav)}]} for wav in wavs]
    supervisions = [
        {"id": wav.stem, "recording_id": wav.stem, "start": 0, "duration": 1.0, "text": f"hello {wav.stem}"}
        for wav in wavs
    ]
    (tmp_path / "lhotse").mkdir()
    for name, manifest in (("recordings", recordings), ("supervisions", supervisions)):
        text = "".join(json.dumps(line) + "\n" for line in manifest)
        (tmp_path / f"lhotse/{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "kaldi").mkdir()
    (tmp_path / "kaldi/wav.scp").write_text("".join(f"{wav.stem} {wav}\n" for wav in wavs))
    (tmp_path / "kaldi/text").write_text("".join(f"{wav.stem} hello {wav.stem}\n" for wav in wavs))
    (tmp_path / "audiofolder").mkdir()
    metadata = "file_name,text\n" + "".join(f"{wav},hello {wav.stem}\n" for wav in wavs)
    (tmp_path / "audiofolder/metadata.csv").write_text(metadata)
    (tmp_path / "x.trn").write_text("".join(f"hello {wav.stem} ({wav.stem})\n" for wav in wavs))
    files = {"table": "table.tsv", "nemo": "nemo.json", "trn": "x.trn"}
    names = ("folder", "table", "nemo", "lhotse", "kaldi", "audiofolder", "trn")
    return {name: tmp_path / files.get(name, name) for name in names}


def test_every_format_is_found_and_gives_the_same(
    sources: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(sources) == set(available("data.importers")) - {"huggingface", "untranscribed"}
    for name, source in sources.items():
        for options in ([], ["--format", name]):
            target = tmp_path / f"data/{name}{len(options)}"
            assert main(["import", str(source), str(target), *options]) == 0, name
            assert "2 utterances, 2 speakers, 0.00 hours" in capsys.readouterr().out
            assert read_table(target / "text") == {"a": "hello a", "b": "hello b"}
            assert f"import {name} " in (target / "fingerprint").read_text()


def test_the_status_says_that_something_was_left_out(sources: dict[str, Path], tmp_path: Path) -> None:
    with sources["table"].open("a") as table:
        table.write("gone.wav\thello\n")
    assert main(["import", str(sources["table"]), str(tmp_path / "out")]) == 3
    assert len(read_table(tmp_path / "out/text")) == 2


def test_the_language_is_recorded(sources: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(sources["table"]), str(tmp_path / "out"), "--language", "german"]) == 0
    assert read_language(tmp_path / "out") == "german"
    assert main(["import", str(sources["table"]), str(tmp_path / "out"), "--language", "de"]) == 0
    assert read_language(tmp_path / "out") == "de"
    assert main(["import", str(sources["table"]), str(tmp_path / "other"), "--language", "xx"]) == 1
    assert "--language: found the language 'xx'" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_formats_that_are_not_read_are_listed(
    sources: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mpeg4 = b"\0\0\0\x20ftypM4A " + bytes(500)
    for path in (sources["folder"] / "c.m4a", sources["audiofolder"] / "c.m4a"):
        path.write_bytes(mpeg4)
    with (sources["audiofolder"] / "metadata.csv").open("a") as metadata:
        metadata.write("c.m4a,hello c\n")
    for name in ("folder", "audiofolder"):
        target = tmp_path / f"data/{name}"
        assert main(["import", str(sources[name]), str(target)]) == 3
        (reason,) = read_table(target / "dropped").values()
        assert "c.m4a" in reason and "ffmpeg -i" in reason


def test_import_is_a_verb_though_a_word_of_python() -> None:
    assert "import" in verbs()
    assert "import_" not in verbs()


def test_mistakes_end_with_a_sentence(
    sources: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sources["folder"] / "notes.md").touch()
    both = sources["kaldi"]
    (both / "metadata.csv").touch()
    target = str(tmp_path / "out")
    for source, options, message in [
        (tmp_path / "gone", [], "gone: no such file or folder"),
        (sources["folder"] / "notes.md", [], "it matches none of them; give --format FORMAT"),
        (both, [], "it may be audiofolder or kaldi; give --format FORMAT"),
        (sources["table"], ["--format", "tabel"], "unknown format 'tabel', expected one of "),
        (sources["table"], ["--format", "tabel"], "did you mean 'table'?"),
        (sources["table"], ["--split", "dev"], "--split: the format table has no such option; leave it out"),
        (
            sources["kaldi"],
            ["--format", "kaldi", "--columns", "text=x"],
            "--columns: the format kaldi has no such option",
        ),
        (sources["table"], ["--columns", "txt=x"], "--columns: found 'txt=x', expected audio=..., text=..."),
        (sources["table"], ["--columns", "text"], "--columns: found 'text', expected audio=..., text=..."),
    ]:
        assert main(["import", str(source), target, *options]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_replaced(
    sources: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    for source, target, message in [
        ("table", tmp_path / "folder", "folder: found files that speechllm did not write (a.txt, "),
        ("kaldi", sources["kaldi"], "kaldi: is the source"),
        ("kaldi", tmp_path, "holds the source"),
        ("kaldi", sources["table"], "table.tsv: found a file, expected a directory"),
    ]:
        assert main(["import", str(sources[source]), str(target)]) == 1
        assert message in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "new").mkdir()
    for source in ("folder", "table"):  # an empty folder, and a data directory
        assert main(["import", str(sources[source]), str(tmp_path / "new")]) == 0


def test_a_format_of_ones_own(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab/pairs.py").write_text(
        "from speechllm.data.kaldi.rows import Row\n"
        "OPTIONS, KEEPS_IDS = frozenset(), False\n"
        "def read(source, audio, options):\n"
        "    for wav in sorted(source.glob('*.wav')):\n"
        "        yield Row(where=wav.name, path=wav, text='mine', speaker='me')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    target = tmp_path / "data/mine"
    assert main(["import", str(sources["folder"]), str(target), "--format", "my_lab.pairs"]) == 0
    assert read_table(target / "utt2spk") == {"me-a": "me", "me-b": "me"}
