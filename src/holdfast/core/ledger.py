"""What a history says is so: stages, aliases, requests and approvals, folded from its events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from holdfast.core.history import Actor, Event, Kind
from holdfast.core.lookalikes import are_alike
from holdfast.core.stages import Stage, parse_stage


def is_same_person(one: str, other: str) -> bool:
    """Whether two names are one person's: case, blanks, ways to write a letter, look-alikes make no difference."""
    return are_alike(one, other)


@dataclass
class Request:
    """A request that a version enter a stage, and what was said to it.

    Attributes:
        stage: Where it is to go.
        by: Who asked.
        checksum: Of the version's files at that moment.
        approvals: Who approved, and of which checksum; the last word of each.
    """

    stage: Stage
    by: Actor
    checksum: str
    event: Event
    approvals: dict[str, str] = field(default_factory=dict)

    def approved(self, checksum: str) -> list[str]:
        """Return who approved these very files."""
        return sorted(name for name, of in self.approvals.items() if of == checksum)

    def is_from(self, name: str) -> bool:
        """Whether somebody of this name asked."""
        return is_same_person(self.by.name, name)


@dataclass
class VersionRecord:
    """One version, as the history has it.

    Attributes:
        stage: Where it is.
        checksum: Of its files; empty where nobody looked at them.
        requests: What is asked for it, by stage.
        tags: The tags that Holdfast set (their value) or removed (None).
        is_registered: Whether its registration is in the history.
        was_production: Whether it is, or ever was, Production.
        is_deleted: Whether it was deleted, with Holdfast.
    """

    stage: Stage = Stage.NONE
    checksum: str = ""
    requests: dict[Stage, Request] = field(default_factory=dict)
    tags: dict[str, str | None] = field(default_factory=dict)
    is_registered: bool = False
    was_production: bool = False
    is_deleted: bool = False


@dataclass
class Ledger:
    """All that a history says is so.

    Attributes:
        versions: By number; those that nothing was ever said of are missing.
        aliases: Those that Holdfast set besides `staging` and `production`; None for those it removed.
        trail: The versions that were Production, in order; the present one last, as long as there is one. Rolling
            back goes back on it.
    """

    versions: dict[int, VersionRecord] = field(default_factory=dict)
    aliases: dict[str, int | None] = field(default_factory=dict)
    trail: list[int] = field(default_factory=list)

    def version(self, number: int) -> VersionRecord:
        """Return what is known of a version; nothing but its default stage where nothing is."""
        return self.versions.get(number) or VersionRecord()

    def holder(self, stage: Stage) -> int | None:
        """Return the version in Staging or Production, or None."""
        return next((number for number, item in self.versions.items() if item.stage is stage), None)

    @property
    def rollback_target(self) -> int | None:
        """The version that was Production before the present one (or the last one, where there is none now)."""
        present = self.holder(Stage.PRODUCTION)
        earlier = [number for number in self.trail if number != present and not self.version(number).is_deleted]
        return earlier[-1] if earlier else None

    def _of(self, number: int | None) -> VersionRecord:
        return self.versions.setdefault(number or 0, VersionRecord())


def as_ranges(numbers: Iterable[int]) -> str:
    """Write numbers as `1-57,60`, so that a thousand archived versions fit into an event."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def from_ranges(text: str) -> list[int]:
    """Read what `as_ranges` wrote."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def fold(events: Iterable[Event]) -> Ledger:
    """Return what the events, in order, have made so."""
    ledger = Ledger()
    for event in events:
        _FOLDS.get(event.kind, _nothing)(ledger, event)
    return ledger


def _nothing(ledger: Ledger, event: Event) -> None:
    pass


