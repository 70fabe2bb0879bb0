"""The history of a registered model: events, each naming the hash of the one before.

An event is a JSON object. Its `hash` is the SHA-256 of the others of its fields, as canonical JSON: sorted keys, no
spaces, ASCII with escapes, since not every database keeps every letter. `prev` is the hash of the event before it, and
64 zeros in the first. An event that is changed, taken out or put in breaks the chain at its place.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from holdfast.core.stages import Stage, parse_stage
from holdfast.errors import HistoryError, InvalidInputError

FIRST_PREV = "0" * 64
# MLflow keeps 6,000 characters of a param.
MAX_EVENT_LENGTH = 6000
MAX_REASON_LENGTH = 1000


class Kind(StrEnum):
    """What happened."""

    ADOPTED = "adopted"  # the registry as it was found, when the history began or a change by hand was accepted
    REGISTERED = "registered"
    REQUESTED = "requested"
    APPROVED = "approved"
    REJECTED = "rejected"
    MOVED = "moved"  # from one stage to another
    ROLLED_BACK = "rolled back"
    REPAIRED = "repaired"  # the registry was brought back in step with the history
    ALIAS_SET = "alias set"
    ALIAS_REMOVED = "alias removed"
    TAGGED = "tagged"
    UNTAGGED = "untagged"
    DELETED = "deleted"


@dataclass(frozen=True)
class Actor:
    """Who did it: the configured identity, the machine, and the author git would write (empty where there is none)."""

    name: str
    host: str = ""
    git: str = ""


@dataclass(frozen=True)
class GateRecord:
    """A gate's answer as it is kept."""

    check: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class Draft:
    """An event that is not in the history yet.

    Attributes:
        kind: What happens.
        version: To which version; None where it is about the model.
        actor: Who does it.
        reason: Why, in words; at most 1,000 characters.
        from_stage: Where a version was, for moves.
        to_stage: Where it goes; for requests and approvals, the stage they are for.
        archived: The versions whose place it takes.
        checksum: Of the version's files, as `core.manifest` has it; empty where it was not looked at.
        gates: What the gates answered.
        details: What else belongs to it, by kind: `override`, `stages`, `alias`, `key`, `value`, `source`, `run_id` …
    """

    kind: Kind
    actor: Actor
    version: int | None = None
    reason: str = ""
    from_stage: Stage | None = None
    to_stage: Stage | None = None
    archived: tuple[int, ...] = ()
    checksum: str = ""
    gates: tuple[GateRecord, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """One line of the history. `draft` is what happened; the rest is its place in the chain.

    Attributes:
        number: From 1 up, without gaps.
        at: When, UTC, as `2026-01-31T12:00:00.000Z`.
        id: A random name, different for each attempt to write one.
        prev: The hash of the event before.
        hash: Its own.
    """

    number: int
    model: str
    at: str
    id: str
    prev: str
    draft: Draft
    hash: str = ""

    @property
    def kind(self) -> Kind:
        """What happened."""
        return self.draft.kind

    @property
    def version(self) -> int | None:
        """To which version."""
        return self.draft.version

    def to_dict(self) -> dict[str, Any]:
        """Return its fields, those that are empty left out."""
        return {**_fields(self), "hash": self.hash}

    def to_json(self) -> str:
        """Return it as canonical JSON."""
        return _canonical(self.to_dict())


def make_event(draft: Draft, model: str, last: Event | None, now: datetime | None = None) -> Event:
    """Return the event that follows `last`.

    Raises:
        InvalidInputError: Its reason, or all of it, is too long to be kept.
    """
    if len(draft.reason) > MAX_REASON_LENGTH:
        raise InvalidInputError(
            f"The reason has {len(draft.reason)} characters; the history keeps {MAX_REASON_LENGTH}.",
            "say it shorter, and link to the rest",
        )
    at = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    event = Event(
        number=1 if last is None else last.number + 1,
        model=model,
        at=at,
        id=uuid.uuid4().hex,
        prev=FIRST_PREV if last is None else last.hash,
        draft=draft,
    )
    return _fitting(event)


def _fitting(event: Event) -> Event:
    """Return the event with its hash, its gates' reasons shortened until it can be kept."""
    for room in (600, 200, 60, 0):
        gates = tuple(replace(gate, reason=_shortened(gate.reason, room)) for gate in event.draft.gates)
        short = replace(event, draft=replace(event.draft, gates=gates))
        sealed = replace(short, hash=_hash(_fields(short)))
        if len(sealed.to_json()) <= MAX_EVENT_LENGTH:
            return sealed
    raise InvalidInputError(
        f"What is to be recorded of {event.model} is too long: more than {MAX_EVENT_LENGTH} characters.",
        "give shorter tags and a shorter reason, or ask fewer gates",
    )


def _shortened(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(room - 1, 0)] + ("…" if room else "")


def read_event(text: str) -> Event:
    """Read one event; its hash is taken as it stands there (`broken_links` checks it).

    Raises:
        HistoryError: The text is no event.
    """
    try:
        fields = json.loads(text)
        who = fields["who"]
        draft = Draft(
            kind=Kind(fields["kind"]),
            actor=Actor(str(who["name"]), str(who.get("host", "")), str(who.get("git", ""))),
            version=None if fields.get("version") is None else int(fields["version"]),
            reason=str(fields.get("why", "")),
            from_stage=parse_stage(fields["from"]) if "from" in fields else None,
            to_stage=parse_stage(fields["to"]) if "to" in fields else None,
            archived=tuple(int(number) for number in fields.get("archived", ())),
            checksum=str(fields.get("checksum", "")),
            gates=tuple(GateRecord(str(c), bool(p), str(r)) for c, p, r in fields.get("gates", ())),
            details=dict(fields.get("details", {})),
        )
        place = {key: str(fields[key]) for key in ("model", "at", "id", "prev", "hash")}
        return Event(number=int(fields["number"]), draft=draft, **place)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise HistoryError(
            f"This is no event of a model's history: {text[:80]!r}.", "see `holdfast models audit`"
        ) from None


def _fields(event: Event) -> dict[str, Any]:
    draft = event.draft
    who = {"name": draft.actor.name, "host": draft.actor.host, "git": draft.actor.git}
    fields: dict[str, Any] = {
        "number": event.number,
        "model": event.model,
        "at": event.at,
        "id": event.id,
        "prev": event.prev,
        "kind": draft.kind.value,
        "version": draft.version,
        "who": {key: value for key, value in who.items() if value or key == "name"},
        "why": draft.reason,
        "from": None if draft.from_stage is None else draft.from_stage.value,
        "to": None if draft.to_stage is None else draft.to_stage.value,
        "archived": list(draft.archived),
        "checksum": draft.checksum,
        "gates": [[gate.check, gate.passed, gate.reason] for gate in draft.gates],
        "details": dict(draft.details),
    }
    return {key: value for key, value in fields.items() if value not in (None, "", [], {})}


def _canonical(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def _hash(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(fields).encode()).hexdigest()


def broken_links(texts: Sequence[str], model: str | None = None) -> list[str]:
    """Say where a history is not whole; empty where it is.

    Args:
        texts: The events as they are kept, in order.
        model: The model they should be of; None where it was renamed.

    Every field of an event is covered: also one that this version does not know.
    """
    problems: list[str] = []
    prev = FIRST_PREV
    for number, text in enumerate(texts, 1):
        problems += [f"event {number} {said}" for said in _wrong_with(text, number, prev, model)]
        prev = _hash_in(text)
    return problems


def _wrong_with(text: str, number: int, prev: str, model: str | None) -> list[str]:
    try:
        event = read_event(text)
        fields = dict(json.loads(text))
    except HistoryError:
        return ["cannot be read"]
    hashed = fields.pop("hash")
    found = []
    if hashed != _hash(fields) or text != _canonical({**fields, "hash": hashed}):
        found.append("was changed after it was written: its hash is another")
    if event.prev != prev:
        found.append("does not follow the one before: its link names another")
    if event.number != number:
        found.append(f"carries the number {event.number}")
    if model is not None and event.model != model:
        found.append(f"is of another model, {event.model!r}")
    return found


def _hash_in(text: str) -> str:
    try:
        return str(json.loads(text)["hash"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
