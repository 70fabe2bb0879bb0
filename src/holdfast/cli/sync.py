"""`holdfast sync`: delivers what is in a journal, and waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holdfast.cli.output import Output
    from holdfast.delivery.places import Journal, Places
    from holdfast.delivery.sync import Summary
    from holdfast.delivery.target import Target
    from holdfast.settings import Settings

_SHOWN = 20
_LINE_EVERY_S = 10.0


def sync(
    path: Annotated[
        Path | None,
        typer.Argument(help="A journal, a folder above it (.holdfast), or one run's folder in it.", exists=True),
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="The tracking store; the configured one if not given.")] = None,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", min=0, help="Seconds this may take; no limit if not given.")
    ] = None,
    end_open: Annotated[
        bool, typer.Option("--end-open", help="End, as FAILED, runs that another machine left open.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Deliver what was logged and is not on the server yet, and wait until it is there.

    Runs that were begun offline are created once, and their local ids mapped to the server's. A journal may
    be copied from another machine and delivered here. Exit codes: 0 all is there, 1 the server refuses
    something (holdfast journal status), 3 not all is delivered.

    Example: holdfast sync /mnt/plane/.holdfast --to http://mlflow:5000
    """
    from holdfast.cli.output import get_output
    from holdfast.delivery.places import places_of, targets_of
    from holdfast.settings import load_settings

    settings = load_settings(tracking_uri=to)
    places = places_of(settings, path)
    targets = targets_of(settings, places.journals, is_chosen=to is not None)
    out = get_output(json)
    done = [(target, _sync(settings, target, places, timeout_s, end_open, out)) for target in targets]
    roots = [target.root for target in targets]
    others = [journal for journal in places.all if journal.root not in roots]
    if json:
        out.data(_document(done, others))
    else:
        _show(out, done, others)
    # What waits for another store is not delivered either, whoever forgot to name that store.
    left = 3 if path is None and any(journal.waiting() for journal in others) else 0
    raise typer.Exit(max((left, *(summary.exit_code for _, summary in done))))


def _sync(
    settings: Settings, target: Target, places: Places, timeout_s: float | None, end_open: bool, out: Output
) -> Summary:
    from holdfast.artifacts.progress import meter_for
    from holdfast.artifacts.transfer import SILENT
    from holdfast.delivery.sync import Sync
    from holdfast.project import open_project

    journal = next(journal for journal in places.all if journal.root == target.root)
    run_ids = [places.run_id] if places.run_id is not None else journal.run_ids()
    is_foreign = journal.destination != target.destination
    store = open_project(settings).artifacts
    meter = SILENT if out.json else meter_for(doing="upload")
    work = Sync(target, store.upload_folder, end_open, timeout_s, is_foreign, store, meter)
    try:
        with _progress(target, len(run_ids), out.json) as tick:
            return work.run(run_ids, tick)
    finally:
        meter.end()


