"""How sure a difference between two models is, from their scores on the same examples.

The paired bootstrap: the examples' differences are drawn anew with replacement many times, and the spread of the
resampled means tells how much the mean difference could have come out otherwise. The interval is the bias-corrected
and accelerated one (BCa), which keeps its confidence on skewed scores, such as log losses, better than the percentiles
themselves do.

Sources: B. Efron and R. Tibshirani, "An Introduction to the Bootstrap" (1993), section 14.3: the limits by (14.10), the
bias correction by (14.14), the acceleration by (14.15). For many examples, means of groups are drawn instead: the mean
of a random group is itself an independent observation with the same mean, so that their bootstrap estimates the same
spread (the "batch means" of simulation studies).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from holdfast.core.evidence import BootstrapRule
from holdfast.core.missing import load_library
from holdfast.errors import InvalidInputError

# Above so many examples, means of groups are drawn: the width is then known to about one per cent.
_MOST_DRAWN = 50_000
_CHUNK = 1 << 20
_NORMAL = NormalDist()


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference of two models' scores on the same examples: the first's minus the second's.

    Attributes:
        difference: The mean of the differences, in the unit of the scores.
        low: The lower end of the interval.
        high: Its upper end.
        n: How many examples were paired.
        first_mean: The mean of the first model's scores on them.
        second_mean: That of the second's.
        confidence: Of the interval.
    """

    difference: float
    low: float
    high: float
    n: int
    first_mean: float
    second_mean: float
    confidence: float


def paired_difference(
    first: Sequence[float], second: Sequence[float], rule: BootstrapRule | None = None
) -> PairedDifference:
    """Return the mean difference of two models' scores with its bootstrap interval.

    Args:
        first: The first model's scores, one an example; lists or arrays.
        second: The second model's, of the same examples in the same order.
        rule: Confidence, resamples and seed; the same evidence always gets the same answer.

    Memory stays within a few times that of the scores, whatever their number.

    Raises:
        InvalidInputError: The lengths differ, there is no example, a score is not finite, or the rule's confidence or
            resamples make no sense.
        MissingDependencyError: numpy is not installed.
    """
    np = load_library("numpy", "the bootstrap of a difference")
    rule = rule or BootstrapRule()
    _check_rule(rule)
    ours, theirs = _check(np, first, "first"), _check(np, second, "second")
    if len(ours) != len(theirs):
        raise InvalidInputError(
            f"{len(ours):,} scores cannot be paired with {len(theirs):,}.", "give one score of each model an example"
        )
    differences = ours - theirs
    low, high = _interval(np, differences, rule)
    means = (float(differences.mean()), float(ours.mean()), float(theirs.mean()))
    return PairedDifference(means[0], low, high, len(ours), means[1], means[2], rule.confidence)


def _check_rule(rule: BootstrapRule) -> None:
    if not 0 < rule.confidence < 1 or rule.resamples < 2:
        raise InvalidInputError(
            f"A bootstrap of {rule.resamples} resamples at confidence {rule.confidence:g} makes no interval.",
            "write a confidence such as 0.95 and resamples such as 2000",
        )


def _check(np: Any, scores: Sequence[float], which: str) -> Any:
    try:
        values = np.asarray(scores, dtype="float64")
    except (TypeError, ValueError):
        values = None
    if values is None or values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise InvalidInputError(f"The {which} scores are no list of finite numbers.", "give one number an example")
    return values


def _interval(np: Any, differences: Any, rule: BootstrapRule) -> tuple[float, float]:
    center = float(differences.mean())
    spread = float(np.ptp(differences))
    if spread == 0:
        return center, center
    rng = np.random.default_rng(rule.seed)
    drawn = _grouped(np, differences, rng)
    # What does not fill a last group is left out of the drawing, not of the mean.
    means = np.sort(_resampled_means(np, drawn, rule.resamples, rng) + (center - float(drawn.mean())))
    tail = (1 - rule.confidence) / 2
    bias, acceleration = _bias(np, means, center, spread), _acceleration(np, differences, center, spread)
    ends = (_level(tail, bias, acceleration), _level(1 - tail, bias, acceleration))
    low, high = np.quantile(means, ends)
    return float(low), float(high)


def _grouped(np: Any, differences: Any, rng: Any) -> Any:
    size = math.ceil(len(differences) / _MOST_DRAWN)
    if size == 1:
        return differences
    # In the order of the examples, neighbours may be alike; groups must be random to be independent.
    shuffled = rng.permutation(differences)
    return shuffled[: len(shuffled) // size * size].reshape(-1, size).mean(axis=1)


def _resampled_means(np: Any, values: Any, resamples: int, rng: Any) -> Any:
    means = np.empty(resamples)
    rows = max(1, _CHUNK // len(values))
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        chosen = rng.integers(0, len(values), (count, len(values)), dtype=np.uint32)
        means[start : start + count] = values[chosen].mean(axis=1)
    return means


def _bias(np: Any, means: Any, center: float, spread: float) -> float:
    """Return z0: by how much the resampled means lie to one side; equal ones count half, which matters for 0 and 1."""
    near = spread * 1e-12
    below = float(np.count_nonzero(means < center - near))
    equal = float(np.count_nonzero(np.abs(means - center) <= near))
    share = (below + equal / 2) / len(means)
    return _NORMAL.inv_cdf(min(max(share, 0.5 / len(means)), 1 - 0.5 / len(means)))


def _acceleration(np: Any, differences: Any, center: float, spread: float) -> float:
    """Return a; for a mean, the jackknife's sums are those of the differences themselves."""
    scaled = (differences - center) / spread
    squares: float = float(np.square(scaled).sum())
    return float((scaled**3).sum() / (6 * squares**1.5))


def _level(tail: float, bias: float, acceleration: float) -> float:
    moved = bias + _NORMAL.inv_cdf(tail)
    # Very skewed scores and a confidence near 1 would turn the sign; the limit is then the outermost mean.
    return _NORMAL.cdf(bias + moved / max(1 - acceleration * moved, 1e-9))
