"""`holdfast doctor`: what works, what does not, and what mends it."""

from __future__ import annotations

import sys
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holdfast.cli.doctor_output import Shown
    from holdfast.doctor.check import Result
    from holdfast.doctor.fixing import Fixed
    from holdfast.doctor.report import Report


class KeyRole(Enum):
    """What keys are for."""

    WRITER = "writer"
    READER = "reader"


def doctor(
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="NAMES",
            help="Ask only these: groups (env, boto3, credentials, s3, config, server, journal), names of checks such "
            "as s3.versioning, or beginnings of them; joined by commas, or given several times.",
        ),
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what is safe to mend; each is asked for.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --fix: do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --fix: say what would be done, and do not.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for a warning too.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=1.0, help="How long all checks may take together.")
    ] = 10.5,
    role: Annotated[
        KeyRole,
        typer.Option("--role", help="What the project's keys are for; for a reader nothing is written anywhere."),
    ] = KeyRole.WRITER,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Examine the project: settings, keys, bucket, tracking server, journal. Nothing is left behind.

    Each check ends as ok, warning (works, but not as it should be), FAILED, or skipped (with why). Below a warning or a
    failure stands the command or setting that mends it. "(inferred)" marks what follows from something else.

    Exit codes: 0 everything works (also with warnings), 1 something does not, 2 the settings cannot be used, 3 all that
    failed may pass by itself, such as a server that does not answer: try again later. Ctrl-C, SIGTERM and SIGHUP end it
    with 130, 143 and 129, after what was made for a trial has been taken away; a second Ctrl-C ends it at once.

    Example: holdfast doctor --only credentials,s3
    """
    from holdfast.cli.doctor_output import Shown
    from holdfast.cli.ending import orderly_end
    from holdfast.doctor.examine import examine

    _check_usage(fix, yes, dry_run, json)
    shown = Shown(json, fix)
    fixed: list[Fixed] = []
    with orderly_end():
        with shown:
            report = examine(only=only or (), say=shown.result, total_s=timeout, role=role.value)
        shown.summary(report)
        if fix:
            fixed, report = _mend(report, shown, role, yes, dry_run)
    if json:
        shown.document(report, fixed)
    raise typer.Exit(report.exit_code or int(strict and not report.is_spotless))


def _check_usage(fix: bool, yes: bool, dry_run: bool, json: bool) -> None:
    """Refuse what would hang or mean nothing before anything is asked."""
    from holdfast.errors import InvalidInputError

    if (yes or dry_run) and not fix:
        raise InvalidInputError(f"--{'yes' if yes else 'dry-run'} goes with --fix.", "holdfast doctor --fix --yes")
    if fix and not (yes or dry_run) and (json or not sys.stdin.isatty()):
        raise InvalidInputError("Nothing is mended: there is no terminal to ask on.", "say so with --yes")


def _mend(report: Report, shown: Shown, role: KeyRole, yes: bool, dry_run: bool) -> tuple[list[Fixed], Report]:
    from holdfast.doctor.fixing import apply_fixes, examine_again

    fixable = report.fixable
    shown.fixes(fixable)
    if dry_run:
        return [], report
    fixed = apply_fixes(result for result in fixable if yes or _is_agreed(result))
    shown.fixed(fixed)
    if not fixed:
        return [], report
    with shown:
        later = examine_again(report, fixed, say=shown.result, role=role.value)
    shown.summary(later)
    return fixed, later


def _is_agreed(result: Result) -> bool:
    what: Any = result.finding.fix
    return typer.confirm(f"{result.check.name}: {what.does}?", err=True)
