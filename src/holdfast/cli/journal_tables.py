"""What `holdfast journal status` shows to people."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.core.redaction import Redactor
    from holdfast.delivery.places import Places
    from holdfast.delivery.status import JournalStatus, Pending, RunStatus, ShipperStatus
    from holdfast.settings import Settings

_COLUMNS = ["run", "on the server", "state", "pending", "size", "oldest", "set aside", "files", "process"]
_DELIVERED_SHOWN = 10
_TROUBLES_SHOWN = 3


@dataclass
class Section:
    """A journal, for people: lines, a table, and what to do."""

    lines: list[str]
    columns: Sequence[str] = ()
    rows: list[list[str]] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)


def sections(settings: Settings, places: Places, run_id: str | None, every: bool) -> list[Section]:
    """Return what is to be shown.

    Args:
        settings: The project's.
        places: The journals.
        run_id: The run that is asked for; all if not given.
        every: Whether all delivered runs are listed.

    Raises:
        NotFoundError: No journal knows the run.
    """
    from holdfast.core.redaction import Redactor
    from holdfast.delivery.places import find_run
    from holdfast.delivery.status import status_of

    redact = Redactor(settings.secrets())
    wanted = run_id or places.run_id
    if wanted is not None:
        runs = find_run(places.all, wanted)
        return [_run_section(status_of(run.journal, {run.run_id}), settings, redact) for run in runs]
    found = [_section(status_of(journal), settings, every, redact) for journal in places.journals]
    others = [f"beside it: the journal for {item.destination or '?'} ({item.root})" for item in places.others]
    if not found:
        found = [Section(["Nothing was logged through a journal yet."])]
    found[-1].hints += others
    return found


def rendered(found: list[Section]) -> Any:
    """Return sections as something that rich can draw."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = []
    for section in found:
        parts += [Text(line) for line in section.lines]
        table = Table(header_style="bold")
        for number, column in enumerate(section.columns):
            table.add_column(column, overflow="fold", no_wrap=number == 0)
        for row in section.rows:
            table.add_row(*(escape(cell) for cell in row))
        parts += [table] if section.rows else []
        parts += [Text(hint, style="dim") for hint in section.hints]
    return Group(*parts)


def _section(status: JournalStatus, settings: Settings, every: bool, redact: Redactor) -> Section:
    rest = [run for run in status.runs if run.state.value != "delivered" or run.aside]
    delivered = [run for run in status.runs if run not in rest]
    shown = delivered if every else delivered[:_DELIVERED_SHOWN]
    section = Section(_head(status, settings, redact), *_table([*rest, *shown]))
    if len(shown) < len(delivered):
        section.hints.append(f"and {len(delivered) - len(shown):,} more delivered runs (--all lists them)")
    if any(run.aside for run in status.runs):
        section.hints.append("what was set aside, and why: holdfast journal status RUN; then retry, export or drop")
    is_uploaded = any(uploader.is_running for uploader in status.uploaders.values())
    are_files_left = any(run.files_waiting or run.removals_waiting for run in status.runs) and not is_uploaded
    if (status.pending.size_bytes and not status.shipper.is_running) or are_files_left:
        section.hints.append("deliver what is pending: holdfast sync")
    return section


def _run_section(status: JournalStatus, settings: Settings, redact: Redactor) -> Section:
    lines = _head(status, settings, redact)
    for run in status.runs:
        lines += [f"set aside: {redact(item.describe())} ({_ago(item.noted_ms)})" for item in run.aside]
    return Section(lines, *_table(status.runs))


def _table(runs: list[RunStatus]) -> tuple[list[str], list[list[str]]]:
    """Return the columns in which there is something, and the rows."""
    rows = [_row(run) for run in runs]
    kept = [at for at in range(len(_COLUMNS)) if any(row[at] for row in rows)]
    return [_COLUMNS[at] for at in kept], [[row[at] for at in kept] for row in rows]


def _head(status: JournalStatus, settings: Settings, redact: Redactor) -> list[str]:
    pending = status.pending
    oldest = f", the oldest {_age(pending.age_s)} old" if pending.age_s is not None else ""
    aside = sum(len(run.aside) for run in status.runs)
    return [
        f"journal  {status.root}",
        f"for      {status.destination or '?'}",
        f"size     {_size(status.size_bytes)} of {_size(settings.journal_limit)}",
        f"pending  {_records(pending)} records ({_size(pending.size_bytes)}){oldest}; {aside:,} set aside",
        f"shipper  {redact(_shipper(status.shipper))}",
        *_files(status, redact),
    ]


def _files(status: JournalStatus, redact: Redactor) -> list[str]:
    """Return lines about the files, where any were handed over."""
    count = sum(run.files_waiting for run in status.runs)
    size = sum(run.files_bytes for run in status.runs)
    removals = sum(run.removals_waiting for run in status.runs)
    more = f", delete {_files_counted(removals)}" if removals else ""
    lines = (
        [f"files    {count:,} to be uploaded ({_size(size)}){more}"] if count or removals or status.uploaders else []
    )
    running = [uploader for uploader in status.uploaders.values() if uploader.is_running]
    lines += [f"uploader {redact(_shipper(uploader, is_bytes=True))}" for uploader in running]
    troubles = dict.fromkeys(run.files_trouble for run in status.runs if run.files_trouble)
    lines += [f"         not uploaded: {redact(trouble)}" for trouble in list(troubles)[:_TROUBLES_SHOWN]]
    if troubles:
        run_id = next(run.run_id for run in status.runs if run.files_trouble)
        lines.append(f"         to be rid of them instead: holdfast journal drop {run_id} --waiting")
    return lines + [f"damaged  parcel {parcel}: {problem}" for parcel, problem in status.unreadable.items()]


def _files_counted(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _rate(rate: float, is_bytes: bool) -> str:
    return f"{rate / 1e6:,.1f} MB/s" if is_bytes else f"{rate:,.0f} records/s"


def _shipper(shipper: ShipperStatus, is_bytes: bool = False) -> str:
    said = shipper.said
    if not shipper.is_running:
        text = {"none": "not running (none has run yet)", "ended": "not running (ended when all was delivered)"}.get(
            shipper.state, "not running (the last one was killed)"
        )
    else:
        text = f"{shipper.state}, {_rate(shipper.rate, is_bytes)}"
        if said is not None and said.retry_ms > _now_ms():
            text += f", tries again in {_age((said.retry_ms - _now_ms()) / 1000)}"
    if said is not None and said.last_error:
        text += f"; last error, {_ago(said.last_error_ms)}: {said.last_error}"
    return text


def _row(run: RunStatus) -> list[str]:
    age = run.pending.age_s
    return [
        run.run_id,
        "" if run.server_id == run.run_id else run.server_id or "not yet",
        run.state.value,
        _records(run.pending),
        _size(run.pending.size_bytes) if run.pending.size_bytes else "",
        "" if age is None else _age(age),
        str(len(run.aside) or ""),
        _waiting(run),
        "alive" if run.is_alive else "",
    ]


def _waiting(run: RunStatus) -> str:
    uploads = f"{run.files_waiting} waiting" if run.files_waiting else ""
    removals = f"delete {_files_counted(run.removals_waiting)}" if run.removals_waiting else ""
    return ", ".join(filter(None, (uploads, removals)))


def _records(pending: Pending) -> str:
    return f"{'about ' if pending.is_estimate else ''}{pending.records:,}"


def _size(size_bytes: int) -> str:
    value, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _ago(time_ms: int) -> str:
    return f"{_age(max(0.0, (_now_ms() - time_ms) / 1000))} ago"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
