"""How far two samples of a column lie apart, and how sure that is; finite numbers, whatever the samples.

Sources: the population stability index after N. Siddiqi, "Credit Risk Scorecards" (2006), and the Jensen-Shannon
divergence after J. Lin, "Divergence measures based on the Shannon entropy" (1991), both of the shares of the same bins.
In the index a bin that is empty on one side counts half a row there, so that it stays finite.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

from holdfast.core.drift_columns import Column
from holdfast.core.missing import load_library

_BINS = 10
_LEAST_EXPECTED = 5
# Up to here the exact distributions are quick; beyond, their limits are as good.
_EXACT_KS = 1000
_EXACT_TABLE = 10_000
_WANTED_FOR = "the drift report"


@dataclass(frozen=True)
class Distance:
    """Shares of bins, compared: the index, the divergence (0 to 1), and the test's p-value."""

    psi: float
    jensen_shannon: float
    p_value: float


@dataclass(frozen=True)
class Measured(Distance):
    """A column's values, compared: see `holdfast.core.drift.ColumnDrift`."""

    test: str
    statistic: float | None
    wasserstein: float | None = None
    new: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()


def measure_numbers(column: Column) -> Measured:
    """Compare numbers; both sides have at least one."""
    np = load_library("numpy", _WANTED_FOR)
    stats = load_library("scipy.stats", _WANTED_FOR)
    edges = _edges(np, column.reference)
    counts = np.array([_counted(np, values, edges) for values in (column.reference, column.current)])
    is_small = max(len(column.reference), len(column.current)) <= _EXACT_KS
    with warnings.catch_warnings():
        # Where the exact distribution cannot be had for some pair of sizes, scipy takes the limit, and says so.
        warnings.simplefilter("ignore", RuntimeWarning)
        tested = stats.ks_2samp(column.reference, column.current, method="exact" if is_small else "asymp")
    with np.errstate(over="ignore", invalid="ignore"):
        moved = float(stats.wasserstein_distance(column.reference, column.current))
    return Measured(
        *_distances(np, counts),
        p_value=_p(tested.pvalue),
        test="ks",
        statistic=float(tested.statistic),
        wasserstein=moved if math.isfinite(moved) else None,
    )


def _edges(np: Any, reference: Any) -> Any:
    """Return the upper ends of all bins but the last: quantiles of the reference.

    A quantile that comes up twice is a value that many rows share; another edge just below it gives it its own bin.
    """
    quantiles = np.quantile(reference, np.arange(1, _BINS) / _BINS, method="inverted_cdf")
    edges, times = np.unique(quantiles, return_counts=True)
    shared = edges[times > 1] if len(np.unique(reference)) > 1 else edges
    return np.unique(np.concatenate([edges, np.nextafter(shared, -np.inf)]))


def _counted(np: Any, values: Any, edges: Any) -> Any:
    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)


def measure_categories(column: Column) -> Measured:
    """Compare categories; both sides have at least one value."""
    np = load_library("numpy", _WANTED_FOR)
    pd = load_library("pandas", _WANTED_FOR)
    sides = [pd.Series(values, dtype=object).value_counts() for values in (column.reference, column.current)]
    table = pd.concat(sides, axis=1, keys=["reference", "current"]).fillna(0).astype("int64")
    counts = table.to_numpy().T
    common, rare = _split(np, counts)
    statistic, p_value, test = _tested(np, common, rare)
    shown = np.column_stack([common, rare]) if rare.any() else common
    return Measured(
        *_distances(np, shown),
        p_value=p_value,
        test=test,
        statistic=statistic,
        new=_only(table, "current", "reference"),
        vanished=_only(table, "reference", "current"),
    )


def _only(table: Any, one: str, other: str) -> tuple[str, ...]:
    alone = table[table[other] == 0].sort_values(one, ascending=False, kind="stable")
    return tuple(str(name) for name in alone.index)


def measure_missing(column: Column) -> Distance | None:
    """Compare the shares of missing values; None where nothing is missing."""
    np = load_library("numpy", _WANTED_FOR)
    missing = (column.missing_reference, column.missing_current)
    if not any(missing):
        return None
    counts = np.array([[missing[0], len(column.reference)], [missing[1], len(column.current)]])
    return Distance(*_distances(np, counts), p_value=_two_by_two(np, counts)[1])


def _split(np: Any, counts: Any) -> tuple[Any, Any]:
    """Return the frequent categories' counts, and those of all others together; a row a side."""
    rows = counts.sum(axis=1)
    expected = counts.sum(axis=0) * rows.min() / rows.sum()
    is_common = expected >= _LEAST_EXPECTED
    return counts[:, is_common], counts[:, ~is_common].sum(axis=1)


def _tested(np: Any, common: Any, rare: Any) -> tuple[float | None, float, str]:
    """Return statistic, p-value and the test's name; of two tests, twice the smaller p-value (Bonferroni)."""
    found = []
    if common.shape[1] == 2:
        found.append(_two_by_two(np, common))
    elif common.shape[1] > 2:
        found.append(_chi_square(common))
    if rare.any() and common.shape[1]:
        found.append(_two_by_two(np, np.column_stack([common.sum(axis=1), rare])))
    if not found:  # one category on both sides, or none that is frequent
        return None, 1.0, "chi2"
    statistic, p_value, test = min(found, key=lambda item: item[1])
    return statistic, min(1.0, len(found) * p_value), test


def _chi_square(counts: Any) -> tuple[float | None, float, str]:
    stats = load_library("scipy.stats", _WANTED_FOR)
    # For a 2 x 2 table this is with Yates's correction, which errs on the quiet side.
    found = stats.chi2_contingency(counts)
    return float(found.statistic), _p(found.pvalue), "chi2"


def _two_by_two(np: Any, counts: Any) -> tuple[float | None, float, str]:
    stats = load_library("scipy.stats", _WANTED_FOR)
    if not (counts.sum(axis=0).all() and counts.sum(axis=1).all()):
        return None, 1.0, "fisher"
    if counts.sum() > _EXACT_TABLE and _least_expected(np, counts) >= _LEAST_EXPECTED:
        return _chi_square(counts)
    return None, _p(stats.fisher_exact(counts).pvalue), "fisher"


def _least_expected(np: Any, counts: Any) -> float:
    return float(np.outer(counts.sum(axis=1), counts.sum(axis=0)).min() / counts.sum())


def _p(value: Any) -> float:
    found = float(value)
    return min(max(found, 0.0), 1.0) if math.isfinite(found) else 1.0


def _distances(np: Any, counts: Any) -> tuple[float, float]:
    """Return the index and the divergence of two rows of counts; bins that are empty on both sides do not count."""
    used = counts[:, counts.sum(axis=0) > 0].astype("float64")
    shares = used / used.sum(axis=1, keepdims=True)
    filled = np.where(used == 0, 0.5, used)
    smooth = filled / filled.sum(axis=1, keepdims=True)
    psi = float(((smooth[1] - smooth[0]) * np.log(smooth[1] / smooth[0])).sum())
    middle = shares.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(shares > 0, shares * np.log2(shares / middle), 0.0)
    return max(psi, 0.0), min(max(float(terms.sum()) / 2, 0.0), 1.0)
