"""`holdfast gc log` and `holdfast gc undo`: what earlier clean-ups have done, and taking it back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.s3_usage import Json, size

if TYPE_CHECKING:
    from holdfast.cli.output import Output
    from holdfast.core.cleanup.plan import Plan
    from holdfast.maintenance.ledger import Ledger, Summary
    from holdfast.maintenance.undoing import Undone
    from holdfast.project import Project

_SHOWN = 20
Id = Annotated[str | None, typer.Argument(metavar="GC_ID", help="Its name, as `holdfast gc log` shows it.")]


def log(
    gc_id: Id = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="Print every key that was deleted, hidden or refused, one a line.")
    ] = False,
    json: Json = False,
) -> None:
    """List the clean-ups of this project, or show what one of them has done.

    Example: holdfast gc log 20261122-201500-1a2b --keys
    """
    from holdfast.cli.output import get_output
    from holdfast.maintenance.ledger import all_of, ledger_named
    from holdfast.maintenance.seen import home_of
    from holdfast.settings import load_settings

    if keys and gc_id is None:
        raise typer.BadParameter("--keys is about one clean-up: name it.")
    home, out = home_of(load_settings()), get_output(json)
    if gc_id is None:
        _show_all(out, all_of(home))
        return
    ledger = ledger_named(home, gc_id)
    if json:
        out.data(_document(ledger, keys))
    elif keys:
        for fields in _keys(ledger):
            out.record(*fields)
    else:
        _show_one(out, ledger)


def _show_all(out: Output, found: Iterable[Summary]) -> None:
    summaries = list(found)
    if out.json:
        out.data([_summary(one) for one in summaries])
        return
    if not summaries:
        out.line("There was no clean-up in this project yet.")
        return
    columns = ["clean-up", "began", "ended", "done", "skipped", "refused", "left", "deleted", "reclaimed", "hidden"]
    rows = [
        [
            one.gc_id,
            _stamp(one.made_ms),
            "undone" if one.undone else _stamp(one.ended_ms) or "not ended",
            *(f"{one.counts.get(name, 0):,}" for name in ("done", "skipped", "refused", "left")),
            f"{one.reclaimed.count:,}",
            size(one.reclaimed.all_bytes),
            f"{one.trashed:,}",
        ]
        for one in summaries
    ]
    out.table("Clean-ups", columns, rows)


def _show_one(out: Output, ledger: Ledger) -> None:
    from holdfast.cli.gc_output import counted, named

    one, plan = ledger.noted.summary(ledger.gc_id), ledger.plan
    out.line(f"{one.gc_id}: began {_stamp(one.made_ms)}, {_end_said(one)}")
    told = [
        [str(plan.items[number].kind), named(plan.items[number].name, plan.items[number].id), how, why]
        for number, how, why in _fates(ledger)
    ]
    if told:
        out.table("What became of it", ["what", "name", "how", "why"], told[:_SHOWN])
        if len(told) > _SHOWN:
            out.line(f"… and {len(told) - _SHOWN:,} more (--json shows all)")
    if one.reclaimed.count or not one.trashed:
        out.line(f"Deleted: {counted(one.reclaimed.count, 'key')}. Reclaimed: {size(one.reclaimed.all_bytes)}")
    if one.trashed:
        out.line(f"Hidden: {counted(one.trashed, 'object')}")
    refused = [row for row in _keys(ledger) if row[0] == "refused"]
    if refused:
        out.warn(f"{counted(len(refused), 'refusal')}, the first: {refused[0][1]} ({refused[0][3]})")
    out.hint(f"every key: holdfast gc log {one.gc_id} --keys")


def _end_said(one: Summary) -> str:
    ended = f"ended {_stamp(one.ended_ms)}" if one.ended_ms is not None else "not ended"
    return f"{ended}, and undone since" if one.undone else ended


def _fates(ledger: Ledger) -> Iterator[tuple[int, str, str]]:
    """Give each item that was touched by its number, with what became of it in the end."""
    from holdfast.cli.gc_output import counted

    fates: dict[int, tuple[str, str]] = dict.fromkeys(ledger.noted.begun, ("begun", ""))
    for record in ledger.records():
        if record["is"] == "skipped":
            fates[record["item"]] = ("skipped", record["why"])
        elif record["is"] == "refused":
            failures = record["failures"]
            fates[record["item"]] = (
                "refused",
                f"{counted(len(failures), 'refusal')}, {failures[0][2]}" if failures else "",
            )
    fates.update(dict.fromkeys(ledger.noted.done, ("done", "")))
    yield from ((number, how, why) for number, (how, why) in sorted(fates.items()))


def _keys(ledger: Ledger) -> Iterator[tuple[str, str, str, str]]:
    """Give what became of each key, its address, its version, and why it was refused."""
    for record in ledger.records():
        if record["is"] == "deleted":
            yield from (("deleted", address, version_id, "") for address, version_id in record["keys"])
        elif record["is"] == "hidden":
            yield from (("hidden", address, version_id, "") for address, version_id in record["markers"])
        elif record["is"] == "refused":
            for address, version_id, code, message in record["failures"]:
                yield "refused", address, version_id, f"{code}: {message}"


def _summary(one: Summary) -> dict[str, Any]:
    from holdfast.cli.gc_document import holding_of

    return {
        "gc_id": one.gc_id,
        "began": _stamp(one.made_ms),
        "ended": _stamp(one.ended_ms) or None,
        "counts": dict(one.counts),
        "reclaimed": holding_of(one.reclaimed),
        "hidden": one.trashed,
        "undone": one.undone,
    }


def _document(ledger: Ledger, with_keys: bool) -> dict[str, Any]:
    plan = ledger.plan
    document = _summary(ledger.noted.summary(ledger.gc_id))
    document["items"] = [_fate(plan, number, how, why) for number, how, why in _fates(ledger)]
    document["rows"] = _rows(ledger)
    if with_keys:
        document["keys"] = [
            {"what": what, "address": address, "version_id": version_id, "why": why}
            for what, address, version_id, why in _keys(ledger)
        ]
    return document


def _fate(plan: Plan, number: int, how: str, why: str) -> dict[str, str]:
    item = plan.items[number]
    return {"kind": item.kind, "id": item.id, "name": item.name, "action": item.action, "how": how, "why": why}


def _rows(ledger: Ledger) -> dict[str, int]:
    from collections import Counter

    rows: Counter[str] = Counter()
    for record in ledger.records():
        if record["is"] == "rows":
            rows.update(record["rows"])
    return dict(rows)


def _stamp(time_ms: int | None) -> str:
    from holdfast.cli.gc_document import stamp

    return "" if time_ms is None else stamp(time_ms)


def undo(
    gc_id: Id = None,
    tracking_uri: Annotated[
        str | None, typer.Option("--tracking-uri", help="The tracking store; the settings' if not given.")
    ] = None,
    json: Json = False,
) -> None:
    """Bring back what a clean-up with --trash has hidden, and restore the runs that it marked deleted.

    The last one that hid something and was not undone is taken if none is named. What was written again since stays
    as it is, and is told of.

    Exit codes: 0 all is back, 1 something is not, 2 there is nothing to bring back, 3 try again later, 130 Ctrl-C.

    Example: holdfast gc undo 20261122-201500-1a2b
    """
    from holdfast.cli.gc_ending import end_undone, later_if_retryable
    from holdfast.cli.gc_plan import check_store
    from holdfast.cli.opening import open_existing
    from holdfast.cli.output import get_output
    from holdfast.maintenance.seen import home_of
    from holdfast.maintenance.undoing import undoable
    from holdfast.settings import load_settings

    out = get_output(json)
    settings = load_settings(tracking_uri=tracking_uri)
    # Before the store is opened: it may be another one, and need not be there.
    ledger = undoable(home_of(settings), gc_id)
    check_store(ledger.plan, settings, f"Clean-up {ledger.gc_id}")
    project = open_existing(tracking_uri=tracking_uri)
    with later_if_retryable(out):
        undone, number = _undo(out, project, ledger.gc_id)
    if json:
        out.data(_undone(undone))
    else:
        _show_undone(out, undone)
    end_undone(undone, number, out)


def _undo(out: Output, project: Project, gc_id: str) -> tuple[Undone, int]:
    from holdfast.artifacts.progress import meter_for
    from holdfast.cli.gc_ending import stopping
    from holdfast.maintenance.undoing import undo as bring_back

    meter = meter_for(doing="restore")
    try:
        with stopping(out) as stop:
            undone = bring_back(project, gc_id, meter, stop.event)
        return undone, stop.number
    finally:
        meter.end()


def _show_undone(out: Output, undone: Undone) -> None:
    rows = [[one.address, one.code, one.message] for one in undone.failures]
    if rows:
        more = f" ({len(rows) - _SHOWN:,} more are not shown; --json shows all)" if len(rows) > _SHOWN else ""
        out.table(f"Not brought back{more}", ["what", "code", "why"], rows[:_SHOWN])
    runs = f" {len(undone.runs):,} runs are not deleted any more." if undone.runs else ""
    of_all = f" of {undone.hidden:,}" if undone.objects < undone.hidden else ""
    out.line(f"{undone.gc_id}: {undone.objects:,}{of_all} objects that it hid can be seen.{runs}")
    if undone.left:
        out.warn(f"{undone.left:,} objects and runs were not tried; the same command goes on")


def _undone(undone: Undone) -> dict[str, Any]:
    from dataclasses import asdict

    error = undone.error
    return {
        "gc_id": undone.gc_id,
        "objects": undone.objects,
        "hidden": undone.hidden,
        "runs": list(undone.runs),
        "failures": [asdict(one) for one in undone.failures],
        "left": undone.left,
        "error": None if error is None else {"message": error.message, "hint": error.hint},
    }
