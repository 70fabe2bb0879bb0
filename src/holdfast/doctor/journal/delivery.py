"""The checks of what is in the journal: whether it is delivered, by whom, and what is refused; no server is asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.delivery.process import start_shipper, start_uploader
from holdfast.delivery.target import target_of
from holdfast.delivery.upload_target import UploadTarget
from holdfast.doctor.check import Check, Evidence, Finding, Fix, failed, ok, skipped, warning
from holdfast.doctor.context import Context
from holdfast.doctor.journal.disk import shown_age, shown_size
from holdfast.doctor.journal.journals import forget_journals, journals_of, skips_without_journal
from holdfast.errors import DeliveryError
from holdfast.journal.locks import is_held

if TYPE_CHECKING:
    from holdfast.delivery.status import JournalStatus, ShipperStatus

_SYNC = "holdfast sync"
_OLD_S = 3600.0
_STARTS_WITHIN_S = 10.0
_POLL_S = 0.05


# -- what waits -----------------------------------------------------------------------------


def _pending(context: Context) -> Finding:
    status = journals_of(context).own
    if status is None:
        return skips_without_journal(context)
    pending, files = status.pending, _files(status)
    details: dict[str, Any] = {
        "records": pending.records,
        "size_bytes": pending.size_bytes,
        "files": files,
        "age_s": pending.age_s,
    }
    if not pending.size_bytes and not files:
        return ok("everything that was logged is delivered", **details)
    age = f", the oldest logged {shown_age(pending.age_s)} ago" if pending.age_s is not None else ""
    found = f"{pending.records:,} records ({shown_size(pending.size_bytes)}) and {files:,} files wait{age}"
    is_served = not pending.size_bytes or status.shipper.is_running
    if not (is_served and (not files or _uploads(status))):
        return warning(f"{found}, and nobody delivers them", _SYNC, **details)
    if (pending.age_s or 0.0) > _OLD_S:
        return warning(f"{found}; they are tried again and again", f"see server.reachable; then {_SYNC}", **details)
    return ok(f"{found}; they are being delivered", **details)


def _files(status: JournalStatus) -> int:
    return sum(run.files_waiting for run in status.runs)


def _uploads(status: JournalStatus) -> bool:
    return any(uploader.is_running for uploader in status.uploaders.values())


# -- who delivers it ------------------------------------------------------------------------


def _shipper(context: Context) -> Finding:
    status = journals_of(context).own
    if status is None:
        return skips_without_journal(context)
    shipper, left = status.shipper, status.pending.size_bytes
    details: dict[str, Any] = {"state": shipper.state, "pid": shipper.said.pid if shipper.said else 0}
    error = _last_error(context, shipper)
    if shipper.is_running:
        return _running(shipper, error, details)
    if not left:
        return ok("there is nothing that a shipper would have to deliver", **details)
    if context.settings.shipper == "none":
        return skipped("there is none by HOLDFAST_SHIPPER=none", _SYNC)
    how = {"none": "none was ever started", "ended": "the last one has ended"}.get(shipper.state, "it was killed")
    return failed(
        f"{shown_size(left)} are to be delivered, and no shipper runs: {how}{error}",
        f"{_SYNC} (the next process that logs starts a shipper, too)",
        Evidence.TOLD,
        _starting(context, "a shipper", lambda: _start_shipper(context)),
        **details,
    )


def _running(shipper: ShipperStatus, error: str, details: dict[str, Any]) -> Finding:
    if shipper.state != "waiting":
        return ok(f"a shipper runs ({shipper.state})", **details)
    return warning(
        f"the shipper waits for the server{error}",
        f"see server.reachable; nothing is lost, and {_SYNC} tries at once",
        **details,
    )


def _last_error(context: Context, shipper: ShipperStatus) -> str:
    said = shipper.said
    return f"; last error: {context.redact(said.last_error)}" if said is not None and said.last_error else ""


def _uploaders(context: Context) -> Finding:
    status = journals_of(context).own
    if status is None:
        return skips_without_journal(context)
    files = _files(status)
    details: dict[str, Any] = {"uploaders": len(status.uploaders), "files": files}
    troubles = list(dict.fromkeys(run.files_trouble for run in status.runs if run.files_trouble))
    said = f"; last trouble: {context.redact(troubles[0])}" if troubles else ""
    if not files:
        return ok("no files wait to be uploaded", **details)
    if _uploads(status):
        if not troubles:
            return ok(f"{files:,} files are being uploaded", **details)
        return warning(
            f"{files:,} files wait{said}",
            "mend what it says (`holdfast doctor --only s3,server.artifacts`); they are tried again by themselves",
            **details,
        )
    if context.settings.shipper == "none":
        return skipped("there is none by HOLDFAST_SHIPPER=none", _SYNC)
    return failed(
        f"{files:,} files are to be uploaded, and nobody does{said}",
        f"{_SYNC} (the next process that logs files starts an uploader, too)",
        Evidence.TOLD,
        _starting(context, "an uploader", lambda: _start_uploader(context)),
        **details,
    )


def _starting(context: Context, what: str, start: Callable[[], Path]) -> Fix | None:
    """Return the fix that starts a process; none where the settings want no process."""
    if context.settings.shipper != "process":
        return None

    def apply() -> str:
        lock = start()
        forget_journals(context)
        until_s = time.monotonic() + _STARTS_WITHIN_S
        while time.monotonic() < until_s:
            if is_held(lock):
                return f"{what} is at work"
            time.sleep(_POLL_S)
        raise DeliveryError(f"No sign of {what} within {_STARTS_WITHIN_S:g} s.", f"see {lock.parent}/*.log", True)

    return Fix(f"start {what}, which delivers in the background", apply)


def _start_shipper(context: Context) -> Path:
    start_shipper(target_of(context.settings, context.environ), lambda: None)
    return journals_of(context).paths.shipper_lock


def _start_uploader(context: Context) -> Path:
    settings, access = context.settings, context.project.artifacts.access
    start_uploader(UploadTarget(target_of(settings, context.environ), access, settings.artifact_root), lambda: None)
    return journals_of(context).paths.uploader_lock(access.fingerprint)


# -- what is refused, and what is elsewhere -------------------------------------------------


def _aside(context: Context) -> Finding:
    status = journals_of(context).own
    if status is None:
        return skips_without_journal(context)
    refused = [run for run in status.runs if run.aside]
    if not refused:
        return ok("the server has refused nothing", aside=0)
    count = sum(len(run.aside) for run in refused)
    first = context.redact(refused[0].aside[0].describe())
    return failed(
        f"{count:,} things of {len(refused)} runs were refused by the server and are set aside; the first: {first}",
        f"holdfast journal status {refused[0].run_id} tells why; then `holdfast journal retry`, `export` or `drop`",
        Evidence.TOLD,
        aside=count,
        runs=[run.run_id for run in refused[:20]],
    )


def _others(context: Context) -> Finding:
    found = journals_of(context)
    waiting = {journal: runs for journal in found.others if (runs := journal.waiting())}
    if not waiting:
        return ok("nothing waits in them" if found.others else "there are none", journals=[])
    commands = [f"holdfast sync '{journal.root}' --to {journal.destination or 'URI'}" for journal in waiting]
    stores = ", ".join(f"{len(runs)} runs for {journal.destination or '?'}" for journal, runs in waiting.items())
    return warning(
        f"journals for other tracking stores hold what was never delivered: {stores}",
        "\n".join(commands[:5]),
        journals=[str(journal.root) for journal in waiting],
    )


CHECKS = (
    Check("journal.pending", "Is everything that was logged delivered?", _pending, ("config.settings",)),
    Check("journal.shipper", "Does somebody deliver what waits?", _shipper, ("config.settings",)),
    Check("journal.uploaders", "Does somebody upload the files that wait?", _uploaders, ("config.settings",)),
    Check("journal.aside", "Has the server refused something?", _aside, ("config.settings",)),
    Check("journal.others", "Does something wait in journals for other stores?", _others, ("config.settings",)),
)
