"""Stage, alias and tag: three places that say where a version is, brought in step with the history.

A place is written by whoever appended an event, after it is in the history, and whoever wrote looks at the history
again: if others have gone on meanwhile, what they wrote may have been overwritten, and is written again. So, when
all have come to rest, every place says what the last event says; and where one was killed in between, the next call
finds a difference and finishes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from holdfast.backend.entities import ModelVersion, RegisteredModel
from holdfast.backend.registry import RegistryStore, StageMove
from holdfast.core.history import Event, Kind
from holdfast.core.ledger import Ledger, fold
from holdfast.core.stages import STAGE_TAG, Stage, parse_stage

# How long after its event a change may still be carried out.
_LATE_S = 300
_HOLDING = (Stage.PRODUCTION, Stage.STAGING)
MOVES = (Kind.MOVED, Kind.ROLLED_BACK)


@dataclass(frozen=True)
class View:
    """The registry as it was seen at one moment.

    Attributes:
        model: The registered model, with its aliases.
        versions: Its versions, by number; `stage` is MLflow's own, the tag stands in `tags`.
        has_stages: Whether MLflow's own stages are to be looked at.
    """

    model: RegisteredModel
    versions: Mapping[int, ModelVersion]
    has_stages: bool = True


@dataclass(frozen=True)
class Difference:
    """One place that says something else than the history.

    Attributes:
        version: The version it is about.
        place: `stage`, `alias NAME`, `tag KEY`, or `version` for whether it exists.
        found: What stands there; None where nothing does.
        should: What the history says; None where nothing should stand there.
    """

    version: int
    place: str
    found: str | None
    should: str | None

    def __str__(self) -> str:
        found, should = (text if text is not None else "not set" for text in (self.found, self.should))
        return f"version {self.version}: {self.place} is {found}, should be {should}"


def differences(ledger: Ledger, view: View) -> list[Difference]:
    """Return every place that is out of step with the history."""
    found = [
        item for number in sorted({*ledger.versions, *view.versions}) for item in _of_version(number, ledger, view)
    ]
    aliases = {"production": ledger.holder(Stage.PRODUCTION), "staging": ledger.holder(Stage.STAGING)}
    return found + [item for alias, of in (aliases | ledger.aliases).items() for item in _alias(alias, of, view)]


def _of_version(number: int, ledger: Ledger, view: View) -> list[Difference]:
    record, version = ledger.version(number), view.versions.get(number)
    if version is None:
        is_missing = record.stage.holds_one and not record.is_deleted
        return [Difference(number, "version", None, record.stage.value)] if is_missing else []
    if record.is_deleted:
        return [Difference(number, "version", "there", None)]
    found = []
    if view.has_stages and version.stage not in (None, record.stage):
        found.append(Difference(number, "stage", str(version.stage), record.stage.value))
    # A version that was never moved has no tag of its stage, and needs none.
    stage_tag = version.tags.get(STAGE_TAG, Stage.NONE.value)
    should = {**record.tags, STAGE_TAG: record.stage.value}
    has = {**version.tags, STAGE_TAG: stage_tag}
    return found + [
        Difference(number, f"tag {key}", version.tags.get(key), value)
        for key, value in should.items()
        if has.get(key) != value
    ]


def _alias(alias: str, should: int | None, view: View) -> list[Difference]:
    has = view.model.aliases.get(alias)
    if has == should or should not in {None, *view.versions}:
        return []
    about = should if should is not None else has
    return [Difference(about or 0, f"alias {alias}", _text(has), _text(should))]


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def unfinished(events: Sequence[Event], found: Sequence[Difference]) -> list[Difference]:
    """Return the differences that a change which was cut short leaves.

    Such a change was one of the last: it leaves what a place held before it, or what it put there. What else is found
    was put there by somebody's hand, and so was all that goes with it: who moves another version into Production
    archives the one that was there, and only both together are undone or left.
    """
    past = _Past(events)
    by_hand = [item for item in found if not past.had(item)]
    touched = {stage for item in by_hand for stage in stages_of(item)}
    return [item for item in found if item not in by_hand and not touched & stages_of(item)]


def stages_of(item: Difference) -> set[Stage]:
    """Return which of Staging and Production a difference is about."""
    if item.place.startswith("alias "):
        return {stage for stage in _HOLDING if item.place == f"alias {stage.alias}"}
    of_stage = item.place in ("stage", f"tag {STAGE_TAG}")
    return {stage for stage in _HOLDING if of_stage and stage.value in (item.found, item.should)}


class _Past:
    """What each place has held lately: before the changes of the last minutes, and by each of them.

    A writer who was overtaken may write for as long as a call is tried again; counted from the last event.
    """

    def __init__(self, events: Sequence[Event]) -> None:
        self._values: dict[tuple[int | None, str], set[str | None]] = {}
        since = "" if not events else _earlier(events[-1].at)
        late = [event for event in events if event.at >= since]
        self._base = fold(events[: len(events) - len(late)])
        for number, record in self._base.versions.items():
            self._enter(number, record.stage)
        for event in late:
            self._add(event)

    def had(self, item: Difference) -> bool:
        """Whether a place held lately what is found there now."""
        if item.place == "version":
            return item.should is None  # recorded as deleted, and still there
        return item.found in self._before(item) | self._values.get(self._key(item), set())

    def _key(self, item: Difference) -> tuple[int | None, str]:
        return (None if item.place.startswith("alias ") else item.version, item.place)

    def _before(self, item: Difference) -> set[str | None]:
        kind, _, key = item.place.partition(" ")
        record = self._base.version(item.version)
        if kind == "alias":
            holding = next((stage for stage in _HOLDING if stage.alias == key), None)
            return {_text(self._base.aliases.get(key) if holding is None else self._base.holder(holding))}
        if kind == "tag" and key != STAGE_TAG:
            return {record.tags.get(key)}
        return {record.stage.value, None} if record.stage is Stage.NONE else {record.stage.value}

    def _add(self, event: Event) -> None:
        details, version = event.draft.details, event.version
        if event.kind is Kind.ADOPTED:
            self._adopt(fold([event]))
        elif event.kind in MOVES and version is not None:
            self._move(version, event)
        elif event.kind in (Kind.ALIAS_SET, Kind.ALIAS_REMOVED):
            self._put(None, f"alias {details.get('alias')}", _text(version if event.kind is Kind.ALIAS_SET else None))
        elif event.kind in (Kind.TAGGED, Kind.UNTAGGED):
            value = str(details.get("value")) if event.kind is Kind.TAGGED else None
            self._put(version, f"tag {details.get('key')}", value)

    def _move(self, version: int, event: Event) -> None:
        if event.draft.from_stage is not None and event.draft.from_stage.alias:
            self._put(None, f"alias {event.draft.from_stage.alias}", None)
        self._enter(version, event.draft.to_stage or Stage.NONE)
        for number in event.draft.archived:
            self._enter(number, Stage.ARCHIVED)

    def _adopt(self, found: Ledger) -> None:
        for number, record in found.versions.items():
            self._enter(number, record.stage)
            for key, value in record.tags.items():
                self._put(number, f"tag {key}", value)
        for alias, of in found.aliases.items():
            self._put(None, f"alias {alias}", _text(of))
        # Nothing is written by who finds a registry as it is: tags and aliases of it may be missing.
        for number in found.versions:
            self._put(number, f"tag {STAGE_TAG}", None)
        for stage in _HOLDING:
            self._put(None, f"alias {stage.alias}", None)

    def _enter(self, number: int, stage: Stage) -> None:
        self._put(number, "stage", stage.value)
        self._put(number, f"tag {STAGE_TAG}", stage.value)
        if stage.alias:
            self._put(None, f"alias {stage.alias}", str(number))
            # MLflow archives it by itself when another takes its place, also when that move is an older one, come late.
            self._put(number, "stage", Stage.ARCHIVED.value)

    def _put(self, version: int | None, place: str, value: str | None) -> None:
        self._values.setdefault((version, place), set()).add(value)


def _earlier(at: str) -> str:
    moment = datetime.fromisoformat(at) - timedelta(seconds=_LATE_S)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def of_event(event: Event, before: Ledger, after: Ledger, view: View) -> list[Difference]:
    """Return the places that an event changes, to be written whatever a look before it showed."""
    details, number = event.draft.details, event.version or 0
    if event.kind in MOVES:
        return _of_move(event, before, after, view)
    if event.kind in (Kind.ALIAS_SET, Kind.ALIAS_REMOVED):
        alias = str(details.get("alias"))
        return [Difference(number, f"alias {alias}", None, _text(after.aliases.get(alias)))]
    if event.kind in (Kind.TAGGED, Kind.UNTAGGED):
        key = str(details.get("key"))
        return [Difference(number, f"tag {key}", None, after.version(number).tags.get(key))]
    return [Difference(number, "version", "there", None)] if event.kind is Kind.DELETED else []


def _of_move(event: Event, before: Ledger, after: Ledger, view: View) -> list[Difference]:
    number, target = event.version or 0, event.draft.to_stage or Stage.NONE
    touched = [item for item in (number, *event.draft.archived) if item in view.versions]
    found = [
        Difference(item, place, _text_of(view.versions[item].stage), after.version(item).stage.value)
        for item in touched
        for place in ("stage", f"tag {STAGE_TAG}")
    ]
    if target.alias:
        found.append(Difference(number, f"alias {target.alias}", None, str(number)))
    left = [stage for stage in _HOLDING if stage is not target and before.holder(stage) in touched]
    return found + [Difference(number, f"alias {stage.alias}", None, None) for stage in left]


def _text_of(stage: Stage | None) -> str | None:
    return None if stage is None else stage.value


def write(store: RegistryStore, name: str, wanted: Iterable[Difference], alone: bool = False) -> list[Difference]:
    """Write what the places should say.

    First the stage of who is in Staging or Production, in one transaction with archiving who was; then the aliases,
    which can point at one version only; then the other stages, and the tags last. A reader of any place finds, at
    any moment, a version that was there at some moment.

    Args:
        store: The registry.
        name: The registered model.
        wanted: The places.
        alone: Whether others write too just now: stages are then moved one by one, so that nobody waits for another.

    Returns:
        What was written; stages where the backend has none, and versions that are gone, are left out.

    Raises:
        BackendError: The registry is out of reach, or refuses it; what was written stays.
    """
    todo = {(item.version, item.place): item for item in wanted}
    archived: set[str | None] = set()
    return [item for item in sorted(todo.values(), key=_order) if _write_one(store, name, item, archived, alone)]


def _write_one(store: RegistryStore, name: str, item: Difference, archived: set[str | None], alone: bool) -> bool:
    kind, _, key = item.place.partition(" ")
    if kind == "tag":
        _write_tag(store, name, item, key)
    elif kind == "alias":
        _write_alias(store, name, item, key)
    elif kind == "version":
        return item.should is None and store.delete_version(name, item.version)
    elif not (item.should == Stage.ARCHIVED.value and item.found in archived):
        moved = store.set_stage(name, item.version, parse_stage(item.should), alone)
        if moved is StageMove.ARCHIVED_OTHERS:
            archived.add(item.should)
        return moved is not StageMove.NO_STAGES
    return True


def _write_tag(store: RegistryStore, name: str, item: Difference, key: str) -> None:
    if item.should is None:
        store.delete_version_tag(name, item.version, key)
    else:
        store.set_version_tags(name, item.version, {key: item.should})


def _write_alias(store: RegistryStore, name: str, item: Difference, alias: str) -> None:
    if item.should is None:
        store.delete_alias(name, alias)
    else:
        store.set_alias(name, alias, int(item.should))


def _order(item: Difference) -> int:
    if item.place == "stage":
        return 0 if parse_stage(item.should).holds_one else 2
    return {"alias": 1, "tag": 3}.get(item.place.partition(" ")[0], 4)
