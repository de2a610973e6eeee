"""Learning rate and temperature over training."""

import math

from raclib.run.config import RetrievalConfig, TrainConfig


def learning_rate_factor(step: int, num_steps: int, config: TrainConfig) -> float:
    """Linear warm-up to 1, then a cosine down to `final_lr_fraction` at the last step."""
    num_warmup = max(1, round(num_steps * config.warmup_fraction))
    if step < num_warmup:
        return (step + 1) / num_warmup
    done = (step - num_warmup) / max(1, num_steps - num_warmup)
    cosine = (1 + math.cos(math.pi * done)) / 2
    return config.final_lr_fraction + (1 - config.final_lr_fraction) * cosine


def temperature(progress: float, config: RetrievalConfig) -> float:
    """Exponential decay from `max_temperature` at progress 0 to `min_temperature` at 1."""
    ratio = config.min_temperature / config.max_temperature
    return config.max_temperature * ratio**progress
