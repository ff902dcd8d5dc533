"""Description of a trained model, without loading it."""

import math
from collections import Counter
from pathlib import Path

import huggingface_hub
from safetensors import safe_open

from speechllm.config import component_to_dict
from speechllm.experiment import base_path
from speechllm.interfaces import ComponentConfig
from speechllm.models.weights import read_metadata
from speechllm.pretrained.card import score_table
from speechllm.pretrained.directory import PARTS, WEIGHTS, TrainedModel


def describe(trained: TrainedModel) -> str:
    """Return a description: parts, sizes, prompt, training data, WER."""
    config, about = trained.config, trained.about
    weights = trained.path / WEIGHTS
    sizes = _sizes(weights)
    bases = read_metadata(weights).get("bases", {})
    lines = {"model": f"{about.get('name', trained.path.name)}, {trained.path}"}
    for part in PARTS:
        lines[part] = f"{_options(part, getattr(config, part))}; {_base(getattr(config, part))}, {bases.get(part)}"
    lines["connector"] = _options("connector", config.connector)
    trained_parts = ", ".join(f"{number:,} of the {part}" for part, number in sorted(sizes.items()))
    lines["trained"] = f"{sum(sizes.values()):,} parameters ({trained_parts}), {weights.stat().st_size / 2**20:.1f} MiB"
    lines["prompt"] = repr(config.prompt.template)
    lines["maximum window"] = f"{config.data.max_duration:g} s; longer speech is cut into windows"
    lines["training data"] = ", ".join(about.get("training_data", [])) or "not recorded"
    width = max(map(len, lines)) + 2
    scores = f"\n{score_table(about['scores'])}" if about.get("scores") else ""
    return "".join(f"{name + ':':{width}}{text}\n" for name, text in lines.items()) + scores


def _options(part: str, config: ComponentConfig) -> str:
    options = component_to_dict(f"{part}s", config)
    kind = options.pop("type")
    return f"{kind} ({', '.join(f'{key} {value}' for key, value in options.items() if value is not None)})"


def _base(part: ComponentConfig) -> str:
    """Return the number of parameters of a base model as text, if it is on this machine."""
    path = Path(base_path(part) or "")
    if not path.is_dir():
        try:
            path = Path(huggingface_hub.snapshot_download(str(path), local_files_only=True))
        except (OSError, ValueError):
            return "not on this machine"
    total = sum(sum(_sizes(file).values()) for file in path.glob("*.safetensors"))
    return f"{total:,} parameters in total"


def _sizes(path: Path) -> Counter[str]:
    """Return the numbers of parameters in a weights file by the first part of their names, without reading values."""
    sizes: Counter[str] = Counter()
    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118
            sizes[name.split(".")[0]] += math.prod(file.get_slice(name).get_shape())
    return sizes
