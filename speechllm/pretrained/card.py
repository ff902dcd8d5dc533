"""Model card: README.md in the format of Hugging Face's hub."""

from typing import Any

import yaml

from speechllm.experiment import ExperimentConfig, base_name, base_path
from speechllm.score.markdown import markdown_table

CONTROLS = ("_shuffled", "_mismatched")
"""Suffixes of the names of shuffled-audio controls; the second one is that of earlier versions."""


def model_card(name: str, config: ExperimentConfig, about: dict[str, Any], notes: str = "") -> str:
    """Return the model card.

    Args:
        name: name of the model.
        config: configuration of the model, with public names of its base models.
        about: see ``TrainedModel``.
        notes: Markdown by the publisher about data, licences and limits.
    """
    bases = [base_path(part) or "" for part in (config.encoder, config.decoder)]
    at_the_hub = [base for base in bases if base[:1] not in (".", "/", "~", "")]
    header = {
        "library_name": "speechllm",
        "pipeline_tag": "automatic-speech-recognition",
        **({"base_model": at_the_hub} if at_the_hub else {}),
        **_model_index(name, about.get("scores", {})),
    }
    parts = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n# {name}\n",
        f"Speech recognition: the encoder of {about['bases']['encoder']} reads the speech, a connector "
        f"({base_name(config.connector)}) turns its\nstates into embeddings, and the LLM {about['bases']['decoder']} "
        "writes the transcript (after arXiv 2309.13963).\n",
        f'```python\nfrom speechllm import load\n\nprint(load("{name}").transcribe("a.wav").text)\n```\n',
    ]
    if notes:
        parts.append(f"{notes.strip()}\n")
    if about.get("scores"):
        parts.append(f"## Scores\n\n{score_table(about['scores'])}")
    return "\n".join([*parts, f"## Training\n\n{_training(config, about)}"])


def _model_index(name: str, scores: dict[str, Any]) -> dict[str, Any]:
    """Return the scores in the format of the hub, without those of shuffled-audio controls."""
    results = [
        {
            "task": {"type": "automatic-speech-recognition", "name": "Automatic speech recognition"},
            "dataset": {"type": dataset, "name": dataset},
            "metrics": [{"type": "wer", "value": row["wer"], "name": f"WER (%), normaliser {row['normalizer']}"}],
        }
        for dataset, row in scores.items()
        if not dataset.endswith(CONTROLS)
    ]
    return {"model-index": [{"name": name, "results": results}]} if results else {}


def score_table(scores: dict[str, Any]) -> str:
    """Return a Markdown table of word error rates; sets called ``..._shuffled`` are controls."""
    rows: list[tuple[str, ...]] = [("set", "utterances", "words", "WER (%)", "95% interval", "normaliser")]
    for name, row in scores.items():
        low, high = row["interval"]
        cells = row["utterances"], row["words"], f"{row['wer']:.1f}", f"{low:.1f}-{high:.1f}", row["normalizer"]
        rows.append((name, *map(str, cells)))
    return markdown_table(rows)


def _training(config: ExperimentConfig, about: dict[str, Any]) -> str:
    train = config.train
    steps = ", ".join(map(str, about.get("steps") or ["the last"]))
    share = f", interpolated with {about['initial_share']:g} of the initial weights" if "initial_share" in about else ""
    lines = {
        "data": ", ".join(about.get("training_data", [])) or "not recorded",
        "steps": f"{train.max_steps}, including {train.ctc_steps} of CTC pre-training; weights of step {steps}{share}",
        "started from": train.init_from or "the base models alone",
        "longest utterance": f"{config.data.max_duration:g} s",
        "prompt": f"`{config.prompt.template!r}`",
        "command": f"`{about.get('command', '')}`",
        "version": about.get("git", ""),
    }
    return "".join(f"- {name}: {value}\n" for name, value in lines.items())
