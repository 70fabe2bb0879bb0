"""Whether new data still looks like the data a model was trained on, column by column.

A column has drifted only where a difference is both sure and large: the p-value of a two-sample test, corrected for
the number of tests, is below `alpha`, and the population stability index reaches `min_psi`. With one of them alone,
small samples raise false alarms by their noise, and large ones by differences that matter to nobody.

* Numbers: the two-sample Kolmogorov-Smirnov test. The index is over ten bins between quantiles of the reference, whose
  outer ends are open, so that values outside of all that was seen before count; a value that many rows share has a bin
  of its own.
* Categories: Pearson's chi-square test over the categories that are frequent enough for it (5 expected, W. Cochran,
  "Some methods for strengthening the common chi-square tests", 1954), and Fisher's exact test of all rarer ones
  together against them, so that new and vanished categories count without each being a test of its own.
* Missing values are left out of both and tested by themselves: their share, by a 2 x 2 table.

The correction is Holm's (S. Holm, "A simple sequentially rejective multiple test procedure", 1979): over all columns
together, the chance of a false alarm is at most `alpha`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from holdfast.core.drift_columns import Column, prepare
from holdfast.core.drift_measures import Distance, Measured, measure_categories, measure_missing, measure_numbers
from holdfast.core.evidence import DriftRule
from holdfast.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_NAMED = 5


@dataclass(frozen=True)
class ColumnDrift:
    """What was found of one column.

    Attributes:
        column: Its name.
        kind: `number` or `category`, by the reference.
        n_reference: How many values the reference has.
        n_current: The same of the new data.
        missing_reference: The share of the reference's rows without a value.
        missing_current: The same of the new data.
        psi: The population stability index; None where a side has no value at all.
        test: `ks`, `chi2` or `fisher`, whichever gave the p-value; None without values.
        statistic: Of the test: the greatest distance of the distributions (KS), or chi-square; None for Fisher's.
        p_value: As tested; None without values.
        corrected_p: After the correction; the column has drifted where it is below alpha and the index is large.
        missing_psi: The index of having a value or none; 0 where nothing is missing.
        missing_p: The corrected p-value of the share of missing values; None where nothing is missing.
        jensen_shannon: The Jensen-Shannon divergence, from 0 to 1 (base 2), over the same bins as the index.
        wasserstein: The Wasserstein distance, in the column's unit; None for categories.
        new: Categories that only the new data has, the most frequent first; at most five.
        new_count: How many there are.
        vanished: Categories that only the reference has.
        vanished_count: How many there are.
        has_drifted: The answer.
        note: What kept it from being compared as it should; else empty.
    """

    column: str
    kind: str
    n_reference: int
    n_current: int
    missing_reference: float
    missing_current: float
    psi: float | None
    test: str | None
    statistic: float | None
    p_value: float | None
    corrected_p: float | None
    missing_psi: float
    missing_p: float | None
    jensen_shannon: float | None
    wasserstein: float | None
    new: tuple[str, ...]
    new_count: int
    vanished: tuple[str, ...]
    vanished_count: int
    has_drifted: bool
    note: str = ""


@dataclass(frozen=True)
class DriftReport:
    """What a comparison found.

    Attributes:
        columns: Each column that was compared, those that have drifted first.
        rows_reference: The reference's rows.
        rows_current: The new data's.
        alpha: The chance of a false alarm over all columns together.
        min_psi: The least index that counts.
        max_drifted: How many columns may have drifted.
        only_reference: Columns that the new data lacks.
        only_current: Columns that the reference lacks.
    """

    columns: tuple[ColumnDrift, ...]
    rows_reference: int
    rows_current: int
    alpha: float
    min_psi: float
    max_drifted: int
    only_reference: tuple[str, ...]
    only_current: tuple[str, ...]

    @property
    def drifted(self) -> tuple[ColumnDrift, ...]:
        """The columns that have drifted."""
        return tuple(column for column in self.columns if column.has_drifted)

    @property
    def passed(self) -> bool:
        """Whether no more columns have drifted than may."""
        return len(self.drifted) <= self.max_drifted

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values; there is no NaN in it."""
        return {"passed": self.passed, "drifted": [column.column for column in self.drifted], **asdict(self)}

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def measure_drift(reference: pd.DataFrame, current: pd.DataFrame, rule: DriftRule) -> DriftReport:
    """Compare new data with a reference.

    Args:
        reference: A table of what the model was trained on.
        current: A table of new data; the order of columns and rows does not matter.
        rule: Which columns, and what counts as drift; its two files are not read here.

    Raises:
        DataError: A column that is named is missing, a name occurs twice, no column is in both, a table has no rows, or
            the rule's numbers make no sense.
        MissingDependencyError: numpy, scipy or pandas is not installed.
    """
    names = _columns(reference, current, rule)
    columns = [prepare(name, reference[name], current[name]) for name in names]
    values = [_measure(column) for column in columns]
    missing = [measure_missing(column) for column in columns]
    tests = [item.p_value for item in (*values, *missing) if item is not None]
    corrected = iter(correct(tests))
    values_p = [None if item is None else next(corrected) for item in values]
    missing_p = [None if item is None else next(corrected) for item in missing]
    found = [_describe(rule, *parts) for parts in zip(columns, values, missing, values_p, missing_p, strict=True)]
    return DriftReport(
        columns=tuple(sorted(found, key=lambda item: not item.has_drifted)),
        rows_reference=len(reference),
        rows_current=len(current),
        alpha=rule.alpha,
        min_psi=rule.min_psi,
        max_drifted=rule.max_drifted,
        only_reference=_others(reference, current),
        only_current=_others(current, reference),
    )


