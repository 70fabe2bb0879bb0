"""What clean-up asks of MLflow's stores, whether they are a database or behind REST."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from holdfast.core.cleanup.records import State, TraceRecord, VersionRecord

PlaceOf = Callable[[str], str]
_Item = TypeVar("_Item")

RESTORED = "restored in the meantime"
REGISTERED = "registered in the meantime"
USED = "used by a live run in the meantime"
LINKED = "linked to a live run in the meantime"
NOT_DELETED = "neither its run nor its experiment is deleted"


@dataclass(frozen=True)
class Wanted:
    """What of a store to read beside its experiments, runs, models and versions.

    Attributes:
        details_of: The experiments whose runs' tags and metrics are wanted.
        every_trace: Whether all traces that have files are wanted; if not, only those of experiments and runs that are
            deleted or gone. Over REST it is always only those of deleted ones.
    """

    details_of: frozenset[str] = frozenset()
    every_trace: bool = True


@dataclass(frozen=True)
class Purged:
    """What became of some things that were to be removed.

    Attributes:
        done: Those that are no longer there, in the order given; also those that were gone already.
        skipped: Those that were left, and why.
        rows: How many rows were removed, by table; of a soft reference that was emptied, none.
    """

    done: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)


class CleanupStore(Protocol):
    """A tracking store and its registry, as clean-up uses them.

    What purges works in batches and yields what became of each, once that is durable; it works only as far as its
    results are asked for. An error leaves the batch under way undone, and the ones before it done.

    Every method raises a `HoldfastError`, never an exception of MLflow, SQLAlchemy or requests; `retryable` where the
    same call may succeed later.

    Attributes:
        has_rows: Whether rows can be removed. Where not, runs and experiments cannot be purged, and a purged model is
            deleted as MLflow deletes it.
    """

    @property
    def has_rows(self) -> bool: ...

    def census(self, wanted: Wanted) -> State:
        """Return what the stores hold; of a database as it was at one moment."""

    def versions(self) -> tuple[VersionRecord, ...]:
        """Return all registered versions as they are now."""

    def has_models(self) -> bool:
        """Return whether any model is registered; also True where nobody tells without being asked for them."""

    def active_among(self, run_ids: Sequence[str], experiment_ids: Sequence[str]) -> dict[str, str]:
        """Return which of some runs, which are in these experiments, are not deleted now, each with its status."""

    def live_experiments(self, experiment_ids: Sequence[str]) -> set[str]:
        """Return which of some experiments are there and not deleted now."""

    def check_may_purge(self) -> None:
        """See whether rows may be removed, where they can be; raises `PermissionDeniedError` where they may not."""

    def purge_runs(self, run_ids: Sequence[str]) -> Iterator[Purged]:
        """Remove deleted runs with all that hangs on them, except their models and traces: purge those first."""

    def purge_models(self, model_ids: Sequence[str]) -> Iterator[Purged]:
        """Remove logged models that are deleted themselves, or whose run or experiment is deleted or gone."""

    def purge_traces(self, traces: Sequence[TraceRecord]) -> Iterator[Purged]:
        """Remove traces whose run or experiment is deleted or gone."""

    def purge_experiments(self, experiment_ids: Sequence[str]) -> Iterator[Purged]:
        """Remove deleted experiments in which there are no runs, models and traces any more."""

    def delete_runs(self, run_ids: Sequence[str]) -> Iterator[Purged]:
        """Delete runs as MLflow does; they can be restored. One result for each."""

    def restore_runs(self, run_ids: Sequence[str]) -> Iterator[Purged]:
        """Take back the deletion of runs. One result for each."""


def total(parts: Iterable[Purged]) -> Purged:
    """Return the sum of the results of batches, which this asks for one by one."""
    done: list[str] = []
    skipped: dict[str, str] = {}
    rows: Counter[str] = Counter()
    for part in parts:
        done += part.done
        skipped.update(part.skipped)
        rows.update(part.rows)
    return Purged(tuple(done), skipped, dict(rows))


def outcome(ids: Sequence[str], skipped: Mapping[str, str], rows: Mapping[str, int] | None = None) -> Purged:
    """Return the result of a batch of which all that was not skipped is gone."""
    return Purged(tuple(item for item in ids if item not in skipped), dict(skipped), dict(rows or {}))


def batches(items: Collection[_Item], size: int) -> Iterator[list[_Item]]:
    """Cut a collection into lists of at most `size`, without its duplicates."""
    unique = list(dict.fromkeys(items))
    for start in range(0, len(unique), size):
        yield unique[start : start + size]


def as_place(address: str) -> str:
    """Return an address as a place: without slashes at its end."""
    return address.rstrip("/")
