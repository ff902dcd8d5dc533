"""Initial weights of a training: those of another trained model, or random ones."""

from pathlib import Path

from speechllm.build import Built
from speechllm.experiment import ExperimentConfig, is_begun
from speechllm.models.weights import load_weights
from speechllm.pretrained.directory import WEIGHTS, find_model
from speechllm.provenance import file_fingerprint
from speechllm.train.config import TrainConfig


def initial_model(config: TrainConfig) -> Path | None:
    """Return the directory of the model with the initial weights; None without such a model.

    Raises:
        ConfigError: if the model does not exist.
    """
    if config.init_from is None:
        return None
    path = Path(config.init_from)
    return path if (path / WEIGHTS).is_file() else find_model(config.init_from)


def load_initial_weights(config: ExperimentConfig, built: Built, exp_dir: Path, init_dir: Path | None) -> str:
    """Load the weights of ``init_dir``, if given; return a line about the initial weights of the training."""
    if is_begun(exp_dir):
        return f"initial weights: checkpoint in {exp_dir / 'checkpoints'}"
    if init_dir is None:
        return f"initial weights: base models, otherwise random with seed {config.seed}"
    path, train = init_dir / WEIGHTS, config.train
    names = load_weights(built.model, path, built.bases, train.init_leave_out)
    return f"initial weights: {path}, fingerprint {file_fingerprint(path)}, {len(names)} tensors of {train.init_from}"
