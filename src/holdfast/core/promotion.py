"""Promotion rules: what a version's metrics must show before it may become Production.

A rule is written as a table, in pyproject.toml for instance:

    [tool.holdfast.promotion]
    min = { "test/auc" = 0.65 }                              # at least
    max = { "test/log_loss" = 0.69 }                         # at most
    not-below-production = { "test/auc" = 0.005 }            # no more than .005 below the present Production's
    not-above-production = { "test/log_loss" = "1%" }        # no more than 1 % of Production's above it

The direction stands in the name of the row, so nothing is guessed from a metric's name. What else can be asked of a
version is in `holdfast.core.policy`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.core.names import why_bad_key
from holdfast.errors import SettingsError

METRIC_ROWS = ("min", "max", "not-below-production", "not-above-production")
_PERCENT = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*%")


@dataclass(frozen=True)
class Check:
    """One line of a rule: the metric, what is asked of it, and the number that goes with it.

    Attributes:
        kind: The row it stands in: `min`, `max`, `not-below-production` or `not-above-production`.
        metric: Its name, as it was logged.
        number: The bound, or the tolerance of a comparison.
        is_relative: Whether the tolerance is a share of Production's value, .01 for 1 %.
    """

    kind: str
    metric: str
    number: float
    is_relative: bool = False

    def __str__(self) -> str:
        number = f"{100 * self.number:g}%" if self.is_relative else f"{self.number:g}"
        asked = {
            "min": f">= {number}",
            "max": f"<= {number}",
            "not-below-production": f">= Production's - {number}",
            "not-above-production": f"<= Production's + {number}",
        }[self.kind]
        return f"{self.metric} {asked}"

    @property
    def compares(self) -> bool:
        """Whether it asks for the present Production's value."""
        return self.kind.startswith("not-")

    def tolerance(self, present: float) -> float:
        """Return how much worse than Production's value a version may be, in the metric's own unit.

        A relative tolerance is that share of the value's size, so it is 0 where Production's value is 0.
        """
        return self.number * abs(present) if self.is_relative else self.number

    def bound(self, present: float) -> float:
        """Return the value a version must reach (`not-below-production`) or may not exceed (`not-above-production`)."""
        tolerance = self.tolerance(present)
        return present - tolerance if self.kind == "not-below-production" else present + tolerance


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
    """All checks a version's metrics must pass; without any, every version passes."""

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
        return tuple(answer_by_values(check, candidate, production) for check in self.checks)


def parse_rule(table: Mapping[str, object]) -> PromotionRule:
    """Read a rule from its table, which holds rows about metrics only.

    Raises:
        SettingsError: Names every unknown row, and every number that is none.
    """
    checks: list[Check] = []
    problems: list[str] = []
    for row, metrics in table.items():
        kind = row.replace("_", "-")
        if kind in METRIC_ROWS:
            checks += read_checks(kind, metrics, problems)
        else:
            problems.append(f"unknown row {row!r} (known: {', '.join(METRIC_ROWS)})")
    if problems:
        raise SettingsError(
            "The promotion rule is not valid: " + "; ".join(problems) + ".", "mend [tool.holdfast.promotion]"
        )
    return PromotionRule(tuple(checks))


def read_checks(row: str, metrics: object, problems: list[str], where: str = "") -> list[Check]:
    """Read one row about metrics.

    Args:
        row: Its name, one of `METRIC_ROWS`.
        metrics: Its value, a table of metric = number.
        problems: What is wrong with it is added here.
        where: What to put before the row's name in a problem.
    """
    if not isinstance(metrics, Mapping):
        problems.append(f"{where}{row} must be a table of metric = number, not {metrics!r:.60}")
        return []
    found = []
    for metric, value in metrics.items():
        check, problem = _read_check(row, metric, value)
        if check is None:
            problems.append(f"{where}{row} of {metric!r} {problem}")
        else:
            found.append(check)
    return found


def _read_check(row: str, metric: object, value: object) -> tuple[Check | None, str]:
    if why := why_bad_key(metric):
        return None, f"names no metric: it {why}"
    percent = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if percent and not row.startswith("not-"):
        return (
            None,
            f"is {value!r}; a share of Production's value goes into not-below-production or not-above-production",
        )
    number = float(percent[1]) / 100 if percent else finite(value)
    if number is None or not math.isfinite(number):
        return None, f"is {value!r:.60}, not a number" + (
            ' and no share such as "1%"' if row.startswith("not-") else ""
        )
    if number < 0 and row.startswith("not-"):
        return None, f"is {value}; a tolerance is 0 or more"
    return Check(row, str(metric), number, bool(percent)), ""


def finite(value: object) -> float | None:
    """Return a finite number as a float, and None for all else: a truth value, a text, NaN, more than a float holds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def answer_by_values(
    check: Check, candidate: Mapping[str, float], production: Mapping[str, float] | None
) -> CheckAnswer:
    """Answer one check by the last values of the metric.

    Args:
        check: What is asked.
        candidate: The version's metrics, by name.
        production: The present Production version's; None where there is none to be compared with.
    """
    value = candidate.get(check.metric)
    if value is None or not math.isfinite(value):
        what = "was not logged" if value is None else "is NaN" if math.isnan(value) else f"is {value}"
        return CheckAnswer(str(check), False, f"{check.metric} {what} on this version's run")
    if not check.compares:
        passed = value >= check.number if check.kind == "min" else value <= check.number
        return CheckAnswer(str(check), passed, f"{value:.6g} against {check.number:g}")
    if production is None:
        return CheckAnswer(str(check), True, f"{value:.6g}; there is no Production version to be compared with")
    present = production.get(check.metric)
    if present is None or not math.isfinite(present):
        return CheckAnswer(str(check), False, f"{value:.6g}; the present Production's run has no {check.metric}")
    bound = check.bound(present)
    passed = value >= bound if check.kind == "not-below-production" else value <= bound
    # .7 is .1 below .8, but .8 - .1 is .7000000000000001: what is at the bound but for the last digit passes.
    passed = passed or math.isclose(value, bound, rel_tol=1e-12)
    return CheckAnswer(str(check), passed, f"{value:.6g} against Production's {present:.6g}")
