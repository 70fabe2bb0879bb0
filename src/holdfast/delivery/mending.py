"""What was set aside: sent again, written out, or thrown away."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from holdfast.core.sending import Point, Refused, Sender
from holdfast.delivery.aside import Aside, aside, aside_of, load_asides, save_asides
from holdfast.delivery.batches import entities_of
from holdfast.delivery.places import FoundRun
from holdfast.delivery.run import RunDelivery
from holdfast.delivery.sending import resend
from holdfast.delivery.streams import RunStreams
from holdfast.errors import DeliveryError, RunStateError
from holdfast.journal.checkpoint import load_checkpoint
from holdfast.journal.codec import Kind
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.lease import Life
from holdfast.journal.locks import FileLock
from holdfast.journal.parcel import Parcel
from holdfast.journal.reader import Damage, Item, Metrics
from holdfast.journal.spool import Spool

_LOCK_WAIT_S = 10.0
_NO_MESSAGE = (Kind.OWNED, Kind.LEFT)
_PAIRS = {"p": "param", "t": "tag"}


@dataclass
class Retried:
    """What came of trying again.

    Attributes:
        run_id: The name of the run's folder.
        stored: How many things the server has taken now.
        left: What is still set aside.
        metrics: How many further values were delivered, of a run that had been refused.
        records: How many other things were.
        files: How many files are no longer set aside; they are uploaded by the uploader, or by `holdfast sync`.
        removals: The same of paths that are to be deleted from the artifact store.
    """

    run_id: str
    stored: int = 0
    left: list[Aside] = field(default_factory=list)
    metrics: int = 0
    records: int = 0
    files: int = 0
    removals: int = 0


def asides_of(run: FoundRun) -> list[Aside]:
    """Return what is set aside of a run, its files too."""
    return [*load_asides(OsFileSystem(), run.paths.aside), *map(aside_of, refused_parcels(run))]


def refused_parcels(run: FoundRun) -> list[Parcel]:
    """Return the parcels of a run that are set aside."""
    return [parcel for parcel in Spool(run.journal.paths).of_runs([run.run_id]) if parcel.is_refused]


def is_blocked(items: Sequence[Aside]) -> bool:
    """Whether the run itself is refused, so that nothing more is sent to it."""
    return any(item.what == "run" for item in items)


@contextmanager
def _held(run: FoundRun) -> Iterator[None]:
    """Hold the run's lock.

    Raises:
        DeliveryError: Somebody else does, for longer than is sensible.
    """
    with FileLock(run.paths.lock) as lock:
        if not lock.acquire(_LOCK_WAIT_S):
            raise DeliveryError(f"Run {run.run_id} is being delivered right now.", "try again", retryable=True)
        yield


# -- retry --------------------------------------------------------------------------------


def retry(run: FoundRun, sender: Sender) -> Retried:
    """Send again what was set aside; a run that was refused as a whole is delivered again.

    What the server takes is noted as no longer set aside when this returns or raises. Being killed in between sends
    a part once more the next time, which the server stores once.

    Raises:
        Unavailable: The server cannot be reached.
        DeliveryError: The run is being delivered right now.
        OSError: The journal cannot be written to.
    """
    with _held(run):
        items = load_asides(OsFileSystem(), run.paths.aside)
        result = Retried(run.run_id, left=[item for item in items if item.what != "run"])
        for parcel in refused_parcels(run):
            parcel.forgive()
            result.files += len(parcel.left.files)
            result.removals += len(parcel.left.removes)
        # First of all: whoever is killed from here on finds a run that is delivered as any other.
        if is_blocked(items):
            save_asides(OsFileSystem(), run.paths.aside, result.left)
        _resend_all(run, sender, result)
    if is_blocked(items):
        _deliver(run, sender, result)
    return result


def _resend_all(run: FoundRun, sender: Sender, result: Retried) -> None:
    server_id = run.server_id
    if server_id is None:  # nothing was ever sent to it
        return
    waiting, result.left = result.left, []
    try:
        while waiting:
            refused = waiting[0] if waiting[0].what == "damage" else resend(sender, server_id, waiting[0])
            result.stored += refused is None
            result.left += [refused] if refused is not None else []
            waiting.pop(0)
    except Refused as refusal:
        waiting.append(aside("run", {"run_id": run.run_id}, refusal.reason))
    finally:
        result.left += waiting
        save_asides(OsFileSystem(), run.paths.aside, result.left)


def _deliver(run: FoundRun, sender: Sender, result: Retried) -> None:
    if is_blocked(result.left):
        return
    outcome = RunDelivery(run.journal.paths, run.run_id).deliver(sender, wait_s=_LOCK_WAIT_S)
    result.metrics, result.records = outcome.metrics, outcome.records
    result.left = load_asides(OsFileSystem(), run.paths.aside)


# -- export -------------------------------------------------------------------------------


def exported(run: FoundRun) -> Iterator[dict[str, Any]]:
    """Yield what is set aside of a run, as plain data that strict JSON can hold.

    Of a run that is refused as a whole, what was never sent follows.

    Raises:
        JournalError: The journal was written by a later release.
    """
    items = asides_of(run)
    head = {"run_id": run.run_id, "server_id": run.server_id}
    for item in items:
        yield {**head, "what": item.what, "content": _strict(item.content), "reason": item.reason,
               "noted_ms": item.noted_ms}  # fmt: skip
    if is_blocked(items):
        for what, content in _undelivered(run):
            yield {**head, "what": what, "content": _strict(content), "reason": "never sent: the run is refused",
                   "noted_ms": None}  # fmt: skip


def _undelivered(run: FoundRun) -> Iterator[tuple[str, Any]]:
    files = OsFileSystem()
    checkpoint = load_checkpoint(files, run.paths.checkpoint)
    for _, item in RunStreams(run.journal.paths, run.paths, files).items(checkpoint):
        yield from _parts(item)


def _parts(item: Item) -> Iterator[tuple[str, Any]]:
    if isinstance(item, Damage):
        return
    if isinstance(item, Metrics):
        for name, value in zip(item.names, item.values, strict=True):
            yield "metric", [name, value, item.time_ms, item.step, None]
    elif item.kind is Kind.ENTITIES:
        for part in entities_of(item.content):
            yield ("metric", list(part)) if isinstance(part, Point) else (_PAIRS[part[0]], list(part[1:]))
    elif item.kind not in _NO_MESSAGE:
        yield item.kind.name.lower().replace("_", " "), item.content


def _strict(value: Any) -> Any:
    """Write numbers that JSON lacks as MLflow's protobuf does: `NaN`, `Infinity`, `-Infinity`, as texts."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


