"""Dumps in jobs: atomic, never mixed, and equal after an interruption."""

import multiprocessing
import os
import re
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from toy_data import energies, half, make_data_dir
from toy_experiment import YAML

from speechllm.data.dump import check_fingerprint, dump_job, merge_dump, read_contents
from speechllm.data.dump_dataset import DumpDataset
from speechllm.data.kaldi.data_dir import Utterance, read_data_dir, read_table, write_data_dir, write_table
from speechllm.errors import ConfigError, DataError
from speechllm.lock import LockedError

FINGERPRINT = {"type": "toy", "bins": (4,)}
DURATIONS = (0.5, 1.0, 0.3, 0.8, 1.2, 0.4, 0.6)


def dump(data_dir: Path, out_dir: Path, nj: int = 1, **changes: object) -> None:
    for job in range(1, nj + 1):
        run_job(data_dir, out_dir, nj, job, **changes)
    merge_dump(data_dir, out_dir, nj)


def run_job(data_dir: Path, out_dir: Path, nj: int, job: int, **changes: object) -> None:
    arguments = {"extract": energies, "fingerprint": FINGERPRINT, "sample_rate": 16000, "compress": False, **changes}
    dump_job(data_dir, out_dir, nj=nj, job=job, **arguments)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


def refuse(samples_N: np.ndarray) -> np.ndarray:
    raise AssertionError("nothing was to be computed")