def correct(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's method, in the same order."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def _columns(reference: pd.DataFrame, current: pd.DataFrame, rule: DriftRule) -> list[str]:
    problems = _problems_of(rule)
    for what, table in (("the reference", reference), ("the new data", current)):
        if not len(table):
            problems.append(f"{what} has no rows")
        if not table.columns.is_unique:
            problems.append(f"{what} has a column's name twice")
        lacking = [name for name in rule.columns if name not in table.columns]
        if lacking:
            problems.append(f"{what} lacks the columns {', '.join(map(str, lacking))}")
    names = list(rule.columns) or [name for name in reference.columns if name in current.columns]
    if not names:
        problems.append("no column is in both")
    if problems:
        raise DataError(
            f"The drift cannot be measured: {'; '.join(problems)}.",
            "give two tables of the same columns, or name columns that both have",
        )
    return list(dict.fromkeys(names))


def _problems_of(rule: DriftRule) -> list[str]:
    problems = []
    if not 0 < rule.alpha < 1:
        problems.append(f"alpha is {rule.alpha:g}, not between 0 and 1")
    if not (math.isfinite(rule.min_psi) and rule.min_psi >= 0):
        problems.append(f"min-psi is {rule.min_psi:g}, not 0 or more")
    return problems


def _others(table: pd.DataFrame, other: pd.DataFrame) -> tuple[str, ...]:
    return tuple(str(name) for name in table.columns if name not in other.columns)


def _measure(column: Column) -> Measured | None:
    if not len(column.reference) or not len(column.current):
        return None
    return measure_numbers(column) if column.kind == "number" else measure_categories(column)


def _describe(
    rule: DriftRule,
    column: Column,
    values: Measured | None,
    missing: Distance | None,
    values_p: float | None,
    missing_p: float | None,
) -> ColumnDrift:
    missing_psi = 0.0 if missing is None else missing.psi
    differs = values is not None and values_p is not None and values_p < rule.alpha and values.psi >= rule.min_psi
    lacks = missing_p is not None and missing_p < rule.alpha and missing_psi >= rule.min_psi
    return ColumnDrift(
        column=column.name,
        kind=column.kind,
        n_reference=len(column.reference),
        n_current=len(column.current),
        missing_reference=column.missing_reference / column.rows_reference,
        missing_current=column.missing_current / column.rows_current,
        psi=None if values is None else values.psi,
        test=None if values is None else values.test,
        statistic=None if values is None else values.statistic,
        p_value=None if values is None else values.p_value,
        corrected_p=values_p,
        missing_psi=missing_psi,
        missing_p=missing_p,
        jensen_shannon=None if values is None else values.jensen_shannon,
        wasserstein=None if values is None else values.wasserstein,
        new=() if values is None else values.new[:_NAMED],
        new_count=0 if values is None else len(values.new),
        vanished=() if values is None else values.vanished[:_NAMED],
        vanished_count=0 if values is None else len(values.vanished),
        has_drifted=differs or lacks,
        note=column.note,
    )