@contextmanager
def _progress(target: Target, count: int, is_quiet: bool) -> Iterator[Callable[[Summary], None]]:
    """Show what is going on: on a terminal as it goes, elsewhere by a line now and then."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    if is_quiet:
        yield lambda _: None
    elif not console.is_terminal:
        with _lines(target, count) as tick:
            yield tick
    else:
        with console.status(f"delivering to {escape(target.destination)} ...") as status:
            yield lambda summary: status.update(escape(_state(target, summary, count)))


def _state(target: Target, summary: Summary, count: int) -> str:
    trouble = f"; last trouble: {target.redact(summary.trouble.splitlines()[0])}" if summary.trouble else ""
    return (
        f"delivering to {target.destination}: {len(summary.runs)} of {_counted(count, 'run')}, "
        f"{_counted(summary.metrics, 'metric')}, {_counted(summary.records, 'other record')}{trouble}"
    )


@contextmanager
def _lines(target: Target, count: int) -> Iterator[Callable[[Summary], None]]:
    """Write a line each `_LINE_EVERY_S` seconds, also while nothing moves and nobody ticks."""
    import threading

    seen: list[Summary] = []
    over = threading.Event()

    def write() -> None:
        while not over.wait(_LINE_EVERY_S):
            for summary in seen[-1:]:
                typer.echo(_state(target, summary, count), err=True)

    thread = threading.Thread(target=write, name="holdfast-sync-lines", daemon=True)
    thread.start()
    try:
        yield lambda summary: seen.__setitem__(slice(None), [summary])
    finally:
        over.set()
        thread.join()


def _show(out: Output, done: list[tuple[Target, Summary]], others: list[Journal]) -> None:
    for target, summary in done:
        _show_summary(out, target, summary)
    if not done:
        out.line("There is nothing to deliver.")
    for journal in others:
        count = _counted(len(journal.waiting()), "run")
        out.hint(
            f"not delivered: {count} of the journal for {journal.destination or '?'}; "
            f"holdfast sync {journal.root} --to {journal.destination or 'URI'}"
        )


def _show_summary(out: Output, target: Target, summary: Summary) -> None:
    from holdfast.delivery.sync import Result

    whole = [run for run in summary.runs if run.result not in (Result.PENDING, Result.BLOCKED)]
    files = sum(run.files for run in summary.runs)
    removed = sum(run.removed for run in summary.runs)
    more = f", {_counted(files, 'file')}" if files else ""
    more += f"; deleted in the store: {_counted(removed, 'file')}" if removed else ""
    out.line(
        f"{target.destination}: {len(whole)} of {_counted(len(summary.runs), 'run')} delivered; sent now: "
        f"{_counted(summary.metrics, 'metric')}, {_counted(summary.records, 'other record')}{more}"
    )
    mapped = [run for run in summary.runs if run.server_id not in (None, run.run_id)]
    for run in mapped[:_SHOWN]:
        out.line(f"  {run.run_id} is {run.server_id}")
    if len(mapped) > _SHOWN:
        out.line(f"  and {len(mapped) - _SHOWN} more (holdfast runs resolve LOCAL_ID)")
    pending = [] if summary.reason else summary.of(Result.PENDING)  # one reason for all is said once
    for run in [*summary.of(Result.BLOCKED), *pending][:_SHOWN]:
        out.warn(f"run {run.run_id} is {run.result.value}: {target.redact(run.reason)}")
    _show_what_is_left(out, target, summary)


def _show_what_is_left(out: Output, target: Target, summary: Summary) -> None:
    from holdfast.delivery.sync import Result

    left, elsewhere = len(summary.of(Result.PENDING)), len(summary.of(Result.ELSEWHERE))
    if summary.reason:
        out.error(
            f"{target.destination} cannot be reached: {target.redact(summary.reason)}",
            f"nothing is lost; {_counted(left, 'run')} left: run `holdfast sync` again",
        )
    elif left:
        out.hint(f"{_counted(left, 'run')} left: run `holdfast sync` again")
    if summary.of(Result.OPEN):
        out.hint(f"{_counted(len(summary.of(Result.OPEN)), 'run')} still being logged to: all is there so far")
    if elsewhere:
        out.hint(f"{_counted(elsewhere, 'run')} left open by another machine; --end-open ends them as FAILED")
    if summary.aside:
        out.warn(f"{_counted(summary.aside, 'thing')} set aside; see `holdfast journal status RUN`")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _document(done: list[tuple[Target, Summary]], others: list[Journal]) -> dict[str, Any]:
    return {
        "journals": [_journal_document(target, summary) for target, summary in done],
        "others": [{"path": str(journal.root), "destination": journal.destination} for journal in others],
    }


def _journal_document(target: Target, summary: Summary) -> dict[str, Any]:
    runs = [{**vars(run), "result": run.result.value, "reason": target.redact(run.reason)} for run in summary.runs]
    return {
        "path": str(target.root),
        "destination": target.destination,
        "metrics": summary.metrics,
        "records": summary.records,
        "aside": summary.aside,
        "reason": target.redact(summary.reason),
        "runs": runs,
    }
