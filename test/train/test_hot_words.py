"""Training with hot words drawn anew in each epoch."""

from pathlib import Path

import pytest
import torch
from toy_experiment import Toy

from speechllm.models.weights import read_weights


@pytest.mark.slow
def test_a_resumed_training_draws_the_same_hot_words(toy: Toy, tmp_path: Path) -> None:
    place = "prompt.context='words: {context} '"
    hot_words = "data.hot_words={common: 0, distractors: 2, drop: 0.3}"
    options = (place, hot_words, "train.decode_utterances=0", "train.valid_every=2")
    for name, steps in (("whole", (6,)), ("resumed", (4, 6)), ("other", (6,))):
        for max_steps in steps:
            chosen = options if name != "other" else (options[0], *options[2:])
            done = toy.run(tmp_path / name, *chosen, f"train.max_steps={max_steps}", "train.final_lr=3e-3")
            assert done.returncode == 0, done.stderr
    whole, resumed, other = (
        read_weights(sorted((tmp_path / name / "best").glob("step_*6.safetensors"))[0])
        for name in ("whole", "resumed", "other")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not all(torch.equal(whole[name], other[name]) for name in whole), "the prompts had no hot words"
