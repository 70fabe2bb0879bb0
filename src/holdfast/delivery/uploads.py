"""Uploads parcels: one at a time here, by the uploader in the background, or by `holdfast sync`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlsplit

from holdfast.artifacts.store import check_path
from holdfast.artifacts.transfer import SILENT, Item, Meter, Sent
from holdfast.core.locations import lies_below
from holdfast.core.redaction import Redactor
from holdfast.core.uris import file_uri, scheme_of
from holdfast.delivery.blame import TRIES, Blame, blame_of, is_forbidden
from holdfast.delivery.identity import load_resolved
from holdfast.errors import HoldfastError, InvalidInputError
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import JournalPaths
from holdfast.journal.parcel import Left, Parcel
from holdfast.journal.spool import Spool

_SHOWN = 5


class Store(Protocol):
    """Where files go, whatever the scheme: `holdfast.artifacts.ArtifactStore`, or one in a test."""

    def upload(self, items: Sequence[Item], meter: Meter = SILENT) -> Sent:
        """Store files; raises `ArtifactError`."""

    def delete(self, root_uri: str, path: str = "") -> None:
        """Delete a file, or all files below a folder; what is not there is fine. Raises `ArtifactError`."""


class Fate(StrEnum):
    """What became of a parcel: `sent` and `gone` mean that it is there no more."""

    SENT = "sent"
    GONE = "gone"
    BUSY = "busy"
    WAITING = "waiting"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True)
class Shipment:
    """What came of trying to upload a parcel.

    Attributes:
        fate: `sent`; `gone`: somebody else did; `busy`: somebody else does, or it is being copied; `waiting`: its run
            is not on the server yet; `failed`: it is tried again; `refused`: it is set aside.
        reason: Why it is not there.
        sent: What was uploaded.
        removed: How many paths were deleted.
        needs_people: Whether waiting alone will not mend a failure.
        doubts: How many tries in a row have failed with nothing but these files to blame; after `blame.TRIES` they
            are set aside.
    """

    fate: Fate
    reason: str = ""
    sent: Sent = field(default_factory=Sent)
    removed: int = 0
    needs_people: bool = False
    doubts: int = 0


class Uploads:
    """Uploads the parcels of a journal. Threads may share it.

    Args:
        paths: The journal.
        store: Where the files go.
        sync: The journal's policy.
        redact: Hides secrets in what is written down.
    """

    def __init__(
        self, paths: JournalPaths, store: Store, sync: str = "interval", redact: Callable[[str], str] | None = None
    ) -> None:
        self._paths = paths
        self._store = store
        self._sync = sync
        self._redact = redact or Redactor()

    def send(self, parcel: Parcel, meter: Meter = SILENT) -> Shipment:
        """Upload a parcel, delete from the store what it says, and the parcel itself when all of that is done.

        Being killed anywhere leaves the parcel, and its next upload goes on where this one was.

        Raises:
            OSError: The journal cannot be written to.
        """
        try:
            with parcel.lock() as lock:
                if not lock.acquire():
                    return Shipment(Fate.BUSY, "it is being uploaded")
                return self._send_held(parcel, meter)
        except FileNotFoundError:
            if parcel.is_there:
                raise
            return Shipment(Fate.GONE)

    def _send_held(self, parcel: Parcel, meter: Meter) -> Shipment:
        if not parcel.is_there:
            return Shipment(Fate.GONE)
        if parcel.entry is None:
            reason = f"this parcel cannot be read: {parcel.problem}"
            return self._refused(parcel, reason) if parcel.is_damaged else Shipment(Fate.FAILED, reason)
        root = root_of(self._paths, parcel)
        if root is None:
            return Shipment(Fate.WAITING, "its run is not on the server yet")
        if not parcel.seal(self._sync):
            return Shipment(Fate.BUSY, "it is being copied")
        spare(self._paths, parcel)
        return self._upload(parcel, root, meter)

    def _upload(self, parcel: Parcel, root: str, meter: Meter) -> Shipment:
        try:
            sent = self._store.upload(items_of(parcel, root), meter)
        except HoldfastError as error:
            return self._failed(parcel, error)
        broken = [file.path for file in parcel.broken()]
        if broken:  # what it would replace is not deleted either
            return self._refused(parcel, _how_broken(broken), sent)
        return self._delete(parcel, root, sent)

    def _delete(self, parcel: Parcel, root: str, sent: Sent) -> Shipment:
        paths = parcel.left.removes
        for done, path in enumerate(paths):
            try:
                self._store.delete(root, _checked(path))
            except HoldfastError as error:
                parcel.note_left(Left((), paths[done:]))
                shipment = self._refused(parcel, str(error)) if is_forbidden(error) else self._failed(parcel, error)
                return replace(shipment, sent=sent, removed=done)
        parcel.remove()
        return Shipment(Fate.SENT, sent=sent, removed=len(paths))

    def _failed(self, parcel: Parcel, error: HoldfastError) -> Shipment:
        blame, trouble = blame_of(error), parcel.trouble
        doubts = (trouble.doubts if trouble is not None else 0) + 1 if blame is Blame.PERHAPS_FILE else 0
        if blame is Blame.FILE or doubts >= TRIES:
            return self._refused(parcel, str(error))
        reason = self._redact(str(error))
        if trouble is None or (trouble.reason, trouble.doubts) != (reason, doubts):
            parcel.note_trouble(reason, doubts=doubts)
        return Shipment(Fate.FAILED, reason, needs_people=not error.retryable and not doubts, doubts=doubts)

    def _refused(self, parcel: Parcel, reason: str, sent: Sent | None = None) -> Shipment:
        reason = self._redact(reason)
        parcel.note_trouble(reason, is_refused=True)
        return Shipment(Fate.REFUSED, reason, sent or Sent())


def _how_broken(paths: Sequence[str]) -> str:
    shown = ", ".join(paths[:_SHOWN]) + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")
    return (
        f"what was handed over of {shown} is lost: the original was overwritten before it was copied and the process "
        "that made the copy was killed, or the machine lost its power\n  hint: log it again, and drop this one"
    )


def items_of(parcel: Parcel, root_uri: str) -> list[Item]:
    """Return the files of a parcel that are there as they were handed over, as an upload takes them.

    Raises:
        InvalidInputError: One of them would not go below the root.
    """
    if parcel.entry is None:
        return []
    broken = parcel.broken()
    return [
        Item(parcel.data(file), file_uri(root_uri, check_path(file.path)), parcel.note(file))
        for file in parcel.left.files
        if file not in broken
    ]


def _checked(path: str) -> str:
    """Return a path to be deleted, which the root itself never is."""
    checked = check_path(path)
    if not checked:
        raise InvalidInputError(f"{path!r} is the root of a run's artifacts, which is not deleted.", "name a file")
    return checked


def spare(paths: JournalPaths, parcel: Parcel) -> None:
    """Take what a parcel stores out of the removals that were handed over before it and are still to be done.

    Those are set aside, or it would be held up by them; tried again some day, they would delete what it stored.

    Raises:
        OSError: The journal cannot be written to.
    """
    stored = {file.path for file in parcel.left.files}
    for earlier in Spool(paths).parcels() if stored else ():
        if earlier.id >= parcel.id:
            return
        if _is_beside(earlier, parcel) and not stored.isdisjoint(earlier.left.removes):
            _spare(earlier, stored)


def _is_beside(earlier: Parcel, parcel: Parcel) -> bool:
    mine, other = parcel.entry, earlier.entry
    return mine is not None and other is not None and other.place == mine.place


def _spare(earlier: Parcel, stored: set[str]) -> None:
    with suppress(FileNotFoundError), earlier.lock() as lock:
        if not lock.acquire():
            return
        left = earlier.left
        rest = Left(left.files, tuple(path for path in left.removes if path not in stored))
        if rest.paths:
            earlier.note_left(rest)
        elif earlier.is_there:
            earlier.remove()


def root_of(paths: JournalPaths, parcel: Parcel) -> str | None:
    """Return where a parcel's files go; None as long as its run is not on the server."""
    if parcel.entry is None:
        return None
    if parcel.entry.root_uri is not None:
        return parcel.entry.root_uri
    found = load_resolved(OsFileSystem(), paths.run(parcel.entry.run_id))
    return None if found is None else found.artifact_uri


