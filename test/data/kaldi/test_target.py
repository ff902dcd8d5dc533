"""Verbs replace only files that a verb wrote."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from speechllm.bin import main
from speechllm.data.derive.speed import perturb_speed
from speechllm.data.kaldi.data_dir import read_data_dir, read_table, write_data_dir, write_table
from speechllm.data.kaldi.fix import fix_data_dir
from speechllm.data.kaldi.subset import subset_data_dir
from speechllm.errors import DataError

VERBS = (
    "subset SET TARGET --first 2",
    "combine TARGET SET",
    "hold_out SET --speakers 1 --train TARGET --valid NEW",
    "hold_out SET --speakers 1 --train NEW --valid TARGET",
    "make_non_speech TARGET",
    "concatenate SET TARGET --duration 3",
    "perturb_speed SET TARGET --factor 1.1",
    "augment SET TARGET --snr 5 20",
    "import SET TARGET",
    "prepare librispeech CORPUS DATA --sets dev_clean",
)


@pytest.fixture
def data(make_set: Callable[..., Path]) -> Path:
    """Return a directory of four utterances."""
    return make_set(0.3, 0.3, 0.3, 0.3)


def files(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def run(verb: str, data: Path, target: Path) -> int:
    """Run a verb of ``VERBS``; LibriSpeech has one utterance."""
    corpus = data.parent / "corpus" / "LibriSpeech/dev-clean/1/2"
    if not corpus.exists():
        corpus.mkdir(parents=True)
        shutil.copy(read_data_dir(data).utts[0].path, corpus / "1-2-0000.wav")
        (corpus / "1-2.trans.txt").write_text("1-2-0000 HELLO\n")
    places = {"SET": data, "TARGET": target, "NEW": data.parent / "new", "CORPUS": data.parent / "corpus"}
    if verb.startswith("prepare"):
        places["DATA"] = target.parent
    return main([str(places.get(word, word)) for word in verb.split()])


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_or_file_of_the_user_is_refused(data: Path, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = data.parent / "dev_clean"
    target.mkdir()
    (target / "t.tex").write_text("years")
    before = files(target)
    assert run(verb, data, target) == 1
    assert f"{target}: found files that speechllm did not write (t.tex), expected" in capsys.readouterr().err
    assert files(target) == before
    shutil.rmtree(target)
    target.write_text("years")
    assert run(verb, data, target) == 1
    assert f"{target}: found a file" in capsys.readouterr().err
    assert target.read_text() == "years"


@pytest.mark.parametrize("verb", VERBS)
def test_only_what_a_verb_wrote_is_replaced_and_that_is_said(
    data: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = data.parent / "dev_clean"
    target.mkdir()  # empty
    assert run(verb, data, target) == 0
    assert "replaced" not in capsys.readouterr().err
    (target / "fingerprint").write_text("another command\n")
    assert run(verb, data, target) == 0
    assert f"{target}: replaced the data directory of `another command`" in capsys.readouterr().err
    (target / "fingerprint").write_text("another command\n")
    (target / "notes").write_text("mine")
    before = files(target)
    assert run(verb, data, target) == 1
    assert files(target) == before
    (target / "notes").unlink()
    (target / "fingerprint").unlink()  # so that it may be the user's own
    before = files(target)
    assert run(verb, data, target) == 1
    assert files(target) == before


@pytest.mark.parametrize("verb", [verb for verb in VERBS if "SET" in verb])
@pytest.mark.parametrize("place", [".", "..", "inside", "link"])
def test_a_target_is_apart_from_the_source(data: Path, verb: str, place: str) -> None:
    (data.parent / "apart").mkdir()
    data.rename(data.parent / "apart/set")
    data = data.parent / "apart/set"
    (data.parent / "link").symlink_to("set")
    before = files(data)
    assert run(verb, data, data.parent / "link" if place == "link" else data / place) == 1
    assert files(data) == before


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.startswith(("concatenate", "perturb", "augment"))])
def test_the_audio_folder_is_as_safe_as_the_target(data: Path, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    target, audio = data.parent / "copy", data.parent / "copy_audio"
    audio.mkdir()
    (audio / "mine.wav").write_text("years")
    assert run(verb, data, target) == 1
    assert f"{audio}: found files that speechllm did not write (mine.wav)" in capsys.readouterr().err
    (audio / "mine.wav").unlink()
    assert run(verb, data, target) == 0
    for folder in (target, audio):
        (folder / "fingerprint").write_text("another command\n")
    (audio / "mine.wav").write_text("years")
    assert run(verb, data, target) == 1
    assert (audio / "mine.wav").read_text() == "years"
    (audio / "mine.wav").unlink()
    assert run(verb, data, target) == 0
    assert f"{audio}: replaced the audio of `another command`" in capsys.readouterr().err


def test_audio_of_an_earlier_version_is_known_by_the_tables(data: Path, tmp_path: Path) -> None:
    perturb_speed(data, tmp_path / "copy", 1.1)
    (tmp_path / "copy_audio/utt_ids").unlink()
    (tmp_path / "copy_audio/mine.wav").touch()
    with pytest.raises(DataError, match=r"did not write \(mine.wav\)"):
        perturb_speed(data, tmp_path / "copy", 0.9)
    (tmp_path / "copy_audio/mine.wav").unlink()
    assert perturb_speed(data, tmp_path / "copy", 0.9)


def test_recordings_of_the_source_are_never_in_the_replaced_audio(data: Path, tmp_path: Path) -> None:
    perturb_speed(data, tmp_path / "copy", 1.1)
    subset_data_dir(tmp_path / "copy", tmp_path / "part", first=2)
    before = files(tmp_path / "copy_audio")
    with pytest.raises(DataError, match="copy_audio: is the source"):
        perturb_speed(tmp_path / "part", tmp_path / "copy", 0.9)
    assert files(tmp_path / "copy_audio") == before


def test_a_fixed_directory_is_still_known(data: Path, tmp_path: Path) -> None:
    subset_data_dir(data, tmp_path / "part", first=3)
    (tmp_path / "part/spk2utt").unlink()
    fix_data_dir(tmp_path / "part")
    assert subset_data_dir(data, tmp_path / "part", first=2)
    (tmp_path / "part/spk2utt").unlink()
    fix_data_dir(tmp_path / "part")
    (tmp_path / "part/.backup/mine").touch()
    with pytest.raises(DataError, match="backup"):
        subset_data_dir(data, tmp_path / "part", first=3)


def test_further_files_of_a_corpus_are_known_and_others_of_their_names_are_not(data: Path, tmp_path: Path) -> None:
    utts = read_data_dir(data).utts
    write_data_dir(tmp_path / "scored", utts, fingerprint="prepare x\n", files={"ref.stm": "A"})
    write_data_dir(tmp_path / "scored", utts, fingerprint="prepare y\n")
    (tmp_path / "scored/ref.stm").write_text("mine")
    with pytest.raises(DataError, match=r"ref\.stm"):
        write_data_dir(tmp_path / "scored", utts, fingerprint="prepare x\n")


def test_a_linked_target_stays_a_link(data: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "part").symlink_to("disk")
    assert subset_data_dir(data, tmp_path / "part", first=2)
    assert (tmp_path / "part").is_symlink() and (tmp_path / "disk/text").is_file()


@pytest.mark.parametrize("utt_id", ["spk0-../../../x", "spk0-/x", "spk0--" + "ä" * 130])
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.startswith(("concatenate", "perturb", "augment"))])
def test_an_id_that_is_no_file_name_is_refused_before_anything_is_written(
    data: Path, utt_id: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("wav.scp", "text", "utt2spk", "utt2dur"):
        table = read_table(data / name)
        write_table(data / name, {utt_id if key == "spk0-000" else key: value for key, value in table.items()})
    before = files(data.parent)
    assert run(verb, data, data.parent / "target") == 1
    assert "1 ids that are not valid file names" in capsys.readouterr().err
    assert {name for name in files(data.parent) if not name.startswith("corpus")} == before.keys()


def test_a_prefix_that_leads_elsewhere_is_refused(data: Path, tmp_path: Path) -> None:
    assert main(["augment", str(data), str(tmp_path / "x"), "--snr", "5", "5", "--prefix", "../../y"]) == 1


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.startswith(("concatenate", "perturb", "augment"))])
def test_other_audio_under_the_same_names_is_made_anew(data: Path, verb: str) -> None:
    target = data.parent / "copy"
    assert run(verb, data, target) == 0
    before = files(data.parent / "copy_audio")
    first, second = (utt.path for utt in read_data_dir(data).utts[:2])
    kept = target.stat().st_ino
    assert run(verb, data, target) == 0
    assert target.stat().st_ino == kept
    first.write_bytes(first.read_bytes()[:-400] + b"\x30\x10" * 200)
    assert second.exists()
    assert run(verb, data, target) == 0
    after = files(data.parent / "copy_audio")
    assert before.keys() == after.keys() and before != after


def test_a_damaged_file_of_an_interrupted_run_is_written_again(data: Path, tmp_path: Path) -> None:
    perturb_speed(data, tmp_path / "copy", 1.1)
    before = files(tmp_path / "copy_audio")
    shutil.rmtree(tmp_path / "copy")
    path = next((tmp_path / "copy_audio").glob("*.flac"))
    path.write_bytes(b"")
    perturb_speed(data, tmp_path / "copy", 1.1)
    assert files(tmp_path / "copy_audio") == before
