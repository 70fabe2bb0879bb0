"""The checks of the journal's place: its folder, its disk, its locks, its files; no server is asked."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.delivery.places import Journal
from holdfast.doctor.check import Check, Evidence, Finding, failed, ok, skipped, warning
from holdfast.doctor.context import Context
from holdfast.doctor.journal.disk import (
    existing,
    file_system_of,
    is_over_network,
    room_on,
    shown_size,
    why_not_writable,
)
from holdfast.doctor.journal.journals import Journals, journals_of, skips_without_journal
from holdfast.doctor.journal.segments import look_at_segments
from holdfast.journal.lease import Life, leased, life_of

if TYPE_CHECKING:
    from holdfast.delivery.status import JournalStatus, ShipperStatus

_LITTLE_BYTES = 1 << 30
_LITTLE = 0.05
_NEARLY_FULL = 0.8
# A writer asks for some more than it needs at the moment.
_LEAST_BYTES = 16 << 10
# A shipper notes what it does about once a second, whatever it waits for.
_SILENT_S = 60.0
# Records are read for so long; a check has six seconds, and the journal itself is looked at before.
_READING_S = 3.0


# -- the folder -----------------------------------------------------------------------------


def _folder(context: Context) -> Finding:
    found = journals_of(context)
    if not found.is_in_use:
        return skipped("nothing is journaled: HOLDFAST_DELIVERY=direct")
    folder = found.folder
    above = existing(folder)
    why_not = why_not_writable(above) if above.is_dir() else "it is a file"
    kind = file_system_of(above)
    details: dict[str, Any] = {"folder": str(folder), "file_system": kind}
    if why_not:
        return failed(
            f"the journal's folder {folder} cannot be written to: {above}: {why_not}",
            f"make {above} writable for this user (`ls -ld '{above}'`), or set HOLDFAST_JOURNAL to another folder",
            **details,
        )
    if is_over_network(kind):
        return warning(
            f"the journal is in {folder}, on a network file system ({kind}): its locks may not hold there, and a power "
            "cut of the file server loses what was logged",
            "set HOLDFAST_JOURNAL to a folder on a local disk",
            **details,
        )
    made = "" if folder.exists() else ", made at the first run"
    return ok(f"{folder}{made}{f' ({kind})' if kind else ''}", Evidence.TRIED, **details)


def _disk(context: Context) -> Finding:
    found = journals_of(context)
    if not found.is_in_use:
        return skipped("nothing is journaled: HOLDFAST_DELIVERY=direct")
    limit_bytes, status = context.settings.journal_limit, found.own
    room = room_on(existing(found.folder))
    size_bytes = status.size_bytes if status else 0
    details: dict[str, Any] = {"free_bytes": room.free_bytes, "size_bytes": size_bytes, "limit_bytes": limit_bytes}
    said = (
        f"the journal holds {shown_size(size_bytes)} of {shown_size(limit_bytes)}, and "
        f"{shown_size(room.free_bytes)} of its disk are free"
    )
    return _bound(status, limit_bytes, said, details) or _room(found, room, limit_bytes - size_bytes, said, details)


def _bound(status: JournalStatus | None, limit_bytes: int, said: str, details: dict[str, Any]) -> Finding | None:
    """Return the finding where what is not delivered comes near the journal's bound."""
    if status is None:
        return None
    # What is delivered makes room when it is needed; this does not.
    kept_bytes = status.pending.size_bytes + sum(run.files_bytes for run in status.runs)
    if kept_bytes < _NEARLY_FULL * limit_bytes:
        return None
    remedy = f"bring the server back or run `holdfast sync`, or set HOLDFAST_JOURNAL_LIMIT above {limit_bytes}"
    if limit_bytes - status.size_bytes <= _LEAST_BYTES:
        return failed(f"{said}: it is full, and calls that log fail or wait", remedy, Evidence.TOLD, **details)
    return warning(f"{said}: it will soon be full", remedy, **details)


def _room(found: Journals, room: tuple[int, int], wanted_bytes: int, said: str, details: dict[str, Any]) -> Finding:
    free_bytes, disk_bytes = room
    remedy = f"make room (`df -h '{existing(found.folder)}'`), or set HOLDFAST_JOURNAL to a folder on another disk"
    if free_bytes < _LEAST_BYTES:
        return failed(f"{said}: the disk is full, and calls that log fail", remedy, Evidence.TOLD, **details)
    is_little = free_bytes < _LITTLE * disk_bytes and free_bytes < wanted_bytes
    if free_bytes < _LITTLE_BYTES or is_little:
        return warning(f"{said}: that is little for an outage of the server", remedy, **details)
    return ok(said, **details)


# -- locks ----------------------------------------------------------------------------------


def _locks(context: Context) -> Finding:
    status = journals_of(context).own
    if status is None:
        return skips_without_journal(context)
    stuck = [line for name, who in _deliverers(status) if (line := _stuck(name, who))]
    if stuck:
        pids = " ".join(str(who.said.pid) for name, who in _deliverers(status) if _stuck(name, who) and who.said)
        return failed(
            "; ".join(stuck),
            f"end it, which loses nothing (`kill -9 {pids}`, on that machine), then `holdfast sync`",
            Evidence.INFERRED,
        )
    return _leases(context, status)


