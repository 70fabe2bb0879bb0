"""Which checkpoints meet, and what their ratings say about the training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from .choices import Pairings
from .ratings import Fit

_PREVIOUS = 2
_SPARSE = 10
_ENOUGH_MODELS = 20


def choose_models(alternations: Sequence[int], pairings: Pairings) -> list[int]:
    """Return the checkpoints that are rated: all, or ten that are evenly spread, the first and the last among them."""
    ordered = sorted(alternations)
    if pairings is not Pairings.SPARSE or len(ordered) <= _SPARSE:
        return ordered
    return [ordered[number] for number in np.linspace(0, len(ordered) - 1, _SPARSE).round().astype(int)]


def pair(models: int, pairings: Pairings) -> list[tuple[int, int]]:
    """Return which models meet, by their numbers from 0, the older first, in the order of the newer one."""
    reach = _PREVIOUS if pairings is Pairings.SEQUENTIAL else models
    pairs = [(old, new) for old, new in combinations(range(models), 2) if new - old <= reach]
    return sorted(pairs, key=lambda one: (one[1], one[0]))


def say_overtraining(alternations: Sequence[int], fit: Fit) -> str | None:
    """Return a warning where the best of many models came before the last quarter of the training, else None."""
    peak, last = int(np.argmax(fit.ratings)), len(alternations) - 1
    if len(alternations) < _ENOUGH_MODELS or peak >= 0.75 * len(alternations):
        return None
    points, low, high = fit.difference(peak, last)
    sure = "the interval leaves no doubt" if low > 0 else "the interval does not exclude chance"
    return (
        f"the training may have gone on for too long: alternation {alternations[peak]} is the strongest, "
        f"{points:.0f} points ({low:.0f} to {high:.0f}) above the last one, {alternations[last]}; {sure}"
    )
