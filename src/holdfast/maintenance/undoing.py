"""Bringing back what a clean-up has hidden or marked deleted, by what its ledger says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.artifacts.removal.holdings import Holdings
from holdfast.artifacts.removal.outcomes import Failure, Removal
from holdfast.artifacts.transfer import SILENT, Meter
from holdfast.backend.cleanup.lifecycle import active_runs
from holdfast.backend.cleanup.opening import open_cleanup
from holdfast.core.cleanup.plan import Action
from holdfast.errors import HoldfastError, InvalidInputError
from holdfast.maintenance.fingerprints import unnoted_markers
from holdfast.maintenance.ledger import Ledger, as_markers, home_of, ledger_named, ledgers_in, restorable, taken
from holdfast.maintenance.survey import holdings_of
from holdfast.project import Project


@dataclass(frozen=True)
class Undone:
    """What came of undoing a clean-up.

    Attributes:
        gc_id: Which.
        objects: How many objects can be seen again; those that could be before too.
        hidden: How many it had hidden.
        runs: The runs that are restored.
        failures: What could not be brought back, and why.
        error: Why it stopped early; None where all was tried.
        left: How many objects and runs were not tried.
    """

    gc_id: str
    objects: int = 0
    runs: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = field(default=())
    error: HoldfastError | None = None
    left: int = 0
    hidden: int = 0


def undo(
    project: Project, gc_id: str | None = None, meter: Meter = SILENT, stop: threading.Event | None = None
) -> Undone:
    """Bring back what a clean-up put in the trash, and restore the runs that it marked deleted.

    What was deleted for good stays so. It may be called again: what is back already counts as brought back.

    Args:
        project: Whose stores.
        gc_id: Which clean-up; the last with something to undo if None.
        meter: Is told of each object.
        stop: Ends it between two batches, once it is set.

    Raises:
        InvalidInputError: There is no such clean-up, or none with anything to undo.
        HoldfastError: Another clean-up of the project is under way (retryable), or the disk refuses.
    """
    home = home_of(project)
    with taken(home):
        return _Undo(project, undoable(home, gc_id), meter, stop or threading.Event()).run()


def undoable(home: Path, gc_id: str | None = None) -> Ledger:
    """Return the ledger of the clean-up that `undo` would take.

    Args:
        home: The project's ledgers.
        gc_id: As of `undo`.

    Raises:
        InvalidInputError: As of `undo`.
    """
    found = ledger_named(home, gc_id) if gc_id is not None else _last(ledgers_in(home))
    if found is None or not found.hides_anything():
        raise InvalidInputError(
            _NOTHING_OF_ALL if gc_id is None else _NOTHING_OF_ONE.format(gc_id=gc_id),
            "only what went with --trash, and runs that were only marked deleted, can be brought back",
        )
    return found


_NOTHING_OF_ALL = (
    "There is nothing in the trash of this project, and no run is left that a clean-up has marked deleted."
)
_NOTHING_OF_ONE = (
    "Clean-up {gc_id} has put nothing in the trash that is still there, and has marked no run that is left."
)


def _last(ledgers: list[Ledger]) -> Ledger | None:
    wanted = (one for one in reversed(ledgers) if not one.noted.undone and one.hides_anything())
    return next(wanted, None)


class _Undo:
    def __init__(self, project: Project, ledger: Ledger, meter: Meter, stop: threading.Event) -> None:
        self._project, self._ledger, self._meter, self._stop = project, ledger, meter, stop
        self._holdings: Holdings = holdings_of(project)
        self._failures: list[Failure] = []
        self._objects = self._hidden = self._left = 0
        self._runs: list[str] = []

    def run(self) -> Undone:
        error: HoldfastError | None = None
        try:
            self._uncover()
            self._restore()
        except HoldfastError as found:
            error = found
        finally:
            self._meter.end()
        whole = error is None and not self._failures and not self._left and not self._stop.is_set()
        self._ledger.undo(whole, self._runs, self._objects)
        runs, failures = tuple(self._runs), tuple(self._failures)
        return Undone(self._ledger.gc_id, self._objects, runs, failures, error, self._left, self._hidden)

    def _uncover(self) -> None:
        markers = as_markers(dict.fromkeys([*self._ledger.noted.markers, *self._unnoted()]))
        self._hidden = len(markers)
        self._meter.begin(len(markers), 0)

        def tell(batch: Removal) -> None:
            for _ in batch.removed:
                self._meter.file_done()

        done = self._holdings.untrash(markers, on_batch=tell, stop=self._stop)
        self._objects = len(done.removed)
        self._failures += done.failed
        self._left += len(done.untried)
        if done.error is not None:
            raise done.error

    def _unnoted(self) -> Iterator[tuple[str, str]]:
        """Find the markers that a killed apply had made, and not noted yet."""
        noted, items = self._ledger.noted, self._ledger.plan.items
        for number in noted.begun.keys() - noted.done:
            if items[number].action is Action.TRASH:
                pages = (page for place in items[number].places for page in self._holdings.list_place(place))
                found = [stored for page in pages for stored in page]
                for marker in unnoted_markers(found, noted.begun[number]):
                    yield marker.address, marker.version_id

    def _restore(self) -> None:
        wanted = restorable(self._ledger.plan.items, self._ledger.noted.marking)
        active = active_runs(self._project.connection, wanted)
        self._runs += [run_id for run_id in wanted if run_id in active]
        store = open_cleanup(self._project.connection)
        waiting = [run_id for run_id in wanted if run_id not in active]
        for number, run_id in enumerate(waiting):
            if self._stop.is_set():
                self._left += len(waiting) - number
                return
            for part in store.restore_runs([run_id]):
                self._runs += part.done
                self._failures += [Failure(found, "", "Gone", why) for found, why in part.skipped.items()]
