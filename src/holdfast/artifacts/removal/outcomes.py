"""What came of removing things, and doing it in batches on several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from holdfast.artifacts.team import in_parallel
from holdfast.core.cleanup.records import StoredObject
from holdfast.errors import ArtifactError


class Versioning(StrEnum):
    """Whether a place keeps the versions of what is overwritten or deleted.

    `UNKNOWN`: the key may not ask, or it lies behind an MLflow server.
    """

    ON = "on"
    SUSPENDED = "suspended"
    OFF = "off"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that was not removed, or of which nobody knows whether it was.

    Attributes:
        address: Its whole address.
        version_id: Its version, or the id of an upload; may be empty.
        code: The store's word for it (`AccessDenied`, `EACCES`), or ours (see the functions that remove).
        message: For people, with what mends it.
        retryable: Whether the same may work later.
    """

    address: str
    version_id: str
    code: str
    message: str
    retryable: bool = False


@dataclass(frozen=True)
class Removal:
    """What came of removing objects; each of those that were given is in one of the first three.

    Attributes:
        removed: What is gone; also what was gone before.
        failed: What is not, or nobody knows.
        untried: What was not begun with: after `stop`, or after `error`.
        error: Why no more was tried; `retryable` where the same call may work later. None where all was tried, or
            `stop` was set.
    """

    removed: tuple[StoredObject, ...] = ()
    failed: tuple[Failure, ...] = ()
    untried: tuple[StoredObject, ...] = ()
    error: ArtifactError | None = None

    def __add__(self, other: Removal) -> Removal:
        return Removal(
            self.removed + other.removed,
            self.failed + other.failed,
            self.untried + other.untried,
            self.error or other.error,
        )


@dataclass(frozen=True)
class Trashed:
    """What came of hiding objects under delete markers; each of those that were given is in one of these.

    Attributes:
        markers: The markers, by which `untrash` brings the objects back.
        failed: What was not hidden, or nobody knows.
        untried: What was not begun with.
        error: Why no more was tried.
    """

    markers: tuple[StoredObject, ...] = ()
    failed: tuple[Failure, ...] = ()
    untried: tuple[StoredObject, ...] = ()
    error: ArtifactError | None = None


# Is told of each finished batch, on one of the threads, one batch after the other; what it raises ends all.
OnBatch = Callable[[Removal], None]


def tell_nobody(batch: Removal) -> None:
    """Nothing."""


def failure_of(stored: StoredObject, code: str, message: str, retryable: bool = False) -> Failure:
    """Return that something was not removed."""
    return Failure(stored.address, stored.version_id, code, message, retryable)


def failed_by(stored: StoredObject, error: ArtifactError) -> Failure:
    """Return that something was not removed, for an error."""
    message = f"{error.message}; {error.hint}" if error.hint else error.message
    return failure_of(stored, error.code, message, error.retryable)


@dataclass
class Work:
    """Removing in batches, several at once.

    Attributes:
        on_batch: Is told of each.
        stop: Ends it between two batches, and the waiting between attempts.
    """

    on_batch: OnBatch = tell_nobody
    stop: threading.Event = field(default_factory=threading.Event)
    _done: list[Removal] = field(default_factory=list)
    _error: ArtifactError | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be begun."""
        return self.stop.is_set() or self._error is not None

    def do(
        self,
        batches: Iterable[Sequence[StoredObject]],
        remove: Callable[[Sequence[StoredObject]], Removal],
        threads: int,
    ) -> None:
        """Remove batch after batch; those that are not begun with are noted as untried.

        Args:
            batches: What there is to do.
            remove: Removes one of them; an `error` in what it returns ends the work.
            threads: How many at once; 0 for the calling one.

        Raises:
            Exception: What `on_batch` raised.
        """
        waiting = list(batches)
        if not threads:
            for batch in waiting:
                self._do_one(batch, remove)
            return
        tasks = (partial(self._do_one, batch, remove) for batch in waiting)
        in_parallel(tasks, min(threads, len(waiting)) or 1, threading.Event())

    def note(self, batch: Removal) -> None:
        """Take up what came of a batch."""
        with self._lock:
            self._done.append(batch)
            self._error = self._error or batch.error
            if batch.removed or batch.failed:
                self.on_batch(batch)

    def result(self) -> Removal:
        """Return what came of all."""
        return Removal(
            tuple(stored for batch in self._done for stored in batch.removed),
            tuple(failure for batch in self._done for failure in batch.failed),
            tuple(stored for batch in self._done for stored in batch.untried),
            self._error,
        )

    def _do_one(self, batch: Sequence[StoredObject], remove: Callable[[Sequence[StoredObject]], Removal]) -> None:
        self.note(Removal(untried=tuple(batch)) if self.is_over else remove(batch))


def batches_of(objects: Sequence[StoredObject], size: int) -> list[Sequence[StoredObject]]:
    """Return objects in batches of at most so many."""
    return [objects[start : start + size] for start in range(0, len(objects), size)]
