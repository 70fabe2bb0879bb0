"""A plan of a clean-up, as a value and as a file that a person can read, keep and apply later.

The file is JSON, one line each: a head, the items, what is kept, and an end with a checksum over all that stands before
it. It is applied as it was made or not at all: a plan that was cut or edited is refused. Who wants less makes a
narrower plan.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from holdfast.core.cleanup.rules import CleanupRules, RetentionRule
from holdfast.errors import InvalidInputError

FORMAT = 1
_MARK = "holdfast gc plan"


class Kind(StrEnum):
    """What an item is."""

    UPLOAD = "stale upload"
    ORPHAN = "orphan"
    CHECKPOINT = "checkpoint"
    TRACE = "trace"
    MODEL = "logged model"
    RUN = "run"
    EXPERIMENT = "experiment"


class Action(StrEnum):
    """What is done with an item.

    A run that is still active (a retention rule took it) is marked deleted before anything of it is purged or trashed.
    """

    PURGE = "purge"  # all that is stored goes, in every form, then its rows where rows can be removed
    EXPIRE = "expire"  # it is marked deleted, and can be restored
    TRASH = "trash"  # its current objects get delete markers; its rows stay


@dataclass(frozen=True, slots=True)
class Holding:
    """What is stored for an item, in all forms.

    Attributes:
        objects: How many current objects.
        size_bytes: Of these.
        old_versions: How many versions that are not current.
        old_bytes: Of these.
        markers: How many delete markers.
        uploads: How many unfinished uploads.
        upload_bytes: Of these.
        newest_ms: When the newest was stored, delete markers left out; None where nothing says.
        digest: Over all of it, in whatever order it was listed; equal where nothing has changed.
    """

    objects: int = 0
    size_bytes: int = 0
    old_versions: int = 0
    old_bytes: int = 0
    markers: int = 0
    uploads: int = 0
    upload_bytes: int = 0
    newest_ms: int | None = None
    digest: str = ""

    @property
    def count(self) -> int:
        """How many are stored, in all forms."""
        return self.objects + self.old_versions + self.markers + self.uploads

    @property
    def all_bytes(self) -> int:
        """How much room all of it takes."""
        return self.size_bytes + self.old_bytes + self.upload_bytes


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to do.

    Attributes:
        kind: What it is.
        id: Of a run, model, trace or experiment its id; of all else its place.
        name: For people.
        why: Why it is garbage, for people.
        action: What is done.
        places: Where its files lie; none where it has none. What belongs to it is what it covers and no deeper place
            of another thing, or of another item, does; of a stale upload just the uploads, of a checkpoint all but
            those.
        holding: What is stored there.
        group: What it belongs to: `run/ID`, `experiment/ID`; rows go when all items of a group are done.
    """

    kind: Kind
    id: str
    name: str
    why: str
    action: Action
    places: tuple[str, ...] = ()
    holding: Holding = field(default_factory=Holding)
    group: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that would be garbage and stays.

    Attributes:
        kind: What it is.
        id: As an item's.
        name: For people.
        why: What protects it, for people.
    """

    kind: Kind
    id: str
    name: str
    why: str


@dataclass(frozen=True)
class Plan:
    """What a clean-up does, in the order in which it is done.

    Attributes:
        made_ms: When it was made.
        rules: What was asked.
        items: What is done: uploads, orphans and checkpoints first, then run by run, experiments last.
        kept: What stays though it looks like garbage.
        told: What else people must know: roots that were refused, places that nobody understands.
        store: The address of the tracking store that it is about; empty where nobody said it.
    """

    made_ms: int
    rules: CleanupRules
    items: tuple[Item, ...] = ()
    kept: tuple[Kept, ...] = ()
    told: tuple[str, ...] = ()
    store: str = ""

    @property
    def total(self) -> Holding:
        """What is stored for all items that lose what is stored."""
        return add_up(item.holding for item in self.items if item.action is not Action.EXPIRE)


def add_up(holdings: Iterable[Holding]) -> Holding:
    """Return the sum of holdings; it has no digest."""
    held = list(holdings)
    times = [one.newest_ms for one in held if one.newest_ms is not None]
    return Holding(
        objects=sum(one.objects for one in held),
        size_bytes=sum(one.size_bytes for one in held),
        old_versions=sum(one.old_versions for one in held),
        old_bytes=sum(one.old_bytes for one in held),
        markers=sum(one.markers for one in held),
        uploads=sum(one.uploads for one in held),
        upload_bytes=sum(one.upload_bytes for one in held),
        newest_ms=max(times, default=None),
    )


def to_text(plan: Plan) -> str:
    """Return a plan as the text of its file; equal plans give equal texts."""
    head = {
        "plan": _MARK,
        "format": FORMAT,
        "made_ms": plan.made_ms,
        "store": plan.store,
        "items": len(plan.items),
        "kept": len(plan.kept),
        "told": plan.told,
        "rules": asdict(plan.rules),
    }
    lines = [head, *map(_line, plan.items), *map(asdict, plan.kept)]
    body = "".join(json.dumps(line) + "\n" for line in lines)
    return body + json.dumps({"end": _checksum(body)}) + "\n"


def _line(item: Item) -> dict[str, Any]:
    # What `asdict` does, in a fourth of the time: plans have very many items.
    line = {name: getattr(item, name) for name in _ITEM}
    return line | {"holding": {name: getattr(item.holding, name) for name in _HOLDING}}


_ITEM, _HOLDING = [one.name for one in fields(Item)], [one.name for one in fields(Holding)]


def from_text(text: str) -> Plan:
    """Read a plan from the text of its file.

    Raises:
        InvalidInputError: It is no plan, one of another format, or was cut or edited.
    """
    # Mails and checkouts on Windows change the ends of lines, which say nothing.
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    head = _head(text)
    body, _, end = text.removesuffix("\n").rpartition("\n")
    body += "\n"
    if _json(end).get("end") != _checksum(body):
        raise _refused("was cut or edited after it was made: its checksum does not agree")
    # By line feeds alone: nothing else ends a line of JSON.
    lines = [_json(line) for line in body.split("\n")[1:-1]]
    count = head["items"]
    return Plan(
        made_ms=head["made_ms"],
        rules=_rules(head["rules"]),
        items=tuple(_item(line) for line in lines[:count]),
        kept=tuple(Kept(**{**line, "kind": Kind(line["kind"])}) for line in lines[count:]),
        told=tuple(head["told"]),
        store=head.get("store", ""),
    )


def rules_of(line: str) -> CleanupRules:
    """Return the rules of a plan, of which only the first line is read.

    Raises:
        InvalidInputError: As of `from_text`.
    """
    return _rules(_head(line)["rules"])


def _head(text: str) -> dict[str, Any]:
    head = _json(text.partition("\n")[0])
    if head.get("plan") != _MARK:
        raise _refused("is none: its first line is not that of a plan")
    if head.get("format") != FORMAT:
        raise _refused(f"has format {head.get('format')!r:.20}, and this version reads format {FORMAT}")
    return head


def _item(line: dict[str, Any]) -> Item:
    typed = {"kind": Kind(line["kind"]), "action": Action(line["action"]), "holding": Holding(**line["holding"])}
    return Item(**{**line, **typed, "places": tuple(line["places"])})


def _rules(line: dict[str, Any]) -> CleanupRules:
    lists = ("experiment_ids", "run_ids", "roots")
    retention = tuple(_retention_rule(rule) for rule in line["retention"])
    return CleanupRules(**{**line, **{name: tuple(line[name]) for name in lists}, "retention": retention})


def _retention_rule(line: dict[str, Any]) -> RetentionRule:
    tags = tuple((name, value) for name, value in line["tags"])
    return RetentionRule(**{**line, "experiments": tuple(line["experiments"]), "tags": tags})


def _json(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()


def _refused(why: str) -> InvalidInputError:
    return InvalidInputError(f"The plan {why}.", "make a new plan: holdfast gc --plan FILE")
