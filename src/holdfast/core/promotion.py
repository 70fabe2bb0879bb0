"""Promotion rules: what a version's metrics must show before it may become Production.

A rule is written as a table, in pyproject.toml for instance:

    [tool.holdfast.promotion]
    min = { "test/auc" = 0.65 }                              # at least
    max = { "test/log_loss" = 0.69 }                         # at most
    not-below-production = { "test/auc" = 0.005 }            # no more than .005 below the present Production's
    not-above-production = { "test/log_loss" = 0.0 }         # no worse at all, for metrics where less is better

The direction stands in the name of the row, so nothing is guessed from a metric's name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.errors import SettingsError

_KINDS = ("min", "max", "not-below-production", "not-above-production")


@dataclass(frozen=True)
class Check:
    """One line of a rule: the metric, what is asked of it, and the number that goes with it."""

    kind: str
    metric: str
    number: float

    def __str__(self) -> str:
        asked = {
            "min": f">= {self.number:g}",
            "max": f"<= {self.number:g}",
            "not-below-production": f">= Production's - {self.number:g}",
            "not-above-production": f"<= Production's + {self.number:g}",
        }[self.kind]
        return f"{self.metric} {asked}"


@dataclass(frozen=True)
class CheckAnswer:
    """What a check found.

    Attributes:
        check: The check as text.
        passed: Whether it lets the version through.
        reason: The numbers that were compared, or what was missing.
    """

    check: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class PromotionRule:
    """All checks a version must pass; without any, every version passes."""

    checks: tuple[Check, ...] = ()

    def evaluate(
        self, candidate: Mapping[str, float], production: Mapping[str, float] | None
    ) -> tuple[CheckAnswer, ...]:
        """Answer each check, in the rule's order.

        Args:
            candidate: The version's metrics, by name.
            production: The present Production version's metrics, or None where there is none.
                Comparisons with it then pass, since there is nothing to be worse than.
        """
        return tuple(_answer(check, candidate, production) for check in self.checks)


def parse_rule(table: Mapping[str, object]) -> PromotionRule:
    """Read a rule from its table.

    Raises:
        SettingsError: Names every unknown row, and every number that is none.
    """
    checks: list[Check] = []
    problems: list[str] = []
    for row, metrics in table.items():
        kind = row.replace("_", "-")
        if kind not in _KINDS:
            problems.append(f"unknown row {row!r} (known: {', '.join(_KINDS)})")
        elif not isinstance(metrics, Mapping):
            problems.append(f"{row} must be a table of metric = number")
        else:
            _collect(kind, metrics, checks, problems)
    if problems:
        raise SettingsError(
            "The promotion rule is not valid: " + "; ".join(problems) + ".", "mend [tool.holdfast.promotion]"
        )
    return PromotionRule(tuple(checks))


def _collect(kind: str, metrics: Mapping[object, object], checks: list[Check], problems: list[str]) -> None:
    for metric, number in metrics.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            problems.append(f"{kind} of {metric!r} is {number!r}, not a number")
        elif number < 0 and kind.startswith("not-"):
            problems.append(f"{kind} of {metric!r} is {number:g}; a tolerance is 0 or more")
        else:
            checks.append(Check(kind, str(metric), float(number)))


def _answer(check: Check, candidate: Mapping[str, float], production: Mapping[str, float] | None) -> CheckAnswer:
    value = candidate.get(check.metric)
    if value is None or math.isnan(value):
        what = "was not logged" if value is None else "is NaN"
        return CheckAnswer(str(check), False, f"{check.metric} {what} on this version's run")
    if check.kind in ("min", "max"):
        return CheckAnswer(str(check), _within(check, value, check.number), f"{value:.6g} against {check.number:g}")
    if production is None:
        return CheckAnswer(str(check), True, f"{value:.6g}; there is no Production version yet")
    present = production.get(check.metric)
    if present is None or math.isnan(present):
        return CheckAnswer(str(check), False, f"{value:.6g}; the present Production's run has no {check.metric}")
    sign = -1 if check.kind == "not-below-production" else 1
    passed = _within(check, value, present + sign * check.number)
    return CheckAnswer(str(check), passed, f"{value:.6g} against Production's {present:.6g}")


def _within(check: Check, value: float, bound: float) -> bool:
    return value >= bound if check.kind in ("min", "not-below-production") else value <= bound
