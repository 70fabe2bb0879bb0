"""Checkpoints in runs that retention rules take: found among objects one by one, chosen run by run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from holdfast.core.cleanup.places import is_understood
from holdfast.core.cleanup.records import Form, RunRecord, State, StoredObject
from holdfast.core.cleanup.retention import matching_runs, may_be_taken
from holdfast.core.cleanup.rules import CleanupRules, RetentionRule
from holdfast.core.cleanup.tally import Tally

_SUFFIX = re.compile(r"\.[A-Za-z]\w*$")
_NUMBER = re.compile(r"[0-9]+")


@dataclass
class Watched:
    """A run in which checkpoints are looked for.

    Attributes:
        run: The run.
        rules: Those that are about it.
        found: What was counted of each checkpoint, by the rest of its place below the run's.
        by_rule: Which checkpoints each rule is about.
        files: Those that are a file, or were one; a bucket may have a folder of the same name.
    """

    run: RunRecord
    rules: list[RetentionRule] = field(default_factory=list)
    found: dict[str, Tally] = field(default_factory=dict)
    by_rule: dict[RetentionRule, set[str]] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)

    def add(self, stored: StoredObject) -> None:
        """Count an object that lies in the run; an unfinished upload is no part of a checkpoint."""
        if stored.form is Form.UPLOAD or len(stored.address) <= len(self.run.place):
            return
        names = {rule: name for rule in self.rules if (name := _checkpoint_of(stored.address, self.run.place, rule))}
        for rule, name in names.items():
            self.by_rule.setdefault(rule, set()).add(name)
        for name in set(names.values()):
            self.found.setdefault(name, Tally()).add(stored)
            if len(stored.address) == len(self.run.place) + 1 + len(name):
                self.files.add(name)

    def taken(self) -> Iterator[tuple[str, Tally, str]]:
        """Yield the place of each checkpoint that goes, what is stored there, and why; none lies below another."""
        why: dict[str, str] = {}
        for rule, names in self.by_rule.items():
            for name in self._not_last(rule, names):
                why.setdefault(name, f"{rule} keeps the last {rule.keep_last} of {rule.checkpoints}")
        for name in sorted(why):
            if not any(above in why for above in _above(name)):
                yield f"{self.run.place}/{name}", self.found[name], why[name]

    def _not_last(self, rule: RetentionRule, names: set[str]) -> list[str]:
        # What has no current object was deleted before, and is no checkpoint any more.
        there = [name for name in names if self.found[name].objects and _numbers(name)]
        if rule.checkpoints.endswith("/"):
            there = [name for name in there if name not in self.files]
        there.sort(key=lambda name: (_numbers(name), self.found[name].newest_ms or 0, name))
        return there[: len(there) - rule.keep_last] if rule.keep_last < len(there) else []


def watched_runs(state: State, rules: CleanupRules, now_ms: int) -> dict[str, list[Watched]]:
    """Return the runs in which checkpoints may be taken, by their places."""
    names = {experiment.experiment_id: experiment.name for experiment in state.experiments}
    found: dict[str, Watched] = {}
    for rule in rules.retention:
        for run in _with_checkpoints(state.runs, rule, names):
            is_asked = rules.is_asked(run.experiment_id, run.run_id)
            if is_asked and may_be_taken(run, rule, now_ms) and is_understood(run.place):
                found.setdefault(run.run_id, Watched(run)).rules.append(rule)
    by_place: dict[str, list[Watched]] = {}
    for watched in found.values():
        by_place.setdefault(watched.run.place, []).append(watched)
    return by_place


def _with_checkpoints(
    runs: Iterable[RunRecord], rule: RetentionRule, experiment_names: Mapping[str, str]
) -> list[RunRecord]:
    return matching_runs(runs, rule, experiment_names) if rule.checkpoints else []


def _checkpoint_of(address: str, place: str, rule: RetentionRule) -> str:
    """Return the checkpoint that an address belongs to, below the place of its run, or an empty text."""
    pattern = rule.checkpoints.removesuffix("/").split("/")
    named = address[len(place) + 1 :].split("/")[: len(pattern)]
    if len(named) == len(pattern) and all(
        name and fnmatchcase(name, glob) for name, glob in zip(named, pattern, strict=True)
    ):
        return "/".join(named)
    return ""


def _above(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _numbers(name: str) -> tuple[tuple[int, str], ...]:
    # The 5 in `last.h5` numbers nothing. Of two numbers without zeros in front the longer is the greater one.
    digits = (found.lstrip("0") for found in _NUMBER.findall(_SUFFIX.sub("", name)))
    return tuple((len(number), number) for number in digits)