def place_of(root_uri: str | None) -> str:
    """Return what is down when a store is: the bucket, the server, or the disk."""
    if root_uri is None:
        return ""
    return f"{scheme_of(root_uri)}://{urlsplit(root_uri).netloc.rsplit('@', 1)[-1]}"


def is_below(root_uri: str | None, above: str | None) -> bool:
    """Whether a root lies at or below another one."""
    return root_uri is not None and bool(above) and lies_below(root_uri, str(above))


class Order:
    """Which parcels may be uploaded next: of those that store or delete the same path, the earliest.

    One that only deletes waits for all earlier ones of its run: what it makes room for is stored first.
    """

    def __init__(self) -> None:
        self._known: dict[str, frozenset[tuple[str, str]]] = {}

    def next(self, parcels: Iterable[Parcel]) -> Iterator[Parcel]:
        """Yield those that no earlier one stands before.

        Args:
            parcels: All that are not set aside, the oldest first.
        """
        taken: set[tuple[str, str]] = set()
        roots: set[str] = set()
        seen: dict[str, frozenset[tuple[str, str]]] = {}
        for parcel in parcels:
            entry = parcel.entry
            places = self._known.get(parcel.id) or _places(parcel)
            is_last = entry is not None and not entry.files and entry.place in roots
            if taken.isdisjoint(places) and not is_last:
                yield parcel
            taken |= places
            if entry is not None:
                roots.add(entry.place)
                if not entry.removes:  # else it becomes less while its files are stored
                    seen[parcel.id] = places
        self._known = seen


def _places(parcel: Parcel) -> frozenset[tuple[str, str]]:
    entry = parcel.entry
    return frozenset() if entry is None else frozenset((entry.place, path) for path in parcel.left.paths)