def _adopted(ledger: Ledger, event: Event) -> None:
    if event.draft.details.get("anew"):  # the first event, or the model was deleted and made again
        ledger.versions, ledger.aliases, ledger.trail = {}, {}, []
    for stage, numbers in dict(event.draft.details.get("stages", {})).items():
        for number in from_ranges(str(numbers)):
            _enter(ledger, number, parse_stage(stage))
    for alias, of in dict(event.draft.details.get("aliases", {})).items():
        ledger.aliases[str(alias)] = None if of is None else int(of)
    for number, tags in dict(event.draft.details.get("tags", {})).items():
        ledger._of(int(number)).tags |= dict(tags)


def _registered(ledger: Ledger, event: Event) -> None:
    record = ledger._of(event.version)
    record.is_registered = True
    record.checksum = event.draft.checksum


def _moved(ledger: Ledger, event: Event) -> None:
    for number in event.draft.archived:
        ledger._of(number).stage = Stage.ARCHIVED
    target = event.draft.to_stage or Stage.NONE
    record = ledger._of(event.version)
    record.checksum = event.draft.checksum or record.checksum
    record.requests.pop(target, None)
    _enter(ledger, event.version or 0, target)


def _enter(ledger: Ledger, number: int, stage: Stage) -> None:
    present = ledger.holder(stage) if stage.holds_one else None
    if present is not None and present != number:
        ledger._of(present).stage = Stage.ARCHIVED
    ledger._of(number).stage = stage
    ledger._of(number).was_production |= stage is Stage.PRODUCTION
    if stage is Stage.PRODUCTION and ledger.trail[-1:] != [number]:
        ledger.trail.append(number)


def _rolled_back(ledger: Ledger, event: Event) -> None:
    number = event.version or 0
    if number in ledger.trail:
        last = len(ledger.trail) - 1 - ledger.trail[::-1].index(number)
        ledger.trail = ledger.trail[: last + 1]
    _moved(ledger, event)


def _requested(ledger: Ledger, event: Event) -> None:
    stage = event.draft.to_stage or Stage.PRODUCTION
    ledger._of(event.version).requests[stage] = Request(stage, event.draft.actor, event.draft.checksum, event)


def _approved(ledger: Ledger, event: Event) -> None:
    request = ledger._of(event.version).requests.get(event.draft.to_stage or Stage.PRODUCTION)
    name = event.draft.actor.name
    if request is not None and not request.is_from(name):
        known = next((other for other in request.approvals if is_same_person(other, name)), name)
        request.approvals[known] = event.draft.checksum


def _rejected(ledger: Ledger, event: Event) -> None:
    ledger._of(event.version).requests.pop(event.draft.to_stage or Stage.PRODUCTION, None)


def _alias_set(ledger: Ledger, event: Event) -> None:
    ledger.aliases[str(event.draft.details.get("alias"))] = event.version or 0


def _alias_removed(ledger: Ledger, event: Event) -> None:
    ledger.aliases[str(event.draft.details.get("alias"))] = None


def _tagged(ledger: Ledger, event: Event) -> None:
    ledger._of(event.version).tags[str(event.draft.details.get("key"))] = str(event.draft.details.get("value"))


def _untagged(ledger: Ledger, event: Event) -> None:
    ledger._of(event.version).tags[str(event.draft.details.get("key"))] = None


def _deleted(ledger: Ledger, event: Event) -> None:
    number = event.version or 0
    ledger.versions[number] = VersionRecord(is_deleted=True, checksum=ledger.version(number).checksum)
    ledger.aliases = {alias: None if of == number else of for alias, of in ledger.aliases.items()}


_FOLDS = {
    Kind.ADOPTED: _adopted,
    Kind.REGISTERED: _registered,
    Kind.REQUESTED: _requested,
    Kind.APPROVED: _approved,
    Kind.REJECTED: _rejected,
    Kind.MOVED: _moved,
    Kind.ROLLED_BACK: _rolled_back,
    Kind.ALIAS_SET: _alias_set,
    Kind.ALIAS_REMOVED: _alias_removed,
    Kind.TAGGED: _tagged,
    Kind.UNTAGGED: _untagged,
    Kind.DELETED: _deleted,
}
