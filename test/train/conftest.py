"""The toy experiment, dumped once."""

from pathlib import Path

import pytest
from toy_data import make_data_dir
from toy_experiment import YAML, Toy

from speechllm import experiment
from speechllm.data.dump import merge_dump
from speechllm.inference.dump import dump


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory, tiny_whisper: Path, tiny_llm: Path) -> Toy:
    folder = tmp_path_factory.mktemp("toy")
    config = folder / "toy.yaml"
    config.write_text(YAML.format(whisper=tiny_whisper, llm=tiny_llm))
    for name, durations in (("train", (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)), ("valid", (0.55, 0.95, 1.2))):
        (folder / name).mkdir()
        data_dir = make_data_dir(folder / name, *durations)
        dump(experiment.load_config(config), data_dir, folder / "dump" / name, nj=1, job=1)
        merge_dump(data_dir, folder / "dump" / name, 1)
    return Toy(folder, config, folder / "dump/train", folder / "dump/valid")
