"""The approvals that a stage asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from holdfast.core.ledger import Request
from holdfast.core.promotion import CheckAnswer
from holdfast.registry.gates.answering import NotPassedError, answered
from holdfast.registry.gates.case import Case


@dataclass(frozen=True)
class Approvals:
    """Whether enough people approved these very files.

    Attributes:
        needed: How many.
        request: What was asked and said so far; None where nobody asked.
    """

    needed: int
    request: Request | None
    name: ClassVar[str] = "approvals"

    def answer(self, case: Case) -> CheckAnswer:
        """Count who approved the files as they are now; those who approved others are named."""
        return answered(self.name, case, lambda: self._count(case))

    def _count(self, case: Case) -> str:
        if self.request is None:
            which = f"{case.candidate.name} {case.candidate.version} --to {case.target.value}"
            raise NotPassedError(f"nobody has asked; holdfast models request {which}")
        counted = self.request.approved(case.manifest.checksum)
        others = sorted(set(self.request.approvals) - set(counted))
        said = f"{len(counted)} of {self.needed}: {', '.join(counted) or 'nobody yet'}"
        if others:
            said += f"; the files have changed since {', '.join(others)} approved"
        if len(counted) < self.needed:
            raise NotPassedError(said)
        return said