@pytest.mark.parametrize("nj", [1, 3, 20])
def test_every_utterance_is_there_whatever_the_number_of_jobs(
    tmp_path: Path, nj: int, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir, out_dir = make_data_dir(tmp_path, *DURATIONS), tmp_path / "dump"
    dump(data_dir, out_dir, nj)
    dataset = DumpDataset(out_dir)
    utts = read_data_dir(data_dir).utts
    assert dataset.utt_ids == [utt.utt_id for utt in utts]
    for utt in utts:
        samples_N = soundfile.read(utt.path, dtype="float32")[0]
        assert np.array_equal(dataset[utt.utt_id].inputs_TF, energies(samples_N))
    for name in ("text", "utt2spk", "spk2utt", "utt2dur"):
        assert (out_dir / name).read_bytes() == (data_dir / name).read_bytes()
    said = capsys.readouterr().out
    assert f"{out_dir}: 7 utterances, 5 s of speech (0.00 h)" in said
    assert said.count("nothing to do, the 7 utterances are distributed over fewer jobs") == (13 if nj == 20 else 0)


def test_a_finished_dump_is_left_alone_whatever_the_number_of_jobs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir, out_dir = make_data_dir(tmp_path, *DURATIONS), tmp_path / "dump"
    dump(data_dir, out_dir, 3)
    before = contents(out_dir)
    capsys.readouterr()
    for nj in (3, 2):
        dump(data_dir, out_dir, nj, extract=refuse)
    assert contents(out_dir) == before
    said = capsys.readouterr().out
    assert said.count("the whole dump is complete, nothing to do") == 5
    assert said.count("complete (7 utterances") == 2


def test_a_changed_transcript_needs_no_new_features(tmp_path: Path) -> None:
    data_dir, out_dir = make_data_dir(tmp_path, *DURATIONS), tmp_path / "dump"
    dump(data_dir, out_dir)
    write_table(data_dir / "text", dict.fromkeys(read_table(data_dir / "text"), "OTHER"))
    dump(data_dir, out_dir, extract=refuse)
    assert set(read_table(out_dir / "text").values()) == {"OTHER"}
    (data_dir / "text").unlink()
    dump(data_dir, out_dir, extract=refuse)
    assert DumpDataset(out_dir).texts is None


def test_a_killed_job_run_again_equals_one_never_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = make_data_dir(tmp_path, *DURATIONS)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    dump(data_dir, Path("dump"), 2)
    monkeypatch.chdir(tmp_path / "killed")
    run_job(data_dir, Path("dump"), 2, 1)

    def extract_and_die(samples_N: np.ndarray) -> np.ndarray:
        if len(samples_N) == 0.4 * 16000:  # the second of the job
            os.kill(os.getpid(), signal.SIGKILL)
        return energies(samples_N)

    arguments = (data_dir, Path("dump"), 2, 2)
    child = multiprocessing.get_context("fork").Process(
        target=run_job, args=arguments, kwargs={"extract": extract_and_die}
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert not Path("dump/feats.2.ark").exists()
    with pytest.raises(DataError, match="job 2 of 2: not finished"):
        merge_dump(data_dir, "dump", 2)
    dump(data_dir, Path("dump"), 2)
    assert "job 1 of 2: finished earlier" in capsys.readouterr().out
    assert contents(tmp_path / "killed/dump") == contents(tmp_path / "whole/dump")


@pytest.mark.parametrize(
    "changes",
    [{"fingerprint": {"type": "other"}}, {"compress": True}, {"extract": half, "fingerprint": {"type": "half"}}],
)
def test_another_frontend_makes_the_dump_anew(tmp_path: Path, changes: dict[str, object]) -> None:
    data_dir = make_data_dir(tmp_path, *DURATIONS)
    dump(data_dir, tmp_path / "dump", 2)
    run_job(data_dir, tmp_path / "dump", 2, 1, **changes)
    assert not (tmp_path / "dump/feats.scp").exists()
    with pytest.raises(DataError, match=r"job 2 of 2: found (fingerprint|compress) .*, expected .* as job 1 has"):
        merge_dump(data_dir, tmp_path / "dump", 2)
    dump(data_dir, tmp_path / "dump", 2, **changes)
    dump(data_dir, tmp_path / "fresh", 2, **changes)
    for utt_id in DumpDataset(tmp_path / "fresh").utt_ids:
        found, fresh = DumpDataset(tmp_path / "dump")[utt_id], DumpDataset(tmp_path / "fresh")[utt_id]
        assert np.array_equal(found.inputs_TF, fresh.inputs_TF)


def test_shards_of_different_numbers_of_jobs_are_never_mixed(tmp_path: Path) -> None:
    data_dir, out_dir = make_data_dir(tmp_path, *DURATIONS), tmp_path / "dump"
    dump(data_dir, out_dir, 4)
    run_job(data_dir, out_dir, 2, 1, compress=True)
    with pytest.raises(DataError, match=r"job 2 of 2: its shard holds \d utterances, expected \d .* run the jobs"):
        merge_dump(data_dir, out_dir, 2)
    dump(data_dir, out_dir, 2, compress=True)
    assert sorted(path.name for path in out_dir.glob("feats.*.ark")) == ["feats.1.ark", "feats.2.ark"]
    assert len(DumpDataset(out_dir)) == 7


def test_changed_data_and_lost_files_are_noticed(tmp_path: Path) -> None:
    data_dir, out_dir = make_data_dir(tmp_path, *DURATIONS), tmp_path / "dump"
    dump(data_dir, out_dir, 2)
    (out_dir / "feats.2.ark").unlink()
    with pytest.raises(DataError, match="job 2 of 2: its shard"):
        merge_dump(data_dir, out_dir, 2)
    dump(data_dir, out_dir, 2)
    write_data_dir(data_dir, read_data_dir(data_dir).utts[1:])
    with pytest.raises(DataError, match="job 1 of 2: its shard"):
        merge_dump(data_dir, out_dir, 2)
    dump(data_dir, out_dir, 2)
    assert len(DumpDataset(out_dir)) == 6


@pytest.mark.parametrize(
    ("name", "words"), [("feats.2.scp", "1 utterances are in only one"), ("feats.1.scp", "earlier")]
)
def test_a_missing_or_doubled_utterance_is_named(tmp_path: Path, name: str, words: str) -> None:
    data_dir, out_dir = make_data_dir(tmp_path, *DURATIONS), tmp_path / "dump"
    for job in (1, 2):
        run_job(data_dir, out_dir, 2, job)
    rows = read_table(out_dir / "feats.2.scp")
    utt_id = min(rows)
    if name == "feats.2.scp":
        write_table(out_dir / name, {key: value for key, value in rows.items() if key != utt_id})
    else:
        write_table(out_dir / name, read_table(out_dir / name) | {utt_id: rows[utt_id]})
    with pytest.raises(DataError, match=rf"{words}.*|{utt_id}"):
        merge_dump(data_dir, out_dir, 2)
    assert not (out_dir / "feats.scp").exists()


def test_all_unreadable_utterances_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    data_dir, out_dir = make_data_dir(tmp_path, *DURATIONS), tmp_path / "dump"
    utts = read_data_dir(data_dir).utts
    utts[1].path.unlink()
    utts[4].path.write_bytes(b"")
    with pytest.raises(DataError) as error:
        run_job(data_dir, out_dir, 1, 1)
    assert "job 1 of 1: 2 of 7 utterances cannot be read, nothing was written" in str(error.value)
    assert re.search(f"{utts[1].utt_id}: .*no such audio file.*\n.*{utts[4].utt_id}: .*empty", str(error.value))
    assert contents(out_dir) == {}


def test_the_16_bit_error_is_half_a_step_of_the_range(tmp_path: Path) -> None:
    data_dir = make_data_dir(tmp_path, *DURATIONS)
    dump(data_dir, tmp_path / "exact")
    dump(data_dir, tmp_path / "compressed", compress=True)
    exact, compressed = DumpDataset(tmp_path / "exact"), DumpDataset(tmp_path / "compressed")
    for utt_id in exact.utt_ids:
        feats_TF = exact[utt_id].inputs_TF
        step = (feats_TF.max() - feats_TF.min()) / 65535
        assert np.abs(compressed[utt_id].inputs_TF - feats_TF).max() < 0.51 * step + 1e-7
    sizes = [sum(path.stat().st_size for path in (tmp_path / name).glob("*.ark")) for name in ("exact", "compressed")]
    assert sizes[1] < 0.6 * sizes[0]


def test_states_are_kept_in_float16_to_the_bit(tmp_path: Path) -> None:
    data_dir = make_data_dir(tmp_path, *DURATIONS)
    dump(data_dir, tmp_path / "dump", extract=half, compress=True)
    for utt in read_data_dir(data_dir).utts:
        states_LD = DumpDataset(tmp_path / "dump")[utt.utt_id].inputs_TF
        assert states_LD.dtype == np.float16
        assert np.array_equal(states_LD, half(soundfile.read(utt.path, dtype="float32")[0]))


def test_shares_are_of_like_duration_and_keep_recordings_together(tmp_path: Path) -> None:
    utts = [
        Utterance(
            utt_id=f"u{i:03d}",
            speaker="u",
            path=Path(f"r{i // 10}.wav"),
            recording=f"r{i // 10}",
            start=i % 10,
            duration=1.0 + i % 3,
        )
        for i in range(200)
    ]
    write_data_dir(tmp_path / "data", utts)
    write_data_dir(tmp_path / "few", utts[:5])
    shares = [read_contents(tmp_path / "data").share(4, job) for job in range(1, 5)]
    assert [utt for share in shares for utt in share] == read_data_dir(tmp_path / "data", need_text=False).utts
    recordings = [{utt.path for utt in share} for share in shares]
    assert sum(len(share) for share in recordings) == 20
    seconds = [sum(utt.duration for utt in share) for share in shares]
    assert max(seconds) < 1.1 * min(seconds)
    assert [len(read_contents(tmp_path / "few").share(3, job)) for job in (1, 2, 3)] == [0, 5, 0]


def test_segments_are_cut_out_of_their_recording(tmp_path: Path) -> None:
    samples_N = np.random.default_rng(0).uniform(-0.5, 0.5, 32000).astype(np.float32)
    soundfile.write(tmp_path / "rec.wav", samples_N, 16000, subtype="FLOAT")
    bounds = [(0.0, 0.5), (0.5, 1.25), (1.25, 2.0)]
    write_data_dir(
        tmp_path / "data",
        [
            Utterance(
                utt_id=f"rec-{i}",
                speaker="rec",
                path=tmp_path / "rec.wav",
                recording="rec",
                start=start,
                end=end,
                duration=end - start,
            )
            for i, (start, end) in enumerate(bounds)
        ],
    )
    dump(tmp_path / "data", tmp_path / "dump", 2)
    dataset = DumpDataset(tmp_path / "dump")
    for i, (start, end) in enumerate(bounds):
        expected = energies(samples_N[int(start * 16000) : int(end * 16000)])
        assert np.array_equal(dataset[f"rec-{i}"].inputs_TF, expected)


def test_a_dump_of_another_frontend_is_refused_with_every_difference(tmp_path: Path) -> None:
    fingerprint = {"dump": "features", "frontend": {"type": "log_mel", "num_mels": 80, "hop": 160}}
    dump(make_data_dir(tmp_path, 0.5), tmp_path / "dump", fingerprint=fingerprint)
    check_fingerprint(tmp_path / "dump", fingerprint)
    with pytest.raises(DataError) as error:
        check_fingerprint(tmp_path / "dump", {"dump": "encoder", "frontend": {"type": "log_mel", "num_mels": 128}})
    assert "the dump differs from the frontend of the encoder" in str(error.value)
    for difference in (
        "dump found features, expected encoder",
        "frontend.num_mels found 80, expected 128",
        "frontend.hop found 160, expected None",
    ):
        assert difference in str(error.value)
    assert "frontend.type" not in str(error.value)


def test_no_dump_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no finished dump .* run stage 2"):
        check_fingerprint(tmp_path, FINGERPRINT)


def test_other_audio_under_the_same_name_is_dumped_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_dir, out_dir = make_data_dir(tmp_path, *DURATIONS), tmp_path / "dump"
    dump(data_dir, out_dir, 2)
    before = contents(out_dir)
    utt = read_data_dir(data_dir).utts[0]
    noise = soundfile.read(utt.path)[0]
    soundfile.write(utt.path, -noise, 16000, subtype="FLOAT")  # of the same size
    capsys.readouterr()
    dump(data_dir, out_dir, 2)
    said = capsys.readouterr().out
    assert "job 1 of 2: 4 utterances" in said and "job 2 of 2: finished earlier" in said
    assert np.array_equal(DumpDataset(out_dir)[utt.utt_id].inputs_TF, energies(-noise.astype(np.float32)))
    assert before["feats.2.ark"] == contents(out_dir)["feats.2.ark"]
    soundfile.write(utt.path, noise, 16000, subtype="FLOAT")
    with pytest.raises(AssertionError, match="nothing was to be computed"):  # with another number of jobs, too
        run_job(data_dir, out_dir, 3, 1, extract=refuse)


def test_audio_that_changes_between_jobs_and_merge_is_noticed(tmp_path: Path) -> None:
    data_dir, out_dir = make_data_dir(tmp_path, *DURATIONS), tmp_path / "dump"
    for job in (1, 2):
        run_job(data_dir, out_dir, 2, job)
    os.utime(read_data_dir(data_dir).utts[0].path, (1, 1))
    with pytest.raises(DataError, match="job 1 of 2: its audio files have changed"):
        merge_dump(data_dir, out_dir, 2)


def test_an_earlier_dump_stays_until_the_new_one_is_written(tmp_path: Path) -> None:
    data_dir, out_dir = make_data_dir(tmp_path, *DURATIONS), tmp_path / "dump"
    dump(data_dir, out_dir)
    before = contents(out_dir)

    def full_disk(samples_N: np.ndarray) -> np.ndarray:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        run_job(data_dir, out_dir, 1, 1, compress=True, extract=full_disk)
    assert contents(out_dir) == before
    dump(data_dir, out_dir, extract=refuse)


def test_a_job_that_is_running_is_not_started_again(tmp_path: Path) -> None:
    data_dir, out_dir = make_data_dir(tmp_path, 0.5, 0.6), tmp_path / "dump"
    refused = []

    def extract(samples_N: np.ndarray) -> np.ndarray:
        with pytest.raises(LockedError, match=r"job 1 of the dump .* is in use by process") as error:
            run_job(data_dir, out_dir, 1, 1)
        refused.append(error)
        return energies(samples_N)

    dump(data_dir, out_dir, extract=extract)
    assert len(refused) == 2 and len(DumpDataset(out_dir)) == 2


@pytest.mark.parametrize(("nj", "job"), [(2, 5), (2, 0), (2, -1), (0, 1)])
def test_there_is_no_such_job(nj: int, job: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"found {job} of {nj} jobs"):
        run_job(tmp_path, tmp_path / "dump", nj, job)


def test_a_dump_of_an_earlier_version_is_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_dir, out_dir = make_data_dir(tmp_path, 0.5), tmp_path / "dump"
    dump(data_dir, out_dir)
    for name in ("feats.yaml", "feats.1.yaml"):
        text = (out_dir / name).read_text()
        (out_dir / name).write_text(text.replace("fingerprint:", "identity:"))
        assert text != (out_dir / name).read_text()
    capsys.readouterr()
    dump(data_dir, out_dir)
    assert "the whole dump is complete, nothing to do" in capsys.readouterr().out


DAMAGE = (
    b"",
    b"- 1\n",
    b"\xff",
    b"a: [",
    b"{}\n",
    b"1: 2\n",
    b"bytes: x\nidentity: {}\ncompress: true\nutterances: 1 a\n",
)


@pytest.mark.parametrize("content", DAMAGE)
@pytest.mark.parametrize("name", ["feats.yaml", "feats.1.yaml", "frontend.yaml"])
def test_a_damaged_description_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    data_dir, out_dir = make_data_dir(tmp_path, 0.5), tmp_path / "dump"
    dump(data_dir, out_dir)
    (out_dir / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: damaged|the dump differs from the frontend"):
        if name == "frontend.yaml":
            check_fingerprint(out_dir, FINGERPRINT)
        dump(data_dir, out_dir)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("utt2num_frames", "spk0-000 many\n"),
        ("utt2num_frames", "spk0-000 0\n"),
        ("utt2num_frames", "spk0-000 -3\n"),
        ("utt2dur", "spk0-000 nan\n"),
        ("utt2dur", "spk0-000 long\n"),
        ("feats.scp", "spk0-000 nowhere\n"),
        ("feats.scp", "spk0-000 ARK:x\n"),
        ("feats.scp", "spk0-000 ARK:-1\n"),
        ("feats.scp", "spk0-000 ARK:999999\n"),
        ("feats.scp", "spk0-000 \0:1\n"),
        ("text", "\xff"),
    ],
)
def test_a_damaged_table_of_a_dump_is_named(tmp_path: Path, name: str, content: str) -> None:
    data_dir, out_dir = make_data_dir(tmp_path, 0.5), tmp_path / "dump"
    dump(data_dir, out_dir)
    (out_dir / name).write_text(content.replace("ARK", str(out_dir / "feats.1.ark")), encoding="latin-1")
    with pytest.raises(DataError, match=rf"{out_dir}.*{'' if name == 'feats.scp' else name}"):
        DumpDataset(out_dir)["spk0-000"]


@pytest.mark.parametrize("compress", [True, False, None])
def test_a_damaged_ark_is_an_error_wherever_it_is_damaged(tmp_path: Path, compress: bool | None) -> None:
    data_dir, out_dir = make_data_dir(tmp_path, 0.2), tmp_path / "dump"
    dump(data_dir, out_dir, compress=bool(compress), extract=half if compress is None else energies)
    dataset, ark = DumpDataset(out_dir), (out_dir / "feats.1.ark").read_bytes()
    rng = np.random.default_rng(0)
    for cut in range(0, min(len(ark), 200)):
        (out_dir / "feats.1.ark").write_bytes(ark[:cut])
        with pytest.raises(DataError, match=r"feats\.1\.ark|utt2num_frames"):
            dataset["spk0-000"]
    for _ in range(300):  # a wrong value may go unnoticed, but nothing else may happen
        place = int(rng.integers(9, 60))
        (out_dir / "feats.1.ark").write_bytes(ark[:place] + rng.bytes(4) + ark[place + 4 :])
        with suppress(DataError):
            dataset["spk0-000"]


def test_a_finished_dump_of_states_loads_no_encoder(
    tmp_path: Path,
    tiny_whisper: Path,
    tiny_llm: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from speechllm import experiment
    from speechllm.inference import dump as dumping

    whisper = tmp_path / "whisper"
    shutil.copytree(tiny_whisper, whisper)
    (tmp_path / "toy.yaml").write_text(YAML.format(whisper=whisper, llm=tiny_llm))
    config = experiment.load_config(tmp_path / "toy.yaml", ["data.dump=encoder"])
    data_dir, out_dir = make_data_dir(tmp_path, 0.5, 0.6), tmp_path / "dump"
    for job in (1, 2):
        dumping.dump(config, data_dir, out_dir, nj=2, job=job)
    loaded = []
    encoding = dumping._encoding
    monkeypatch.setattr(dumping, "_encoding", lambda *args: (loaded.append(args), encoding(*args))[1])
    dumping.dump(config, data_dir, out_dir, nj=2, job=1)
    merge_dump(data_dir, out_dir, 2)
    dumping.dump(config, data_dir, out_dir, nj=2, job=2)
    dumping.dump(config, data_dir, out_dir, nj=1, job=1)
    assert not loaded
    said = capsys.readouterr().out
    assert "job 1 of 2: finished earlier" in said and "job 2 of 2: the whole dump is complete" in said
    os.utime(whisper / "model.safetensors", (1, 1))  # another file, of the same weights
    dumping.dump(config, data_dir, out_dir, nj=2, job=1)
    assert len(loaded) == 1 and "job 1 of 2: the whole dump is complete" in capsys.readouterr().out
    os.utime(read_data_dir(data_dir).utts[0].path, (1, 1))
    for job in (1, 2):
        dumping.dump(config, data_dir, out_dir, nj=2, job=job)
    assert "job 1 of 2: 1 utterances" in capsys.readouterr().out
