"""What a gate is: one question about a version, answered without changing anything."""

from __future__ import annotations

from typing import Protocol

from holdfast.core.promotion import CheckAnswer
from holdfast.registry.gates.case import Case


class Gate(Protocol):
    """One question.

    Attributes:
        name: What is asked, as it is shown and recorded: `artifacts`, `test/auc >= 0.65`.
    """

    @property
    def name(self) -> str: ...

    def answer(self, case: Case) -> CheckAnswer:
        """Answer for a version; `check` is the gate's name, `reason` what was found and, where it fails, the remedy.

        What cannot be found out (a file is missing, the run is gone, the callable raises) does not pass, and the reason
        says so. Only a registry or a store that cannot be reached is an error.

        Raises:
            HoldfastError: A server or a store cannot be reached; nothing can be said.
        """
