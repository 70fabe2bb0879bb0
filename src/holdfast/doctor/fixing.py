"""Mends what the doctor can mend without a person's hand, and looks whether that helped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.uris import mask_passwords_in
from holdfast.doctor.check import Result
from holdfast.doctor.context import Role
from holdfast.doctor.examine import examine
from holdfast.doctor.report import Report
from holdfast.errors import HoldfastError


@dataclass(frozen=True)
class Fixed:
    """What became of a fix.

    Attributes:
        check: The name of the check that offered it.
        does: What it was to do.
        done: What was done; empty where it failed.
        error: Why it failed, and what helps.
    """

    check: str
    does: str
    done: str = ""
    error: str = ""

    def as_document(self) -> dict[str, object]:
        """Return it as plain data."""
        return {"check": self.check, "does": self.does, "done": self.done or None, "error": self.error or None}


def apply_fixes(results: Iterable[Result]) -> list[Fixed]:
    """Apply the fixes of results, each once; one that fails does not keep the others."""
    return [_apply(result) for result in results if result.finding.fix is not None]


def _apply(result: Result) -> Fixed:
    fix = result.finding.fix
    if fix is None:
        return Fixed(result.check.name, "")
    try:
        return Fixed(result.check.name, fix.does, mask_passwords_in(fix.apply()))
    except HoldfastError as error:
        return Fixed(result.check.name, fix.does, error=mask_passwords_in(str(error)))


def examine_again(
    report: Report,
    fixed: Iterable[Fixed],
    start: Path | None = None,
    environ: Mapping[str, str] | None = None,
    say: Callable[[Result], None] | None = None,
    role: Role = "writer",
) -> Report:
    """Return the report with what the checks whose fixes were applied find now.

    Args:
        report: What was found before.
        fixed: What was applied since.
        start: As of `examine`.
        environ: As of `examine`.
        say: As of `examine`.
        role: As of `examine`.
    """
    names = [item.check for item in fixed]
    return report.merged(examine(start, environ, names, say, role=role)) if names else report
