"""Repair: a registry that somebody changed by hand, or a change that was cut short, brought back in step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from holdfast.backend.history import HISTORY_TAG, HistoryRun
from holdfast.core.history import MAX_REASON_LENGTH, Draft, Event, Kind, broken_links
from holdfast.core.ledger import as_ranges
from holdfast.errors import NotFoundError, RegistryError
from holdfast.project import Project
from holdfast.registry.changes.as_found import as_found
from holdfast.registry.changes.in_step import Difference, differences, unfinished, write
from holdfast.registry.changes.moving import Done, Look, Mover
from holdfast.registry.changes.registering import record_registration
from holdfast.registry.history.adopting import MADE_AGAIN
from holdfast.registry.history.book import check_whole
from holdfast.registry.history.export import gaps
from holdfast.registry.history.mirror import Mirror
from holdfast.registry.history.restoring import restore_history

_TRIES = 50
_DELETED = "its run is deleted"
_DAMAGED = "it is damaged: "
_SHOWN = 20


@dataclass(frozen=True)
class Finding:
    """One place that is out of step.

    Attributes:
        version: The version it is about.
        place: `stage`, `alias NAME`, `tag KEY`, or `version` for one that exists and should not.
        found: What stands there; None where nothing does.
        should: What the history says; None where nothing should stand there.
        is_half_done: Whether it looks like a change that was cut short; if not, somebody set it by hand.
    """

    version: int
    place: str
    found: str | None
    should: str | None
    is_half_done: bool

    def __str__(self) -> str:
        how = "a change was cut short" if self.is_half_done else "changed by hand"
        return f"{Difference(self.version, self.place, self.found, self.should)} ({how})"


@dataclass(frozen=True)
class Repair:
    """What is out of step, and what was done about it.

    Attributes:
        name: The registered model.
        findings: Places that do not say what the history says.
        unrecorded: Versions that were registered around Holdfast.
        gone: Versions that were deleted around Holdfast; they cannot be brought back.
        aliases: Aliases that were set around Holdfast, which the history does not know.
        lost: What the registry has lost of the history: `all of it`, `its run is deleted`, `events 4-7`, `it is
            damaged: ` and where, or an empty text.
        copies: Events whose copy in the artifact store is missing.
        restored: Events that were brought back from their copies.
        begins: Why a history begins here: the model has none, or is another one than its history is of; or an empty
            text.
        adopts: What of the registry it begins with.
        not_kept: What stands in the registry and contradicts that.
        renamed_from: The name that the history knows the model by, where that was another.
        events: What the repair wrote into the history; empty where it was only asked what there is to do.
    """

    name: str
    findings: tuple[Finding, ...] = ()
    unrecorded: tuple[int, ...] = ()
    gone: tuple[int, ...] = ()
    aliases: tuple[tuple[str, int], ...] = ()
    lost: str = ""
    copies: tuple[int, ...] = ()
    restored: tuple[int, ...] = ()
    begins: str = ""
    adopts: tuple[str, ...] = ()
    not_kept: tuple[str, ...] = ()
    renamed_from: str = ""
    events: tuple[Event, ...] = ()

    @property
    def is_needed(self) -> bool:
        """Whether there is something to do."""
        around = (self.findings, self.unrecorded, self.gone, self.aliases)
        return any((*around, self.lost, self.copies, self.restored, self.begins, self.renamed_from))


class Repairs:
    """Brings the registered models of a project back in step with their histories.

    Args:
        project: Whose registry.
        mover: Writes the events.
    """

    def __init__(self, project: Project, mover: Mover) -> None:
        self._project = project
        self._mover = mover

    def examine(self, name: str) -> Repair:
        """Return what there is to do; nothing is changed.

        Raises:
            NotFoundError: There is no such model.
            HistoryError: Its history is damaged; `holdfast models audit` says where.
        """
        lost = self._lost(name)
        if lost not in ("", _DELETED):
            return Repair(name, lost=lost)  # the rest can be told only when it is back
        look = self._seen(self._mover.peek(name))
        check_whole(look.book)
        if not look.book.kept.run_id:
            return replace(_beginning(look, self._has_history(look)), lost=lost)
        renamed = look.book.events[-1].model
        found = replace(self._compared(look), lost=lost, copies=self._without_copy(look.book.kept))
        return replace(found, renamed_from=renamed if renamed != name else "")

    def run(self, name: str, accept: bool = False, reason: str = "", begin_anew: bool = False) -> Repair:
        """Repair a model; see `ModelRegistry.repair`."""
        lost = self._lost(name)
        restored = tuple(restore_history(self._project, name, begin_anew)) if lost else ()
        before = replace(self.examine(name), lost=lost, restored=restored)
        if not before.is_needed:
            return before
        begun = self._mover.settled(name).book.last if before.begins else None
        events = [
            begun,
            self._note_restored(name, before) if lost else None,
            # What a history begins with was taken from the registry already.
            *self._bring_in_step(name, accept and not before.begins, reason),
            *(self._note_deletion(name, number) for number in before.gone),
            *(self._note_alias(name, *item) for item in before.aliases),
            *(self._note_version(name, number) for number in before.unrecorded),
            self._note_renaming(name) if before.renamed_from else None,
        ]
        Mirror(self._project, self._mover.look(name).book.kept).fill()
        written = tuple(event for event in events if event is not None)
        return replace(before, events=written)

    # -- looking ----------------------------------------------------------------------

    def _lost(self, name: str) -> str:
        model = self._mover.model(name)
        run_id = model.tags.get(HISTORY_TAG) or self._project.histories.find(name)
        if run_id is None:
            return ""
        try:
            kept = self._project.histories.read(run_id)
        except NotFoundError:
            return "all of it"
        if kept.is_deleted:
            return _DELETED
        if broken := broken_links(kept.texts):
            return f"{_DAMAGED}{broken[0]}"
        events = Mirror(self._project, kept).lost()
        if not events and kept.beyond:
            return f"{_DAMAGED}{gaps(kept)[0]}"
        return f"events {as_ranges(events)}" if events else ""

    def _seen(self, look: Look) -> Look:
        """Leave MLflow's stages out where the backend has none: some of those say None of every version."""
        has_stages = all(item.place != "stage" for item in differences(look.ledger, look.view))
        if has_stages or self._project.models.has_stages(look.view.model.name):
            return look
        return replace(look, view=replace(look.view, has_stages=False))

    def _has_history(self, look: Look) -> bool:
        book = self._mover.histories.find(look.view.model)
        return book is not None and bool(book.events)

    def _compared(self, look: Look) -> Repair:
        found = _mendable(look)
        halves = set(unfinished(look.book.events, found))
        findings = [Finding(item.version, item.place, item.found, item.should, item in halves) for item in found]
        return Repair(
            look.view.model.name, tuple(findings), tuple(_unrecorded(look)), tuple(_gone(look)), _new_aliases(look)
        )

    def _without_copy(self, kept: HistoryRun) -> tuple[int, ...]:
        return tuple(Mirror(self._project, kept).missing()) if kept.run_id else ()

    # -- mending ----------------------------------------------------------------------

    def _bring_in_step(self, name: str, accept: bool, reason: str) -> list[Event | None]:
        """Record what is to be changed, then change it; a repair that is killed in between is done by the next one."""
        for _ in range(_TRIES):
            look = self._seen(self._mover.look(name))
            check_whole(look.book)
            found = _mendable(look)
            if not found:
                return []
            book = self._mover.histories.append(look.book, self._draft(look, found, accept, reason))
            if book is not None:
                after = replace(look, book=book)
                write(self._project.models, name, _mendable(after))
                self._mover.catch_up(book)
                return [book.last]
        raise RegistryError(f"Others keep changing {name!r}.", "try again", retryable=True)

    def _draft(self, look: Look, found: list[Difference], accept: bool, reason: str) -> Draft:
        if accept:
            why = reason or "the registry was taken as it was found"
            return self._mover.histories.draft(Kind.ADOPTED, reason=why, details=as_found(look.ledger, look.view))
        why = reason or "the registry was brought back in step with the history"
        return self._mover.histories.draft(Kind.REPAIRED, reason=why, details=_told(found))

    def _note_restored(self, name: str, before: Repair) -> Event | None:
        how = "it begins anew" if before.begins else "it was brought back"
        why = f"the history was lost ({before.lost}); {how}"
        details: dict[str, Any] = {"lost": before.lost, "restored": as_ranges(before.restored)}
        draft = self._mover.histories.draft(Kind.REPAIRED, reason=why[:MAX_REASON_LENGTH], details=details)
        return _event(self._mover.change(name, lambda _: draft))

    def _note_renaming(self, name: str) -> Event | None:
        def decide(look: Look) -> Draft | None:
            last = look.book.last
            if last is None or last.model == name:
                return None
            return self._mover.histories.draft(Kind.REPAIRED, reason=f"the model was renamed from {last.model}")

        return _event(self._mover.change(name, decide))

    def _note_deletion(self, name: str, number: int) -> Event | None:
        def decide(look: Look) -> Draft | None:
            record = look.ledger.version(number)
            if record.is_deleted or number in look.view.versions:
                return None
            return self._mover.histories.draft(
                Kind.DELETED,
                version=number,
                reason="it was deleted around Holdfast",
                from_stage=record.stage,
                checksum=record.checksum,
            )

        return _event(self._mover.change(name, decide))

    def _note_alias(self, name: str, alias: str, number: int) -> Event | None:
        def decide(look: Look) -> Draft | None:
            if look.view.model.aliases.get(alias) != number or alias in look.ledger.aliases:
                return None
            return self._mover.histories.draft(
                Kind.ALIAS_SET, version=number, reason="it was set around Holdfast", details={"alias": alias}
            )

        return _event(self._mover.change(name, decide))

    def _note_version(self, name: str, number: int) -> Event | None:
        version = self._project.models.get_version(name, number)
        return record_registration(self._project, self._mover, version, "it was registered around Holdfast")


