"""From the rules that a bucket has to those that a project wants, with nobody else's changed.

Our rules have names that begin with `holdfast-`, and a project's own end with its prefix. None of them ever deletes a
current object: registered models lie among the files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from holdfast.bucket.lifecycle import ARCHIVES, MOVE_NAME, days, is_used, read_rule, read_rules
from holdfast.errors import InvalidInputError

# From dear and near to cheap and far; objects move in this direction alone.
_TIERS = ("STANDARD_IA", "INTELLIGENT_TIERING", "ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE")
# S3 moves to these no earlier.
_LEAST_DAYS = {"STANDARD_IA": 30, "ONEZONE_IA": 30}
# And from these on no earlier than so much later.
_STAY_DAYS = {"STANDARD_IA": 30, "ONEZONE_IA": 30}
_MOST_RULES = 1000
# S3 itself takes any 32-bit number; a hundred years are meant by nobody.
_MOST_DAYS = 36_500
_LONGEST_NAME = 255
_ABORT, _OLD, _MOVE = "holdfast-abort-uploads", "holdfast-old-versions", MOVE_NAME


@dataclass(frozen=True)
class Wish:
    """What is wanted of a bucket's lifecycle for one project.

    Attributes:
        folder: The project's prefix with a slash at its end; empty for the whole bucket.
        abort_days: After how many days unfinished uploads are aborted.
        noncurrent_days: After how many days old versions are deleted.
        keep_versions: How many of the newest old versions are kept all the same.
        moves: Storage class and days, in the order of the days.
        unused: The folders that no registered version uses: those that `moves` are for.
        in_use: Where registered versions lie, as keys; a rule of ours that moves any of it goes.
    """

    folder: str
    abort_days: int = 7
    noncurrent_days: int = 30
    keep_versions: int = 0
    moves: tuple[tuple[str, int], ...] = ()
    unused: tuple[str, ...] = ()
    in_use: tuple[str, ...] = ()

    def kept_where_chosen(self, raw: Sequence[Mapping[str, Any]]) -> Wish:
        """Return the same wish with the days that rules for the whole folder have already, whatever they are."""
        there = [rule for rule in read_rules(raw) if rule.covers(self.folder)]
        aborting = [rule.abort_days for rule in there if rule.abort_days is not None]
        old = [(rule.noncurrent_days, rule.noncurrent_kept) for rule in there if rule.noncurrent_days is not None]
        after, kept = min(old, default=(self.noncurrent_days, self.keep_versions))
        return replace(
            self, abort_days=min(aborting, default=self.abort_days), noncurrent_days=after, keep_versions=kept
        )


@dataclass(frozen=True)
class Plan:
    """What is to become of a bucket's lifecycle.

    Attributes:
        rules: All rules that it is to have, others' first and in their order.
        changes: What is new, changed or removed, as text; empty where all is as it should be.
    """

    rules: tuple[Mapping[str, Any], ...]
    changes: tuple[str, ...]


def parse_moves(text: str, allow_archive: bool = False) -> tuple[tuple[str, int], ...]:
    """Return what `STANDARD_IA:30,GLACIER_IR:90` says.

    Raises:
        InvalidInputError: It is of another form, S3 would refuse it, or files would have to be restored to be read.
    """
    moves = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = re.fullmatch(r"([A-Z_]+):([0-9]{1,5})", part)
        if found is None or found[1] not in _TIERS:
            raise InvalidInputError(
                f"{part!r} names no move to another storage class.",
                f"write CLASS:DAYS, as in STANDARD_IA:30,GLACIER_IR:90; classes: {', '.join(_TIERS)}",
            )
        moves.append((found[1], int(found[2])))
    moves.sort(key=lambda move: move[1])
    _check_moves(moves, allow_archive)
    return tuple(moves)


def _check_moves(moves: Sequence[tuple[str, int]], allow_archive: bool) -> None:
    archives = [name for name, _ in moves if name in ARCHIVES]
    if archives and not allow_archive:
        raise InvalidInputError(
            f"What lies in {archives[0]} cannot be read before it is restored, which takes hours.",
            "use GLACIER_IR, which is read at once; or say that it is meant: --allow-archive",
        )
    early = [(name, after) for name, after in moves if after < _LEAST_DAYS.get(name, 0)]
    if early:
        name = early[0][0]
        raise InvalidInputError(
            f"S3 moves nothing to {name} before {days(_LEAST_DAYS[name])}.", f"write {name}:{_LEAST_DAYS[name]}"
        )
    order = [_TIERS.index(name) for name, _ in moves]
    if order != sorted(set(order)):
        raise InvalidInputError(
            "Objects move from nearer to farther classes alone.", f"order them so: {', '.join(_TIERS)}"
        )
    for (name, after), (later, then) in pairwise(moves):
        least = after + _STAY_DAYS.get(name, 1)
        if then < least:
            raise InvalidInputError(
                f"S3 moves nothing from {name} to {later} before {days(least)}.", f"write {later}:{least}"
            )


def plan_rules(raw: Sequence[Mapping[str, Any]], wish: Wish) -> Plan:
    """Return the plan.

    Args:
        raw: The rules that the bucket has, as boto3 gives them.
        wish: What is wanted.

    Raises:
        InvalidInputError: There would be more rules than S3 takes, or a number is out of bounds.
    """
    _check_numbers(wish)
    wanted = {str(rule["ID"]): rule for rule in _wanted(raw, wish)}
    others = [rule for rule in raw if not _is_ours(rule, wish)]
    kept = [rule for rule in raw if _is_ours(rule, wish) and rule["ID"] not in wanted and _stays(rule, wish)]
    mine = [rule for rule in raw if _is_ours(rule, wish) and rule not in kept]
    changes = _changes(mine, wanted)
    if not changes:
        return Plan(tuple(raw), ())
    rules = (*map(_with_filter, others), *kept, *wanted.values())
    if len(rules) > _MOST_RULES:
        raise InvalidInputError(
            f"The bucket would have {len(rules):,} lifecycle rules, and S3 takes {_MOST_RULES:,}.",
            "move fewer experiments' files: leave --transition out, or give experiments one common root",
        )
    return Plan(rules, tuple(changes))


def _check_numbers(wish: Wish) -> None:
    given = (
        ("--abort-days", wish.abort_days, 1, _MOST_DAYS),
        ("--noncurrent-days", wish.noncurrent_days, 1, _MOST_DAYS),
        ("--keep-versions", wish.keep_versions, 0, 100),
        *(("--transition", after, 0, _MOST_DAYS) for _, after in wish.moves),
    )
    for option, number, least, most in given:
        if not least <= number <= most:
            raise InvalidInputError(
                f"{option} {number:,} is out of bounds.", f"give a whole number from {least} to {most:,}"
            )


def moves_files(raw: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a rule of ours moves files, so that it has to be known which of them are in use."""
    return any(rule.moves and rule.name == _name(_MOVE, rule.prefix) for rule in read_rules(raw))


