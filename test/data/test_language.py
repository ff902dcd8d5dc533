"""Languages of sets, from their files to the prompts of a batch."""

from dataclasses import replace
from pathlib import Path

import pytest
from toy_data import make_data_dir

from speechllm.build import open_set
from speechllm.data.batch import Collate
from speechllm.data.concat import SEPARATOR, ConcatenatedDataset
from speechllm.data.config import ConcatOptions
from speechllm.data.dataset import combine_datasets
from speechllm.data.dump import dump_job, merge_dump
from speechllm.data.kaldi.data_dir import read_data_dir, read_language, write_data_dir, write_language
from speechllm.data.language import language_code, language_name
from speechllm.errors import ConfigError
from speechllm.experiment import ExperimentConfig, load_config
from speechllm.frontends import log_mel

FRONTEND = log_mel.Config().build()
CONFIG = """
frontend: {type: log_mel}
encoder: {type: whisper, path: none}
connector: {type: fc}
decoder: {type: causal_lm, path: none}
"""


def config(tmp_path: Path, *overrides: str) -> ExperimentConfig:
    (tmp_path / "train.yaml").write_text(CONFIG)
    return load_config(tmp_path / "train.yaml", ["prompt.instructions=['Write the {language} speech.']", *overrides])


def make_set(tmp_path: Path, language: str | None) -> Path:
    """Return a data directory, its ids named after its language."""
    folder = tmp_path / f"made/{language}"
    folder.mkdir(parents=True)
    utts = read_data_dir(make_data_dir(folder, 0.5, 0.6)).utts
    renamed = [replace(utt, utt_id=f"{language}-{utt.utt_id}", speaker=f"{language}-{utt.speaker}") for utt in utts]
    data_dir = tmp_path / f"data/{language}"
    write_data_dir(data_dir, renamed)
    write_language(data_dir, language)
    return data_dir


def dump(data_dir: Path, out_dir: Path) -> Path:
    dump_job(data_dir, out_dir, FRONTEND.extract, FRONTEND.fingerprint(), 16000, 1, 1, compress=False)
    merge_dump(data_dir, out_dir, 1)
    return out_dir


@pytest.mark.parametrize("kind", ["features", "none"])
def test_each_set_has_its_language_in_a_batch(tmp_path: Path, kind: str) -> None:
    options = config(tmp_path, f"data.dump={kind}")
    sets = [make_set(tmp_path, language) for language in ("de", "fr")]
    if kind == "features":
        sets = [dump(data_dir, tmp_path / "dump" / data_dir.name) for data_dir in sets]
    both = combine_datasets([open_set(options, one) for one in sets])
    batch = Collate(encoded=False)([both[utt_id] for utt_id in both.utt_ids])
    expected = {"de": "German", "fr": "French"}
    assert batch.languages == [expected[utt_id[:2]] for utt_id in batch.utt_ids]
    assert set(batch.languages) == {"German", "French"}


def test_concatenated_utterances_have_the_languages_of_both(tmp_path: Path) -> None:
    options = config(tmp_path, "data.dump=none")
    both = combine_datasets([open_set(options, make_set(tmp_path, language)) for language in ("de", "fr")])
    joint = ConcatenatedDataset(both, ConcatOptions(duration=10.0), FRONTEND)
    first, *_, last = both.utt_ids
    assert joint[f"{first}{SEPARATOR}{last}"].language == "German, French"


def test_a_set_without_a_language_is_an_error_only_where_the_prompt_has_a_place(tmp_path: Path) -> None:
    data_dir = make_set(tmp_path, None)
    dumped = dump(data_dir, tmp_path / "dump")
    with pytest.raises(ConfigError, match=r"dump: found no file language, expected .* the code .* run stage 2 again"):
        open_set(config(tmp_path), dumped)
    plain = open_set(config(tmp_path, "prompt.instructions=['Write it.']"), dumped)
    assert plain[plain.utt_ids[0]].language == ""
    write_language(data_dir, "de")
    merge_dump(data_dir, dumped, 1)  # of a finished dump
    assert read_language(dumped) == "de"
    named = open_set(config(tmp_path), dumped)
    assert named[named.utt_ids[0]].language == "German"


def test_names_and_codes() -> None:
    assert [language_name(one, "here") for one in ("de", "zh-CN", "YUE", "german", "Kinyarwanda")] == [
        *("German", "Chinese", "Cantonese", "German", "Kinyarwanda")
    ]
    assert [language_code(one) for one in ("de", "zh-TW", "Cantonese", "rw")] == ["de", "zh", "yue", "rw"]
    for wrong in ("xx", "", "<|end|>"):
        with pytest.raises(ConfigError, match="here: found the language .*, expected one of Whisper's codes"):
            language_name(wrong, "here")
