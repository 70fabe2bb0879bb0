"""What came of applying a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from holdfast.artifacts.removal.outcomes import Failure
from holdfast.artifacts.transfer import Meter
from holdfast.core.cleanup.plan import Holding, Item, Plan, add_up
from holdfast.core.cleanup.records import StoredObject
from holdfast.core.cleanup.stock import Key
from holdfast.errors import HoldfastError
from holdfast.maintenance.belongings import key_of
from holdfast.maintenance.fingerprints import holding_of
from holdfast.maintenance.ledger import Ledger


@dataclass(frozen=True)
class Skipped:
    """An item that was left as it is.

    Attributes:
        item: Which.
        why: What has changed since the plan was made, for people.
    """

    item: Item
    why: str


@dataclass(frozen=True)
class Refused:
    """An item of which something could not be removed; its rows are as they were.

    Attributes:
        item: Which.
        failures: Every key that was refused, or its place where that cannot be looked at.
    """

    item: Item
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Outcome:
    """What came of a plan; each of its items is done, skipped, refused or left.

    Attributes:
        gc_id: The name of its ledger: `20261122-201500-1a2b`.
        done: The items that are done; by an earlier apply of the same plan too.
        skipped: Those that have changed since.
        refused: Those that a store did not let go of.
        reclaimed: What was really deleted, by this call.
        trashed: How many objects were hidden, by this call.
        rows: How many rows were removed by this call, by table.
        error: Why it stopped early; None where all was tried.
        left: How many items were not tried, or not to their end; some of them may have been begun.
    """

    gc_id: str
    done: tuple[Item, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    refused: tuple[Refused, ...] = ()
    reclaimed: Holding = field(default_factory=Holding)
    trashed: int = 0
    rows: Mapping[str, int] = field(default_factory=dict)
    error: HoldfastError | None = None
    left: int = 0


class Account:
    """Keeps account of what becomes of a plan's items, here and in its ledger.

    Args:
        plan: The plan.
        ledger: Where it is noted.
        meter: Is told of each object that is gone.
    """

    def __init__(self, plan: Plan, ledger: Ledger, meter: Meter) -> None:
        self.plan, self.ledger, self._meter = plan, ledger, meter
        self._numbers = {key_of(item): number for number, item in enumerate(plan.items)}
        self._done: dict[Key, Item] = {}
        self._skipped: dict[Key, Skipped] = {}
        self._refused: dict[Key, Refused] = {}
        self._reclaimed: list[Holding] = []
        self._trashed = 0
        self._rows: Counter[str] = Counter()

    def number(self, item: Item) -> int:
        """Return which item of the plan it is."""
        return self._numbers[key_of(item)]

    def is_settled(self, item: Item) -> bool:
        """Whether it is known what became of an item."""
        key = key_of(item)
        return key in self._done or key in self._skipped or key in self._refused

    def is_done(self, item: Item) -> bool:
        """Whether an item is done."""
        return key_of(item) in self._done

    def skip(self, items: Iterable[Item], why: str) -> None:
        """Note that items stay as they are; what is settled already stays so."""
        for item in items:
            if not self.is_settled(item):
                self.ledger.skip(self.number(item), why)
                self._skipped[key_of(item)] = Skipped(item, why)

    def refuse(self, item: Item, failures: Sequence[Failure]) -> None:
        """Note what of an item was refused."""
        self.ledger.refuse(self.number(item), failures)
        before = self._refused[key_of(item)].failures if key_of(item) in self._refused else ()
        self._refused[key_of(item)] = Refused(item, (*before, *failures))

    def delete(self, objects: Sequence[StoredObject]) -> None:
        """Note what is deleted."""
        what = holding_of(objects)
        self.ledger.delete(objects, what)
        self._reclaimed.append(what)
        self._tell(objects)

    def hide(self, markers: Sequence[StoredObject]) -> None:
        """Note what is hidden."""
        self.ledger.hide(markers)
        self._trashed += len(markers)
        self._tell(markers)

    def _tell(self, objects: Sequence[StoredObject]) -> None:
        for stored in objects:
            self._meter.advance(stored.size_bytes)
            self._meter.file_done()

    def remove_rows(self, rows: Mapping[str, int]) -> None:
        """Note which rows are gone."""
        if rows:
            self.ledger.remove_rows(rows)
            self._rows.update(rows)

    def finish(self, items: Sequence[Item]) -> None:
        """Note that items are done."""
        if items:
            self.ledger.finish([self.number(item) for item in items])
            self._done.update({key_of(item): item for item in items})

    def counts(self) -> dict[str, int]:
        """Return how many items became what."""
        found = {"done": len(self._done), "skipped": len(self._skipped), "refused": len(self._refused)}
        return {**found, "left": len(self.plan.items) - sum(found.values())}

    def outcome(self, error: HoldfastError | None) -> Outcome:
        """Return what came of all."""
        return Outcome(
            gc_id=self.ledger.gc_id,
            done=tuple(self._done.values()),
            skipped=tuple(self._skipped.values()),
            refused=tuple(self._refused.values()),
            reclaimed=add_up(self._reclaimed),
            trashed=self._trashed,
            rows=dict(self._rows),
            error=error,
            left=self.counts()["left"],
        )