def _deliverers(status: JournalStatus) -> list[tuple[str, ShipperStatus]]:
    return [("the shipper", status.shipper), *((f"uploader {name}", who) for name, who in status.uploaders.items())]


def _stuck(name: str, who: ShipperStatus) -> str:
    said = who.said
    if not who.is_running or said is None or said.state == "ended":
        return ""
    silent_s = time.time() - said.updated_ms / 1000
    if silent_s < _SILENT_S:
        return ""
    return f"{name} (process {said.pid} on {said.host}) holds its lock and has not moved for {silent_s:.0f} s"


def _leases(context: Context, status: JournalStatus) -> Finding:
    paths = journals_of(context).paths
    lives = [life_of(paths, process) for process in leased(paths)]
    counts: dict[str, Any] = {life.name.lower(): lives.count(life) for life in Life}
    elsewhere = [run.run_id for run in status.runs if run.state.value == "elsewhere"]
    # Everything is delivered, nobody lives who could end them, and nobody has.
    unfinished = [run.run_id for run in status.runs if run.state.value == "pending" and not run.is_alive]
    if unfinished and not status.shipper.is_running:
        return warning(
            f"{_runs(unfinished)} were not ended, and their process is gone",
            "holdfast sync (it delivers what is left, and ends them as FAILED)",
            Evidence.TOLD,
            runs=unfinished[:20],
            **counts,
        )
    if elsewhere:
        return warning(
            f"{_runs(elsewhere)} were left open by a process of another machine",
            "holdfast sync --end-open, once nothing logs to them there any more",
            Evidence.TOLD,
            runs=elsewhere[:20],
            **counts,
        )
    return ok(f"{counts['alive']} processes write here; no lock or lease is stale", **counts)


def _runs(run_ids: list[str]) -> str:
    return f"{len(run_ids)} runs ({', '.join(run_ids[:3])}{' …' if len(run_ids) > 3 else ''})"


# -- files ----------------------------------------------------------------------------------


def _damage(context: Context) -> Finding:
    found = journals_of(context)
    status = found.own
    if status is None:
        return skips_without_journal(context)
    parcels = [f"parcel {name}: {why}" for name, why in status.unreadable.items()]
    records = [f"run {run.run_id}: {item.reason}" for run in status.runs for item in run.aside if item.what == "damage"]
    if parcels or records:
        return failed(
            f"files of the journal are damaged: {'; '.join([*parcels, *records][:3])}",
            f"see the disk (`dmesg`, its SMART values); `holdfast journal export` keeps what can be read of them, "
            f"then `holdfast journal drop`; parcels lie in {found.paths.files}",
            Evidence.TOLD,
            parcels=len(parcels),
            records=len(records),
        )
    if not _is_readable(found.paths.about):
        return warning(
            f"{found.paths.about}, which says what the journal is for, cannot be read",
            f"delete it (`rm '{found.paths.about}'`): the next run writes it anew",
        )
    return _segments(Journal(found.paths, status.destination))


def _segments(journal: Journal) -> Finding:
    """Return whether what was logged can be read: by reading it, for as long as there is time."""
    looked = look_at_segments(journal, _READING_S)
    details: dict[str, Any] = {"read_bytes": looked.read_bytes, "size_bytes": looked.size_bytes}
    is_whole = looked.read_bytes >= looked.size_bytes
    said = (
        f"every file can be read, {shown_size(looked.size_bytes)} of records among them"
        if is_whole
        else f"what was read in {_READING_S:g} s can be: the newest {shown_size(looked.read_bytes)} of "
        f"{shown_size(looked.size_bytes)} of records"
    )
    if not looked.places:
        return ok(said, Evidence.TRIED, parcels=0, records=0, **details)
    lost = [place for place in looked.places if not place.is_delivered]
    found = f"records are damaged: {'; '.join(place.describe() for place in (lost or looked.places)[:3])}"
    details |= {"parcels": 0, "records": len(looked.places)}
    disk = "see the disk (`dmesg`, its SMART values)"
    if not lost:
        return warning(
            found,
            f"{disk}; `holdfast verify {looked.places[0].run_id}` says whether the server has all",
            Evidence.TRIED,
            **details,
        )
    return failed(
        found,
        f"`holdfast sync` delivers every other record and sets these aside (`holdfast journal status "
        f"{lost[0].run_id}`); if there is a backup of the file, bring it back before that; {disk}",
        **details,
    )


def _is_readable(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except (OSError, ValueError):
        return False


CHECKS = (
    Check("journal.folder", "Can the journal be written?", _folder, ("config.settings",)),
    Check("journal.disk", "Has the journal room?", _disk, ("config.settings",)),
    Check(
        "journal.locks", "Is a lock or lease held by nobody, or by somebody who hangs?", _locks, ("config.settings",)
    ),
    Check("journal.damage", "Can every file of the journal be read?", _damage, ("config.settings",)),
)
