"""Whether a version's metrics are good enough, and no worse than the present Production's."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.core.evidence import BootstrapRule
from holdfast.core.promotion import Check, CheckAnswer, answer_by_values
from holdfast.registry.gates.case import Case
from holdfast.registry.gates.paired import answer_with_scores


@dataclass(frozen=True)
class MetricCheck:
    """Is a metric within its bound?

    Attributes:
        check: What is asked.
        bootstrap: How a comparison is judged where both runs logged a score an example; None takes the plain values.
    """

    check: Check
    bootstrap: BootstrapRule | None = None

    @property
    def name(self) -> str:
        """The check as text: `test/auc >= 0.65`."""
        return str(self.check)

    def answer(self, case: Case) -> CheckAnswer:
        """Answer for a version; see `Gate`."""
        if self.check.compares and self.bootstrap is not None and case.production is not None:
            found = answer_with_scores(case, self.check, self.bootstrap)
            if found is not None:
                return found
        return answer_by_values(self.check, case.metrics, case.production_metrics)
