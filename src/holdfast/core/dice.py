"""Random numbers for pauses: apart from the generators that a training seeds, so that logging changes no training."""

from __future__ import annotations

import random

_apart = random.SystemRandom()


def draw(low: float = 0.0, high: float = 1.0) -> float:
    """Return a number between two others, each as likely; it neither comes from a seed nor moves a generator."""
    return _apart.uniform(low, high)
