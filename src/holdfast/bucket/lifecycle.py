"""What a bucket's lifecycle rules say, as people read them, and which of them are about a project's files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# What lies there has to be brought back, for hours, before it can be read.
ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")
# What the names of our rules that move files begin with.
MOVE_NAME = "holdfast-move"
_SHOWN = 3


@dataclass(frozen=True)
class Move:
    """A change of the storage class.

    Attributes:
        storage_class: To which.
        after: When, as text: `after 30 days`, `on 2031-01-01`.
    """

    storage_class: str
    after: str


@dataclass(frozen=True)
class Rule:
    """A lifecycle rule.

    Attributes:
        name: Its ID; may be empty.
        is_enabled: Whether it is in force.
        prefix: What the keys that it is for begin with; empty for all.
        narrowed: What else its filter asks for, as text; empty for nothing.
        tags: The tags that it asks for.
        expires: When current objects are deleted, as text; empty for never.
        moves: When current objects change their storage class.
        noncurrent_days: After how many days old versions are deleted; None for never.
        noncurrent_kept: How many of the newest old versions are kept all the same.
        noncurrent_moves: When old versions change their storage class.
        abort_days: After how many days unfinished uploads are aborted; None for never.
        deletes_markers: Whether delete markers without versions go.
        raw: The rule as boto3 gives it.
    """

    name: str
    is_enabled: bool
    prefix: str = ""
    narrowed: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    expires: str = ""
    moves: tuple[Move, ...] = ()
    noncurrent_days: int | None = None
    noncurrent_kept: int = 0
    noncurrent_moves: tuple[Move, ...] = ()
    abort_days: int | None = None
    deletes_markers: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def covers(self, folder: str) -> bool:
        """Whether it is for everything below a folder (which ends with a slash, or is empty)."""
        return self.is_enabled and not self.narrowed and folder.startswith(self.prefix)

    def touches(self, folder: str, tags: Mapping[str, str] | None = None) -> bool:
        """Whether it may be for something below a folder, where files have these tags (None: any)."""
        is_near = folder.startswith(self.prefix) or self.prefix.startswith(folder)
        return self.is_enabled and is_near and (tags is None or self.tags.items() <= tags.items())

    @property
    def archives(self) -> list[str]:
        """The classes it moves objects to from which they must be restored to be read."""
        return [move.storage_class for move in self.moves if move.storage_class in ARCHIVES]

    @property
    def title(self) -> str:
        """Its name, and what it is for."""
        what = f"{self.prefix}*" if self.prefix else "all objects"
        return f"{self.name or 'without a name'} (for {' '.join(part for part in (what, self.narrowed) if part)})"

    @property
    def actions(self) -> list[str]:
        """What it does, each as text."""
        found = [f"deletes objects {self.expires}"] if self.expires else []
        found += [f"moves objects to {move.storage_class} {move.after}" for move in self.moves]
        if self.noncurrent_days is not None:
            kept = f" but the newest {self.noncurrent_kept}" if self.noncurrent_kept else ""
            found.append(f"deletes old versions{kept} {days(self.noncurrent_days)} after they were replaced")
        found += [f"moves old versions to {move.storage_class} {move.after}" for move in self.noncurrent_moves]
        if self.abort_days is not None:
            found.append(f"aborts unfinished uploads after {days(self.abort_days)}")
        return [*found, *(["deletes markers of deleted objects"] if self.deletes_markers else [])]

    @property
    def scope(self) -> str:
        """What it is for, as text."""
        prefix = f"objects that begin with {self.prefix}" if self.prefix else "all objects"
        return f"{prefix} {self.narrowed}".strip()


def is_used(folder: str, places: Iterable[str]) -> bool:
    """Whether one of some places (keys without a slash at the end) lies in a folder, or the folder in it."""
    return any(f"{place}/".startswith(folder) or folder.startswith(f"{place}/") or not place for place in places)


def days(count: int) -> str:
    """Return a number of days as text."""
    return f"{count} day{'' if count == 1 else 's'}"


def read_rule(raw: Mapping[str, Any]) -> Rule:
    """Return a rule as boto3 gives it, read."""
    prefix, tags, narrowed = _filter(raw)
    expiration = raw.get("Expiration") or {}
    old = raw.get("NoncurrentVersionExpiration") or {}
    abort = raw.get("AbortIncompleteMultipartUpload") or {}
    return Rule(
        name=str(raw.get("ID", "")),
        is_enabled=raw.get("Status") == "Enabled",
        prefix=prefix,
        narrowed=narrowed,
        tags=tags,
        expires=_when(expiration),
        moves=tuple(Move(str(move.get("StorageClass")), _when(move)) for move in raw.get("Transitions") or ()),
        noncurrent_days=old.get("NoncurrentDays"),
        noncurrent_kept=int(old.get("NewerNoncurrentVersions") or 0),
        noncurrent_moves=tuple(
            Move(str(move.get("StorageClass")), f"after {days(int(move.get('NoncurrentDays', 0)))}")
            for move in raw.get("NoncurrentVersionTransitions") or ()
        ),
        abort_days=abort.get("DaysAfterInitiation"),
        deletes_markers=bool(expiration.get("ExpiredObjectDeleteMarker")),
        raw=raw,
    )


def read_rules(raw: Sequence[Mapping[str, Any]]) -> list[Rule]:
    """Return rules as boto3 gives them, read."""
    return [read_rule(item) for item in raw]


def moving_rules(rules: Sequence[Rule]) -> list[Rule]:
    """Return the rules in force that `lifecycle apply --transition` has made: for files that no version used then."""
    return [rule for rule in rules if rule.is_enabled and rule.moves and rule.name.startswith(f"{MOVE_NAME}:")]


def warnings_of_use(rules: Sequence[Rule], versions: Mapping[str, Sequence[str]]) -> list[str]:
    """Return which registered versions lie where such a rule moves files.

    Args:
        rules: The bucket's rules.
        versions: The keys at which registered versions lie, by what each is called.
    """
    found = []
    for rule in moving_rules(rules):
        used = [name for name, places in versions.items() if is_used(rule.prefix, places)]
        if used:
            shown = ", ".join(used[:_SHOWN]) + (f" and {len(used) - _SHOWN} more" if len(used) > _SHOWN else "")
            classes = ", ".join(f"{move.storage_class} {move.after}" for move in rule.moves)
            found.append(
                f"rule {rule.name} moves files below {rule.prefix} to {classes}, and registered since it was made: "
                f"{shown}"
            )
    return found


def warnings_of(rules: Sequence[Rule], folder: str, is_versioned: bool) -> list[str]:
    """Return what is not as it should be for the files below a folder.

    Args:
        rules: The bucket's rules.
        folder: The project's prefix with a slash at its end, or empty.
        is_versioned: Whether the bucket keeps versions.
    """
    where = folder or "this bucket"
    found = [text for rule in rules if rule.touches(folder) for text in _dangers(rule, where)]
    if not any(rule.covers(folder) and rule.abort_days is not None for rule in rules):
        found.append(f"no rule aborts unfinished uploads below {where}: their parts are kept, and paid for, unseen")
    if is_versioned and not any(rule.covers(folder) and rule.noncurrent_days is not None for rule in rules):
        found.append(f"no rule deletes old versions below {where}: they are kept, and paid for, for ever")
    return found


def _dangers(rule: Rule, where: str) -> Iterator[str]:
    name = rule.name or "without a name"
    if rule.expires:
        yield f"rule {name} deletes files below {where} {rule.expires}: registered models too"
    for move in rule.moves:
        if move.storage_class in ARCHIVES:
            yield f"rule {name} moves files below {where} to {move.storage_class}: they cannot be read unless restored"


def _filter(raw: Mapping[str, Any]) -> tuple[str, dict[str, str], str]:
    given = raw.get("Filter") or {}
    parts = given.get("And") or given
    asked = [*(parts.get("Tags") or ()), *([parts["Tag"]] if parts.get("Tag") else ())]
    tags = {str(tag["Key"]): str(tag["Value"]) for tag in asked}
    narrowed = [f"tagged {key}={value}" for key, value in tags.items()]
    if "ObjectSizeGreaterThan" in parts:
        narrowed.append(f"larger than {int(parts['ObjectSizeGreaterThan']):,} bytes")
    if "ObjectSizeLessThan" in parts:
        narrowed.append(f"smaller than {int(parts['ObjectSizeLessThan']):,} bytes")
    return str(parts.get("Prefix") or raw.get("Prefix") or ""), tags, ", ".join(narrowed)


def _when(step: Mapping[str, Any]) -> str:
    if step.get("Days") is not None:
        return f"after {days(int(step['Days']))}"
    return f"on {str(step['Date'])[:10]}" if step.get("Date") else ""
