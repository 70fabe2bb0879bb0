"""The answer to an examination, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.doctor.check import Result, Status
from holdfast.doctor.wording import text_of

# The check that says whether the settings can be used.
SETTINGS = "config.settings"
_ORDER = (Status.OK, Status.SKIPPED, Status.WARNING, Status.FAILED)


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        results: The checks that were asked for, and those which they need that did not go well.
        took_s: How long all of it took, in seconds.
        left_behind: What could not be taken away again: objects, uploads, runs. Empty unless the network failed midway.
    """

    results: Sequence[Result]
    took_s: float
    left_behind: Sequence[str] = ()

    @property
    def worst(self) -> Status:
        """The worst status; what was skipped is no fault, what was left behind is not as it should be."""
        found = {result.finding.status for result in self.results} - {Status.SKIPPED}
        found |= {Status.WARNING} if self.left_behind else set()
        return max(found, key=_ORDER.index, default=Status.OK)

    @property
    def is_spotless(self) -> bool:
        """Whether there is neither a failure nor a warning."""
        return self.worst is Status.OK

    @property
    def failures(self) -> list[Result]:
        """What does not work."""
        return [result for result in self.results if result.finding.status is Status.FAILED]

    @property
    def fixable(self) -> list[Result]:
        """What the doctor can mend by itself."""
        return [result for result in self.results if result.finding.fix is not None]

    @property
    def exit_code(self) -> int:
        """0 where everything works, warnings or not; 2 where the settings cannot be used; 3 where all that failed may
        pass by itself, such as a server that does not answer; else 1."""
        failures = self.failures
        if any(result.check.name == SETTINGS for result in failures):
            return 2
        if failures and all(result.finding.retryable for result in failures):
            return 3
        return 1 if failures else 0

    def merged(self, later: Report) -> Report:
        """Return this report with what a later examination of some of its checks has found."""
        newer = {result.check.name: result for result in later.results}
        results = [newer.get(result.check.name, result) for result in self.results]
        left_behind = sorted({*self.left_behind, *later.left_behind})
        return Report(results, self.took_s + later.took_s, left_behind)

    def __str__(self) -> str:
        """Return it for people: each result with its remedy, grouped, and the counts."""
        return text_of(self)

    def count(self, status: Status) -> int:
        """Return how many ended so."""
        return sum(result.finding.status is status for result in self.results)

    def as_document(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "status": self.worst.value,
            "took_s": round(self.took_s, 3),
            "counts": {status.value: self.count(status) for status in _ORDER},
            "checks": [_entry(result) for result in self.results],
            "left_behind": list(self.left_behind),
        }


def _entry(result: Result) -> dict[str, Any]:
    finding = result.finding
    return {
        "name": result.check.name,
        "asks": result.check.asks,
        "status": finding.status.value,
        "found": finding.found,
        "remedy": finding.remedy or None,
        "evidence": finding.evidence.value,
        "can_fix": finding.fix is not None,
        "retryable": finding.retryable,
        "took_s": round(result.took_s, 3),
        "details": dict(finding.details),
    }
