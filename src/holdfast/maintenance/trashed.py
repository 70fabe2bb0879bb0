"""What earlier clean-ups put in the trash: it stays there as long as deleted runs do, so that undo has something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.core.cleanup.ages import shown_age
from holdfast.core.cleanup.plan import Action, Item, Kind, Plan
from holdfast.core.cleanup.records import Need
from holdfast.core.cleanup.rules import CleanupRules
from holdfast.core.cleanup.stock import Key
from holdfast.maintenance.belongings import key_of
from holdfast.maintenance.ledger import Ledger, trash_ledgers_in


@dataclass
class Trashed:
    """What lies in the trash of a project.

    Attributes:
        needs: What was put there too lately to be deleted for good.
        older: What was put there earlier, each with the clean-up that did it.
    """

    needs: list[Need] = field(default_factory=list)
    older: dict[Key, str] = field(default_factory=dict)

    def told(self, plan: Plan) -> Iterator[str]:
        """Yield what must be known of a plan that deletes for good what undo could still bring back."""
        counts = Counter(self.older[key_of(item)] for item in plan.items if key_of(item) in self.older)
        for gc_id, count in counts.items():
            yield _GONE_THEN.format(gc_id=gc_id, count=count)


def trashed(home: Path, rules: CleanupRules, now_ms: int) -> Trashed:
    """Return what lies in the trash, and is not brought back.

    Args:
        home: The folder of the project's ledgers.
        rules: What was asked; what is only hidden again needs no protection.
        now_ms: The present.

    Raises:
        ArtifactError: A ledger cannot be read.
        InvalidInputError: The plan that one is about was changed.
    """
    found = Trashed()
    for ledger in trash_ledgers_in(home) if not rules.trash else ():
        since_ms = int(ledger.noted.ended["at_ms"]) if ledger.noted.ended is not None else ledger.noted.at_ms
        # Its age counts from then on, or the next clean-up would end what undo is for.
        if rules.is_old(since_ms, now_ms):
            found.older |= {key_of(item): ledger.gc_id for item in _hidden(ledger)}
        else:
            age = shown_age(max(0, now_ms - since_ms) / 1000)
            why = _WHY.format(gc_id=ledger.gc_id, age=age)
            found.needs += [need for item in _hidden(ledger) for need in _needs_of(item, why)]
    return found


def _hidden(ledger: Ledger) -> Iterator[Item]:
    items = ledger.plan.items
    return (items[number] for number in sorted(ledger.noted.begun) if items[number].action is Action.TRASH)


def _needs_of(item: Item, why: str) -> Iterator[Need]:
    if item.kind is Kind.RUN:
        yield Need(why, run_id=item.id)
    elif item.kind is Kind.MODEL:
        yield Need(why, model_id=item.id)
    else:
        yield from (Need(why, place=place) for place in item.places)


_WHY = "holdfast gc undo {gc_id}, which can bring it back from the trash since {age},"
_GONE_THEN = "{count} of these are in the trash of {gc_id}: holdfast gc undo brings them back until this is applied"