# -- drop ---------------------------------------------------------------------------------


def waiting_parcels(run: FoundRun) -> list[Parcel]:
    """Return the parcels of a run that are still to be uploaded, or to delete something."""
    return [parcel for parcel in Spool(run.journal.paths).of_runs([run.run_id]) if not parcel.is_refused]


def drop_waiting(run: FoundRun) -> int:
    """Throw away the files of a run that were handed over and are still to be uploaded, or deleted in the store.

    Returns:
        How many they were.

    Raises:
        DeliveryError: One of them is being uploaded right now.
        OSError: The journal cannot be written to.
    """
    count = 0
    for parcel in waiting_parcels(run):
        count += _drop_parcel(parcel)
    return count


def drop(run: FoundRun) -> int:
    """Throw away what is set aside of a run; return how many things that were.

    A run that is refused as a whole goes with all that was never sent to it, and leaves the journal.

    Raises:
        RunStateError: The run is refused as a whole, and a process still logs to it.
        DeliveryError: The run is being delivered right now.
        OSError: The journal cannot be written to.
    """
    with _held(run):
        items = asides_of(run)
        blocked = is_blocked(items)
        parcels = Spool(run.journal.paths).of_runs([run.run_id]) if blocked else refused_parcels(run)
        if blocked:
            _check_no_writers(run)
        for parcel in parcels:
            _drop_parcel(parcel)
        if blocked:
            _remove(run)
        else:
            save_asides(OsFileSystem(), run.paths.aside, [])
    return len(items)


def _drop_parcel(parcel: Parcel) -> int:
    """Delete a parcel; return how many files it was to upload or delete."""
    count = sum(map(len, parcel.left))
    with contextlib.suppress(FileNotFoundError), parcel.lock() as lock:  # uploaded in the meantime
        if not lock.acquire(_LOCK_WAIT_S):
            raise DeliveryError(f"Parcel {parcel.id} is being uploaded right now.", "try again", retryable=True)
        parcel.remove()
        return count
    return 0


def _check_no_writers(run: FoundRun) -> None:
    lives = RunStreams(run.journal.paths, run.paths, OsFileSystem()).lives()
    writers = [process.split("-")[0] for process, life in lives.items() if life is Life.ALIVE]
    if writers:
        raise RunStateError(
            f"Process {', '.join(writers)} still logs to run {run.run_id}, which the server refuses.",
            "end it first, or bring the run back (mlflow runs restore) and run `holdfast journal retry`",
        )


def _remove(run: FoundRun) -> None:
    # Renamed first, so that being killed leaves no half of a run behind under its name.
    grave = run.paths.folder.with_name(f".{run.run_id}.{os.getpid()}-{time.time_ns():x}.gone")
    os.replace(run.paths.folder, grave)
    OsFileSystem().sync_folder(grave.parent)
    shutil.rmtree(grave, ignore_errors=True)
