"""Weights of an experiment: the average of its best checkpoints, optionally with the weights that it began with."""

from pathlib import Path

from torch import Tensor

from speechllm.errors import ConfigError
from speechllm.experiment import read_experiment
from speechllm.lock import exclusive_lock
from speechllm.models.weights import average_weights, interpolate, read_metadata, read_weights, save_weights
from speechllm.pretrained.directory import WEIGHTS
from speechllm.train.config import TrainConfig
from speechllm.train.initial import initial_model


def average(exp_dir: Path, initial_share: float = 0.0) -> str:
    """Write the average of the best checkpoints to ``model.safetensors``; return a sentence with their steps.

    A fine-tuned model has fewer errors outside its training data if its weights are interpolated with the initial ones
    (Wortsman et al., 2022, arXiv 2109.01903).

    Args:
        exp_dir: the experiment.
        initial_share: share (0 to 1) of the weights of ``train.init_from`` in the result, except tensors that
            ``train.init_leave_out`` names.

    Raises:
        ConfigError: if the experiment or its checkpoints do not exist, or their base models differ, or an initial share
            is given without initial weights.
        LockedError: if a training of the experiment is running.
    """
    if not exp_dir.is_dir():
        raise ConfigError(f"{exp_dir}: no such directory, expected an experiment; run the training stage first")
    if not 0 <= initial_share <= 1:
        raise ConfigError(f"--initial_share: found {initial_share:g}, expected 0 to 1")
    with exclusive_lock(exp_dir / ".lock", f"the experiment {exp_dir}"):
        return _average(exp_dir, initial_share)


def _average(exp_dir: Path, initial_share: float) -> str:
    """Average the best checkpoints, with the lock of the experiment."""
    paths = sorted((exp_dir / "best").glob("step_*.safetensors"))
    if not paths:
        raise ConfigError(f"{exp_dir / 'best'}: found no checkpoints to average; run the training stage first")
    metadata = [read_metadata(path) for path in paths]
    bases = metadata[0]["bases"]
    for path, entry in zip(paths, metadata, strict=True):
        if entry["bases"] != bases:
            raise ConfigError(
                f"{path}: trained with other base models than {paths[0].name}; train again with one of them"
            )
    steps = [entry["step"] for entry in metadata]
    state, record = average_weights(paths), {"steps": steps, "bases": bases}
    sentence = f"{exp_dir / WEIGHTS}: the average of steps {', '.join(map(str, steps))}"
    if initial_share > 0:
        train = read_experiment(exp_dir).train
        state = interpolate(state, _initial_weights(train, exp_dir), initial_share, train.init_leave_out)
        record["initial_share"] = initial_share
        sentence += f", with a share of {initial_share:g} of the initial weights"
    save_weights(exp_dir / WEIGHTS, state, record)
    return sentence


def _initial_weights(train: TrainConfig, exp_dir: Path) -> dict[str, Tensor]:
    """Return the weights of ``train.init_from``."""
    init_dir = initial_model(train)
    if init_dir is None:
        raise ConfigError(
            f"--initial_share: {exp_dir} was trained from random weights, expected train.init_from; omit the option"
        )
    return read_weights(init_dir / WEIGHTS)
