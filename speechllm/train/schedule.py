"""The learning rate as a function of the step, without state, so that a resumed training continues exactly."""

import math

from speechllm.train.config import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the learning rate of optimizer step ``step`` (the first is 1): linear warm-up, then a cosine.

    With ``llm_lr``, the steps of CTC pre-training and the steps after it each have their own warm-up and cosine.
    """
    if config.llm_lr is None or config.ctc_steps == 0:
        return _warm_up_and_cosine(step, config.max_steps, config.lr, config)
    if step <= config.ctc_steps:
        return _warm_up_and_cosine(step, config.ctc_steps, config.lr, config)
    return _warm_up_and_cosine(step - config.ctc_steps, config.max_steps - config.ctc_steps, config.llm_lr, config)


def _warm_up_and_cosine(step: int, num_steps: int, peak: float, config: TrainConfig) -> float:
    if step <= config.warmup_steps:
        return peak * step / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, num_steps - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.final_lr + (peak - config.final_lr) * cosine
