"""How results read, line by line; the same in a notebook, in a file and, in colours, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdfast.doctor.check import Evidence, Result, Status

if TYPE_CHECKING:
    from holdfast.doctor.report import Report

# Failures are in capitals: they must not be overlooked where there are no colours either.
MARKS = {Status.OK: "ok", Status.SKIPPED: "skipped", Status.WARNING: "warning", Status.FAILED: "FAILED"}
_MARK_WIDTH = 7
_NAME_WIDTH = 26


def lines_of(result: Result) -> list[str]:
    """Return a result: the mark, the name and what was found, then the remedy in a line of its own."""
    finding = result.finding
    first, *more = finding.found.splitlines() or [""]
    sure = " (inferred)" if finding.evidence is Evidence.INFERRED and finding.status is not Status.SKIPPED else ""
    indent = " " * (_MARK_WIDTH + 3)
    lines = [f"  {MARKS[finding.status]:<{_MARK_WIDTH}} {result.check.name:<{_NAME_WIDTH}} {first}{sure}"]
    lines += [indent + line for line in more]
    return lines + [f"{indent}-> {line}" for line in finding.remedy.splitlines() if line]


def is_like(one: Result, other: Result) -> bool:
    """Whether two results say the same, so that one line does for both: skipped, and for one reason."""
    both = (one, other)
    return (
        all(result.finding.status is Status.SKIPPED for result in both)
        and one.check.group == other.check.group
        and one.finding.found == other.finding.found
    )


def lines_of_all(alike: Sequence[Result]) -> list[str]:
    """Return results of which each is like the next: in a line with the first and the last name if they are several."""
    first, last = alike[0], alike[-1]
    if len(alike) == 1:
        return lines_of(first)
    names = f"{first.check.name} … {last.check.name.partition('.')[2]} ({len(alike)})"
    return [f"  {MARKS[Status.SKIPPED]:<{_MARK_WIDTH}} {names:<{_NAME_WIDTH}} {first.finding.found}"]


def summary_of(report: Report) -> str:
    """Return the last line: how many ended how, with the names of those that failed, and the time."""
    failures = [result.check.name for result in report.results if result.finding.status is Status.FAILED]
    counts = [f"{len(failures)} FAILED ({', '.join(failures)})"] if failures else []
    warnings = report.count(Status.WARNING)
    counts += [counted(warnings, "warning")] if warnings else []
    counts += [f"{report.count(Status.OK)} ok", f"{report.count(Status.SKIPPED)} skipped"]
    return f"{', '.join(counts)} in {report.took_s:.1f} s"


def text_of(report: Report) -> str:
    """Return the whole report, grouped."""
    lines: list[str] = []
    group = ""
    for alike in _runs_in(report.results):
        lines += [alike[0].check.group] * (alike[0].check.group != group) + lines_of_all(alike)
        group = alike[0].check.group
    return "\n".join([*lines, *left_behind_lines(report.left_behind), summary_of(report)])


def _runs_in(results: Sequence[Result]) -> list[list[Result]]:
    found: list[list[Result]] = []
    for result in results:
        if found and is_like(found[-1][-1], result):
            found[-1].append(result)
        else:
            found.append([result])
    return found


def counted(count: int, what: str) -> str:
    """Return `1 warning`, `2 warnings`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def left_behind_lines(left_behind: Sequence[str]) -> list[str]:
    """Return what could not be taken away again, to be removed by hand."""
    return [f"could not be removed, and is still there: {what}" for what in left_behind]
