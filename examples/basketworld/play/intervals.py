"""How sure a figure is: intervals of shares, means, points per possession, and differences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from holdfast.errors import InvalidInputError

from .episodes import Episodes

_Array = npt.NDArray[Any]
_DRAWS = 2000


@dataclass(frozen=True)
class Interval:
    """A figure and where the true one may lie.

    Attributes:
        value: The figure; nan where there is nothing to tell it from.
        low: The lower end.
        high: The upper end.
        level: How often such intervals hold the true figure.
    """

    value: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def quantile(level: float) -> float:
    """Return how many standard deviations a normal interval reaches to either side.

    Raises:
        InvalidInputError: The level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise InvalidInputError(f"The level {level} is not between 0 and 1.", "use 0.95")
    return NormalDist().inv_cdf((1 + level) / 2)


def wilson(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Return a share with its score interval (Wilson 1927); without a trial it is all of [0, 1]."""
    if trials == 0:
        return Interval(math.nan, 0.0, 1.0, level)
    z, share = quantile(level), successes / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    low, high = (centre - half if successes else 0.0), (centre + half if successes < trials else 1.0)
    return Interval(share, low, high, level)


def mean_interval(values: _Array, level: float = 0.95) -> Interval:
    """Return a mean with its normal interval; the ends are nan for fewer than two values."""
    if len(values) < 2:
        mean = float(np.mean(values)) if len(values) else math.nan
        return Interval(mean, math.nan, math.nan, level)
    mean, half = float(np.mean(values)), quantile(level) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half, level)


def ppp_interval(episodes: Episodes, level: float = 0.95, seed: int = 0, draws: int = _DRAWS) -> Interval:
    """Return the points per possession with their percentile bootstrap interval, over episodes.

    Args:
        episodes: The table.
        level: Of the interval.
        seed: Of the bootstrap.
        draws: How often the episodes are drawn anew.
    """
    drawn = _drawn_ppp(episodes, np.random.default_rng(seed), draws)
    return _percentiles(episodes.ppp(), drawn, level)


def difference(ours: Episodes, theirs: Episodes, level: float = 0.95, seed: int = 0, draws: int = _DRAWS) -> Interval:
    """Return how many points per possession one table has more than another, which was played apart from it."""
    luck, other = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    drawn = _drawn_ppp(ours, luck, draws) - _drawn_ppp(theirs, other, draws)
    return _percentiles(ours.ppp() - theirs.ppp(), drawn, level)


def _drawn_ppp(episodes: Episodes, rng: np.random.Generator, draws: int) -> _Array:
    """Return (draws,) points per possession of as many episodes, drawn with replacement."""
    # Episodes differ in no more than their points and whether they count: it is enough to draw how many of each kind.
    pairs = np.stack([episodes.field_points, episodes.possessions], axis=1)
    kinds, counts = np.unique(pairs, axis=0, return_counts=True)
    drawn = rng.multinomial(len(pairs), counts / len(pairs), size=draws)
    totals = drawn @ kinds
    return np.asarray(totals[:, 0] / np.maximum(1, totals[:, 1]))


def _percentiles(value: float, drawn: _Array, level: float) -> Interval:
    quantile(level)  # refuses what is no level
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level)
