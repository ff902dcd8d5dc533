"""Every verb that writes, killed at each file operation or stopped by a full disk, ends as if uninterrupted."""

import shutil
from collections.abc import Callable
from pathlib import Path

import fault_injection
import pytest
from fault_injection import KILLED, Outcome
from toy_data import energies, make_data_dir

from speechllm import atomic
from speechllm.bin import main
from speechllm.data.dump import dump_job, merge_dump
from speechllm.data.kaldi.data_dir import read_data_dir, write_data_dir
from speechllm.data.kaldi.fix import fix_data_dir

pytestmark = pytest.mark.slow

Run = Callable[[Path], int]


def verb(command: str) -> Run:
    """Return a function that runs a verb; words that begin with ``./`` are paths in a folder."""

    def run(folder: Path) -> int:
        return main([str(folder / word[2:]) if word.startswith("./") else word for word in command.split()])

    return run


def dump(folder: Path, compress: bool = True) -> int:
    for job in (1, 2):
        dump_job(folder / "noise", folder / "dump", energies, {"type": "toy"}, 16000, 2, job, compress)
    merge_dump(folder / "noise", folder / "dump", 2)
    return 0


def fix(folder: Path) -> int:
    fix_data_dir(folder / "broken")
    return 0


VERBS: dict[str, Run] = {
    "subset": verb("subset ./noise ./target --first 2"),
    "combine": verb("combine ./target ./noise"),
    "hold_out": verb("hold_out ./noise --speakers 1 --train ./target --valid ./valid"),
    "fix": fix,
    "perturb_speed": verb("perturb_speed ./noise ./target --factor 1.1"),
    "augment": verb("augment ./noise ./target --snr 5 20"),
    "concatenate": verb("concatenate ./noise ./target --duration 3"),
    "make_non_speech": verb("make_non_speech ./target --kinds silence hum --train 2"),
    "prepare": verb("prepare librispeech ./corpus ./data --sets dev_clean"),
    "import": verb("import ./noise ./target"),
    "dump": dump,
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the inputs of all verbs."""
    folder = tmp_path_factory.mktemp("inputs")
    make_data_dir(folder, 0.2, 0.3, 0.25)
    utts = read_data_dir(folder / "noise").utts
    write_data_dir(folder / "broken", utts)
    (folder / "broken/spk2utt").unlink()
    (folder / "broken/text").write_text("spk0-000 ONLY\nspk0-002\n")
    chapter = folder / "corpus/dev-clean/1/2"
    chapter.mkdir(parents=True)
    shutil.copy(utts[0].path, chapter / "1-2-0000.wav")
    (chapter / "1-2.trans.txt").write_text("1-2-0000 HELLO\n")
    return folder


def earlier_output(name: str, folder: Path) -> None:
    """Write an output made from other options, which the verb replaces."""
    if name == "dump":
        dump(folder, compress=False)
    elif name == "perturb_speed":
        verb("perturb_speed ./noise ./target --factor 0.9")(folder)
    elif name != "fix":
        target = "data/dev_clean" if name == "prepare" else "target"
        write_data_dir(folder / target, read_data_dir(folder / "noise").utts, fingerprint="subset of old\n")


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.suffix != ".lock")
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("fault", ["kill_at", "full_at"])
def test_a_verb_run_again_after_a_fault_ends_as_if_there_had_been_none(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fault: str, earlier: bool
) -> None:
    # audio is known by its path and time, so every case is at the same place
    folder = tmp_path / "case"
    start = tmp_path / "start"
    monkeypatch.setattr(atomic, "_host", lambda: "host")
    shutil.copytree(inputs, folder)
    for path in (folder / "noise/wav.scp", folder / "broken/wav.scp"):
        path.write_text(path.read_text().replace(str(inputs), str(folder)))
    if earlier:
        earlier_output(name, folder)
    folder.rename(start)

    def case(**faults: int) -> Outcome:
        return fault_injection.run(lambda: VERBS[name](folder), folder, **faults)

    shutil.copytree(start, folder)
    before = contents(folder)
    undisturbed = case()
    assert undisturbed.status == 0, undisturbed.said
    expected = contents(folder)
    for number in range(1, 1000):
        shutil.rmtree(folder)
        shutil.copytree(start, folder)
        outcome = case(**{fault: number})
        if outcome.status == 0:
            break
        assert outcome.status == (KILLED if fault == "kill_at" else 1), outcome.said
        assert "Traceback" not in outcome.said
        if fault == "full_at":
            assert "no space left" in outcome.said.lower()
        if earlier and name not in ("dump", "fix", "hold_out"):  # the earlier directory, or the new one
            target = "data/dev_clean/" if name == "prepare" else "target/"
            found, old, new = (
                {path: content for path, content in one.items() if path.startswith(target)}
                for one in (contents(folder), before, expected)
            )
            assert found in (old, new)
        again = case()
        assert again.status == 0, f"{fault} {number}: {again.said}"
        assert contents(folder) == expected, f"{fault} {number}"
    assert number > 3
    shutil.rmtree(folder)
