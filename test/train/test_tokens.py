"""Numbers of tokens of utterances and of concatenated ones, before they are read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from toy_experiment import Toy

from speechllm.build import Built, build, open_set
from speechllm.data.concat import ConcatenatedDataset, Groups
from speechllm.experiment import load_config
from speechllm.train.tokens import TokenCounter


@pytest.fixture(scope="module")
def built(toy: Toy) -> Built:
    return build(load_config(toy.config), torch.float32)


def singles(lengths_N: np.ndarray) -> Groups:
    number = len(lengths_N)
    return Groups(np.arange(number), np.stack([np.arange(number), np.arange(number) + 1], 1), lengths_N)


def read_by_the_llm(built: Built, keys: list[str], data: ConcatenatedDataset) -> list[int]:
    """Return the tokens of each utterance or group, by the model."""
    return [built.model(built.collate()([data[key]])).work.llm_tokens for key in keys]


def test_counts_are_those_of_the_model(toy: Toy, built: Built) -> None:
    config = load_config(toy.config, ["data.concat={probability: 0.5, duration: 20}"])
    dataset = open_set(config, toy.train)
    data = ConcatenatedDataset(dataset, config.data.concat, built.frontend)
    rows_N = np.arange(2, len(dataset))  # not all
    lengths_N = data.lengths(rows_N).values_N
    counter = TokenCounter(built.model, dataset, rows_N)
    ids = [dataset.utt_ids[int(row)] for row in rows_N]
    expected = read_by_the_llm(built, ids, data)
    found_N = counter(singles(lengths_N))
    assert found_N.dtype == np.int32 and found_N.sum() == pytest.approx(sum(expected), rel=0.05)
    assert np.abs(found_N - expected).max() <= 4  # of texts, estimated from bytes

    order_N, bounds_G2 = np.array([3, 0, 2, 1, 4]), np.array([[0, 2], [3, 5], [2, 3]])
    lengths_G = np.array([lengths_N[order_N[start:end]].sum() for start, end in bounds_G2])
    keys = [" ".join(ids[k] for k in order_N[start:end]) for start, end in bounds_G2]
    of_groups = read_by_the_llm(built, keys, data)
    assert np.abs(counter(Groups(order_N, bounds_G2, lengths_G)) - of_groups).max() <= 6


def test_contexts_count(toy: Toy, tmp_path: Path) -> None:
    config = load_config(toy.config, ['prompt.context="words: {context}."'])
    model = build(config, torch.float32).model
    dataset = open_set(config, toy.train)
    rows_N = np.arange(len(dataset))
    groups = singles(dataset.table.durations_N)
    without_N = TokenCounter(model, dataset, rows_N)(groups)
    found_N = TokenCounter(model, dataset, rows_N, lambda utt_id, text, epoch: "fox, wash")(groups)
    before, after = model.prompt.parts("any", None, "fox, wash")
    more = len(before) + len(after) - sum(map(len, model.prompt.parts("any", None)))
    assert more > 3 and (found_N - without_N == more).all()
