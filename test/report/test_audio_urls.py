"""URLs of audio in pages."""

from pathlib import Path

from toy_data import make_data_dir

from speechllm.report.audio_urls import audio_urls


def test_sets_are_found_by_the_longest_name_that_fits(tmp_path: Path) -> None:
    for name in ("test", "test_other", "tes"):
        (tmp_path / f"make_{name}").mkdir()
        make_data_dir(tmp_path / f"make_{name}", 0.5, 0.7).rename(tmp_path / name)
    decoded = ["test", "test_decode_beam4", "test_other_decode_beam4", "test_other_shuffled", "dev"]
    found = audio_urls(tmp_path, decoded, tmp_path / "exp")
    assert list(found) == ["test", "test_decode_beam4", "test_other_decode_beam4"]
    for name, urls in found.items():
        made = "make_test_other" if "other" in name else "make_test"
        assert len(urls) == 2
        assert all(url.startswith(f"../{made}/") for url in urls.values())


def test_segments_and_odd_names(tmp_path: Path) -> None:
    data = tmp_path / "data" / "test"
    (tmp_path / "make").mkdir()
    make_data_dir(tmp_path / "make", 0.5, 0.7).rename(tmp_path / "whole")
    data.mkdir(parents=True)
    recording, path = (tmp_path / "whole/wav.scp").read_text().splitlines()[0].split(maxsplit=1)
    odd = Path(path).rename(Path(path).with_name("a b#1.wav"))
    (data / "wav.scp").write_text(f"{recording} {odd}\n")
    (data / "segments").write_text(f"s-1 {recording} 0.1 0.35\n")
    (data / "utt2spk").write_text("s-1 s\n")
    (data / "spk2utt").write_text("s s-1\n")
    (data / "utt2dur").write_text("s-1 0.25\n")
    url = audio_urls(tmp_path / "data", ["test"], tmp_path)["test"]["s-1"]
    assert url.endswith("/a%20b%231.wav#t=0.1,0.35")