def is_same_rules(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> bool:
    """Whether two lists hold the same rules, however a server orders and writes them."""
    mine, theirs = [_plain(rule) for rule in one], [_plain(rule) for rule in other]
    return len(mine) == len(theirs) and all(rule in theirs for rule in mine)


def _wanted(raw: Sequence[Mapping[str, Any]], wish: Wish) -> list[dict[str, Any]]:
    others = [
        rule for rule in read_rules([rule for rule in raw if not _is_ours(rule, wish)]) if rule.covers(wish.folder)
    ]
    wanted = []
    # What somebody else sees to already is not done twice.
    if not any(rule.abort_days is not None and rule.abort_days <= wish.abort_days for rule in others):
        abort = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": wish.abort_days}}
        wanted.append(_rule(_name(_ABORT, wish.folder), wish.folder, abort))
    if not any(rule.noncurrent_days is not None and rule.noncurrent_days <= wish.noncurrent_days for rule in others):
        newer = {"NewerNoncurrentVersions": wish.keep_versions} if wish.keep_versions else {}
        old = {"NoncurrentVersionExpiration": {"NoncurrentDays": wish.noncurrent_days, **newer}}
        wanted.append(_rule(_name(_OLD, wish.folder), wish.folder, old))
    moves = [{"Days": after, "StorageClass": name} for name, after in wish.moves]
    if moves:
        wanted += [_rule(_name(_MOVE, folder), folder, {"Transitions": moves}) for folder in wish.unused]
    return wanted


def _rule(name: str, folder: str, action: Mapping[str, Any]) -> dict[str, Any]:
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": folder}, **action}


def _name(kind: str, folder: str) -> str:
    name = f"{kind}:{folder}"
    if len(name) <= _LONGEST_NAME and name.isascii():
        return name
    return f"{kind}:{hashlib.sha256(folder.encode()).hexdigest()[:32]}"


def _is_ours(rule: Mapping[str, Any], wish: Wish) -> bool:
    """Whether a rule was made by this for the same project, and not for another one in the same bucket."""
    read = read_rule(rule)
    if read.name in (_name(_ABORT, wish.folder), _name(_OLD, wish.folder)):
        return True
    return read.name == _name(_MOVE, read.prefix) and read.prefix.startswith(wish.folder)


def _stays(rule: Mapping[str, Any], wish: Wish) -> bool:
    """Whether a rule of ours that is not asked for this time is left: it moves files that no version uses."""
    read = read_rule(rule)
    return not wish.moves and read.name == _name(_MOVE, read.prefix) and not is_used(read.prefix, wish.in_use)


def _changes(mine: Sequence[Mapping[str, Any]], wanted: Mapping[str, Mapping[str, Any]]) -> list[str]:
    there = {str(rule["ID"]): rule for rule in mine}
    changes = []
    for name, rule in wanted.items():
        if name not in there:
            changes.append(f"add {_said(rule)}")
        elif _plain(there[name]) != _plain(rule):
            changes.append(f"change {_said(there[name])} to {_said(rule)}")
    return changes + [f"remove {_said(rule)}" for name, rule in there.items() if name not in wanted]


def _said(rule: Mapping[str, Any]) -> str:
    read = read_rule(rule)
    return f"{read.name}: {'; '.join(read.actions)} ({read.scope})"


def _with_filter(rule: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a rule with its prefix in a filter, for S3 takes no rules of the older form beside those of the newer."""
    if "Filter" in rule or "Prefix" not in rule:
        return rule
    return {**{name: value for name, value in rule.items() if name != "Prefix"}, "Filter": {"Prefix": rule["Prefix"]}}


def _plain(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule in one form: of an empty filter, and of lists that have no order."""
    found = dict(_with_filter(rule))
    found["Filter"] = found.get("Filter") or {"Prefix": ""}
    for name in ("Transitions", "NoncurrentVersionTransitions"):
        if name in found:
            found[name] = sorted(found[name], key=lambda move: str(sorted(move.items(), key=str)))
    return {name: value for name, value in found.items() if value not in ([], None)}
