"""How `holdfast doctor` looks: results as they come, grouped, the failures in red, and on a terminal what is asked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.status import Status as Spinner
from rich.text import Text

from holdfast.cli.output import get_output, writable
from holdfast.doctor.check import Status
from holdfast.doctor.wording import is_like, left_behind_lines, lines_of_all, summary_of

if TYPE_CHECKING:
    from holdfast.doctor.check import Result
    from holdfast.doctor.fixing import Fixed
    from holdfast.doctor.report import Report

_STYLES = {Status.OK: "green", Status.SKIPPED: "dim", Status.WARNING: "yellow", Status.FAILED: "bold red"}
_MARK_END = 9


class Shown:
    """Shows results in the order in which it gets them; in a `with`, a terminal shows that more are to come.

    Args:
        json: Show nothing but the document at the end.
        mends: Whether what can be mended is, so that nobody needs to be told how to.
    """

    def __init__(self, json: bool, mends: bool = False) -> None:
        self._mends = mends
        self._output = get_output(json)
        self._json = json
        self._console = Console(file=sys.stdout, soft_wrap=True, highlight=False, emoji=False)
        self._spinner: Spinner | None = None
        self._group = ""
        self._alike: list[Result] = []

    def __enter__(self) -> None:
        self._group = ""
        if not self._json and self._console.is_terminal:
            self._spinner = self._console.status("asking …")
            self._spinner.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._show()
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None

    def result(self, result: Result) -> None:
        """Show one result, under the heading of its group; those that are skipped for one reason share a line."""
        if self._json:
            return
        if self._alike and not is_like(self._alike[-1], result):
            self._show()
        self._alike.append(result)
        if result.finding.status is not Status.SKIPPED:
            self._show()

    def _show(self) -> None:
        if not self._alike:
            return
        result = self._alike[0]
        if result.check.group != self._group:
            self._group = result.check.group
            self._console.print(Text(self._group, style="bold"))
        style = _STYLES[result.finding.status]
        first, *more = lines_of_all(self._alike)
        self._alike.clear()
        line = Text(writable(first))
        line.stylize(style, 0, None if result.finding.status in (Status.FAILED, Status.SKIPPED) else _MARK_END)
        self._console.print(line)
        for text in more:
            self._console.print(Text(writable(text), style="" if "->" in text else style))

    def summary(self, report: Report) -> None:
        """Show the counts, and what could not be taken away again."""
        if self._json:
            return
        for line in left_behind_lines(report.left_behind):
            self._console.print(Text(writable(line), style="bold red"))
        self._console.print(Text(summary_of(report), style=_STYLES[report.worst]))
        if report.fixable and not self._mends:
            names = ", ".join(result.check.name for result in report.fixable)
            self._output.hint(f"`holdfast doctor --fix` can mend {names}")

    def fixes(self, fixable: Sequence[Result]) -> None:
        """Show what --fix would do."""
        if not fixable:
            self._output.line("There is nothing that can be mended without you.")
        for result in fixable:
            if result.finding.fix is not None:
                self._output.line(f"to mend {result.check.name}: {result.finding.fix.does}")

    def fixed(self, fixed: Sequence[Fixed]) -> None:
        """Show what became of the fixes."""
        for item in fixed:
            if item.error:
                self._output.error(f"{item.check} is not mended: {item.error}")
            else:
                self._output.line(f"mended {item.check}: {item.done}")

    def document(self, report: Report, fixed: Sequence[Fixed]) -> None:
        """Print the whole report for programs."""
        self._output.data(report.as_document() | {"fixed": [item.as_document() for item in fixed]})
