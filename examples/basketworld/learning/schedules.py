"""Rates that change from alternation to alternation."""

from __future__ import annotations

from .config import TrainingConfig


def linear(first: float, last: float, progress: float) -> float:
    """Return the value on the line from `first`, at progress 0, to `last`, at progress 1 and after."""
    done = min(max(progress, 0.0), 1.0)
    return first + (last - first) * done


def learning_rate(config: TrainingConfig, alternation: int) -> float:
    """Return the learning rate of an alternation; the first is 1."""
    return linear(config.lr, config.lr_end, config.progress(alternation))


def entropy_weight(config: TrainingConfig, alternation: int) -> float:
    """Return the weight of the entropy in an alternation; the first is 1."""
    return linear(config.entropy, config.entropy_end, config.progress(alternation))