def _beginning(look: Look, is_made_again: bool) -> Repair:
    """Return what a history would begin with."""
    details = look.book.events[-1].draft.details
    stages = [f"{stage}: {numbers}" for stage, numbers in details["stages"].items() if numbers]
    aliases = [f"alias {alias}: {number}" for alias, number in details["aliases"].items()]
    return Repair(
        look.view.model.name,
        begins=MADE_AGAIN if is_made_again else "there is no history yet",
        adopts=(*stages, *aliases),
        not_kept=tuple(details.get("found", ())),
    )


def _mendable(look: Look) -> list[Difference]:
    """Return the places that can be written: a version that is gone cannot be brought back."""
    found = differences(look.ledger, look.view)
    return [item for item in found if item.place != "version" or item.should is None]


def _gone(look: Look) -> list[int]:
    return [
        number
        for number, record in sorted(look.ledger.versions.items())
        if number not in look.view.versions and not record.is_deleted
    ]


def _unrecorded(look: Look) -> list[int]:
    """Return the versions made after the history was begun of which it has no registration."""
    begun = [event for event in look.book.events if event.draft.details.get("anew")]
    begun_ms = datetime.fromisoformat(begun[-1].at).timestamp() * 1000 if begun else 0.0
    return [
        number
        for number, item in sorted(look.view.versions.items())
        if item.created_ms > begun_ms and item.status == "READY" and not look.ledger.version(number).is_registered
    ]


def _new_aliases(look: Look) -> tuple[tuple[str, int], ...]:
    known = {"production", "staging", *look.ledger.aliases}
    return tuple(sorted(item for item in look.view.model.aliases.items() if item[0] not in known))


def _told(found: list[Difference]) -> Mapping[str, Any]:
    """Return what an event says of the changes; of very many the first."""
    said = [str(item)[: MAX_REASON_LENGTH // 5] for item in found[:_SHOWN]]
    return {"changed": said} if len(said) == len(found) else {"changed": said, "others": len(found) - len(said)}


def _event(done: Done | Look) -> Event | None:
    return done.event if isinstance(done, Done) else None
