"""`holdfast verify`: compares what was logged with what the server has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holdfast.cli.output import Output
    from holdfast.core.redaction import Redactor
    from holdfast.delivery.verify import Report

_EXIT_CODES = {"complete": 0, "missing": 1, "partial": 1, "pending": 3}


def verify(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id on the server, or its local one.")],
    path: Annotated[
        Path | None, typer.Option("--path", exists=True, help="A journal, or a folder above it; the project's if none.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare the journal's record of a run with what the server has, metric by metric.

    Says `complete`, or what is missing, of metrics, params, tags and the status; values that others have logged are
    no concern. Of files it says whether any wait to be uploaded; those that are stored are not checked. Exit codes:
    0 complete, 1 something is missing or was refused, or the record is partial because a part of it was deleted to
    make room, 3 something is still to be delivered, or the server cannot be reached.

    Example: holdfast verify 0123456789abcdef0123456789abcdef --json | jq .verdict
    """
    from dataclasses import replace

    from holdfast.cli.journal import redacted
    from holdfast.cli.output import get_output
    from holdfast.core.redaction import Redactor
    from holdfast.delivery import verify as comparing
    from holdfast.delivery.asking import asking
    from holdfast.delivery.places import find_run, places_of
    from holdfast.delivery.target import target_of
    from holdfast.settings import load_settings

    settings = load_settings()
    runs = find_run(places_of(settings, path).all, run_id)
    target = replace(target_of(settings), root=runs[0].journal.root)
    out = get_output(json)
    if runs[0].journal.destination not in ("", target.destination):
        out.hint(f"its journal was written for {runs[0].journal.destination}; compared with {target.destination}")
    with asking(target) as sender, _progress(run_id, json) as tick:
        report = comparing.verify(run_id, runs, sender, tick)
    redact = Redactor(settings.secrets())
    if json:
        out.data(redacted(comparing.as_document(report), redact))
    else:
        _show(out, report, target.destination, redact)
    raise typer.Exit(_EXIT_CODES[report.verdict.value])


@contextmanager
def _progress(run_id: str, is_quiet: bool) -> Iterator[Callable[[str], None]]:
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    if is_quiet or not console.is_terminal:
        yield lambda _: None
        return
    with console.status(f"verifying run {escape(run_id)} ...") as status:
        yield lambda metric: status.update(f"verifying run {escape(run_id)}: {escape(metric)}")


def _show(out: Output, report: Report, destination: str, redact: Redactor) -> None:
    columns = ["metric", "logged", "on the server", "missing", "pending", "set aside"]
    counts = [(m.name, m.logged, m.found, m.missing, m.pending, m.aside) for m in report.metrics]
    if counts:
        out.table(f"Run {report.server_id}", columns, [[name, *(f"{n:,}" for n in row)] for name, *row in counts])
    for metric in report.metrics:
        for value, timestamp, step in metric.examples:
            out.warn(f"missing: {metric.name} = {value!r} at step {step}, time {timestamp}")
    for item in report.differences:
        out.warn(redact(f"{item.what} {item.name}: logged {_said(item.logged)}, on the server {_said(item.found)}"))
    _show_notes(out, report)
    out.line(_about_files(report))
    out.line(f"{report.run_id}: {_sentence(report, destination)}")


def _about_files(report: Report) -> str:
    waiting = f"{report.files_waiting:,} waiting to be uploaded" if report.files_waiting else "none waiting"
    waiting += f", {report.removals_waiting:,} to be deleted" if report.removals_waiting else ""
    return f"files: {waiting}; stored files are not checked here"


def _said(value: str | None) -> str:
    return "nothing" if value is None else repr(value if len(value) <= 120 else f"{value[:120]}…")


def _show_notes(out: Output, report: Report) -> None:
    notes = {
        "things set aside, see `holdfast journal status RUN`": report.aside,
        "files that the store does not let be deleted, see `holdfast journal status RUN`": report.removals_aside,
        "places in the journal that cannot be read": report.damaged,
        "segments of the journal that are missing": report.lost,
        "segments deleted after delivery to make room, which were not compared": report.gone,
        "records of datasets or models, delivered and not compared": report.uncompared,
    }
    for what, count in notes.items():
        if count:
            out.hint(f"{count:,} {what}")


def _sentence(report: Report, destination: str) -> str:
    values = sum(metric.logged for metric in report.metrics)
    if report.problem:
        return f"{report.verdict.value}: {report.problem} ({destination})"
    if report.verdict.value == "pending":
        files = _counted(report.files_waiting, "file") if report.files_waiting else ""
        removals = _counted(report.removals_waiting, "deletion") if report.removals_waiting else ""
        records = _counted(report.pending, "record") if report.pending or not (files or removals) else ""
        verb = "is" if report.files_waiting + report.removals_waiting + report.pending == 1 else "are"
        what = " and ".join(filter(None, (records, files, removals)))
        return f"pending: {what} {verb} still to be delivered (holdfast sync)"
    if report.verdict.value == "missing":
        return f"missing: {_what_is_missing(report)}"
    compared = f"{values:,} values of {len(report.metrics)} metrics, {report.params} params and {report.tags} tags"
    what = "partial: all that the journal still holds is there" if report.gone else "complete"
    return f"{what} ({compared} on {destination})"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _what_is_missing(report: Report) -> str:
    counts = {
        "values of metrics": report.missing,
        "other differences": len(report.differences),
        "things set aside": report.aside,
        "places in the journal that cannot be read": report.damaged,
        "segments of the journal": report.lost,
    }
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
