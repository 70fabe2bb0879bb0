"""Retention rules: reading them from their tables, and which runs they take.

    [[tool.holdfast.gc.rules]]
    name = "sweeps"
    experiments = ["sweep-*"]
    tags = { purpose = "trial*" }
    older-than = "30d"
    keep-best = 5
    metric = "val/loss"
    mode = "min"
    keep-last = 10

    [[tool.holdfast.gc.rules]]
    checkpoints = "checkpoints/*.ckpt"
    keep-last = 3

What the rows mean is told at `RetentionRule`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from holdfast.core.cleanup.ages import parse_age, shown_age
from holdfast.core.cleanup.records import RunRecord, State
from holdfast.core.cleanup.rules import RetentionRule
from holdfast.core.gate_rule import named_rows
from holdfast.errors import InvalidInputError, SettingsError

KEEP_TAG = "holdfast.keep"
UNDER_WAY = ("RUNNING", "SCHEDULED")
_Say = Callable[[str], None]


def parse_rules(tables: object) -> tuple[RetentionRule, ...]:
    """Read retention rules from a list of tables.

    Raises:
        SettingsError: Names every unknown row with the nearest known one, every value that is none with its form, and
            every rule that says nothing or contradicts itself.
    """
    problems: list[str] = []
    if not isinstance(tables, list | tuple):
        problems.append(f"rules are {tables!r:.60}; write [[tool.holdfast.gc.rules]]")
        tables = ()
    rules = tuple(_rule(table, f"rule {number}", problems) for number, table in enumerate(tables, 1))
    if problems:
        # Said as a part of what is wrong with the table, whose own words stand around it.
        raise SettingsError(f"{'; '.join(problems)}.", "mend [tool.holdfast.gc]")
    return rules


def _rule(table: object, where: str, problems: list[str]) -> RetentionRule:
    if not isinstance(table, Mapping):
        problems.append(f"{where} is {table!r:.60}; write a table")
        return RetentionRule()
    if isinstance(table.get("name"), str) and table["name"].strip():
        where = f"{where} ({table['name'].strip()})"
    # Before what is asked of the rule as a whole: a row that could not be read would be told of twice.
    before = len(problems)
    rows = named_rows(table, _READERS, problems, f"{where} ")
    found: dict[str, Any] = {}
    for row, value in rows.items():
        attribute, read = _READERS[row]
        meant = read(value, partial(_add, problems, f"{where} {row}"))
        if meant is not None:
            found[attribute] = meant
    rule = RetentionRule(**found)
    if len(problems) == before:
        problems += [f"{where} {problem}" for problem in _contradictions(rule, rows)]
    return rule


def _add(problems: list[str], row: str, text: str) -> None:
    problems.append(f"{row} {text}")


def _contradictions(rule: RetentionRule, rows: Mapping[str, object]) -> list[str]:
    best = [row for row in ("keep-best", "metric", "mode") if row in rows]
    if rule.checkpoints:
        wrong = [f"has {row}, which means nothing beside checkpoints" for row in best]
        return wrong if "keep-last" in rows else [*wrong, "has checkpoints and no keep-last"]
    if not {"keep-best", "keep-last", "older-than"} & rows.keys():
        return ["would take every run; write keep-best, keep-last or older-than"]
    wrong = ["has keep-last = 0, which keeps none; leave it out"] if rows.get("keep-last") == 0 else []
    if rows.get("keep-best") == 0:
        wrong.append("has keep-best = 0, which keeps none; leave it out")
    if best and len(best) < 3:
        wrong.append(f"has {' and '.join(best)} alone; write keep-best, metric and mode together")
    return wrong


def _text(value: object, say: _Say) -> str | None:
    if isinstance(value, str) and value.strip():
        return value.strip()
    say(f"is {value!r:.60}; write a text")
    return None


def _globs(value: object, say: _Say) -> tuple[str, ...] | None:
    listed = [value] if isinstance(value, str) else value
    if isinstance(listed, list | tuple) and listed and all(isinstance(item, str) and item for item in listed):
        return tuple(listed)
    say(f'is {value!r:.60}; write names of experiments, ["sweep-*"]')
    return None


def _tags(value: object, say: _Say) -> tuple[tuple[str, str], ...] | None:
    if not isinstance(value, Mapping) or not value:
        say(f'is {value!r:.60}; write a table, {{ team = "vision*" }}')
        return None
    for name, wanted in value.items():
        if isinstance(wanted, bool) or not isinstance(wanted, str | int | float):
            say(f'of {name!r} is {wanted!r:.60}; write the value it must have, or "*" for any')
    return tuple((str(name), str(wanted)) for name, wanted in value.items())


def _age(value: object, say: _Say) -> float | None:
    try:
        return parse_age(value if isinstance(value, str) else repr(value), "it")
    except InvalidInputError as error:
        say(f"is {value!r:.60}; {error.hint}")
        return None


def _count(value: object, say: _Say) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    say(f"is {value!r:.60}; write a whole number")
    return None


def _mode(value: object, say: _Say) -> str | None:
    if value in ("min", "max"):
        return str(value)
    say(f'is {value!r:.60}; write "min" or "max", whichever is best')
    return None


def _glob_below(value: object, say: _Say) -> str | None:
    segments = value.removesuffix("/").split("/") if isinstance(value, str) else [""]
    if all(segments) and not {".", "..", "**"} & set(segments):
        return str(value)
    say(f'is {value!r:.60}; write a glob below the run\'s files, without "**": "checkpoints/*.ckpt"')
    return None


# Each row with the attribute it sets, and how it is read.
_READERS: Mapping[str, tuple[str, Callable[[object, _Say], Any]]] = {
    "name": ("name", _text),
    "experiments": ("experiments", _globs),
    "tags": ("tags", _tags),
    "older-than": ("older_than_s", _age),
    "keep-best": ("keep_best", _count),
    "metric": ("metric", _text),
    "mode": ("mode", _mode),
    "keep-last": ("keep_last", _count),
    "checkpoints": ("checkpoints", _glob_below),
}


def taken_runs(state: State, rules: Iterable[RetentionRule], now_ms: int) -> dict[str, str]:
    """Return the active runs that rules take, by their ids, with the reason for people."""
    names = {experiment.experiment_id: experiment.name for experiment in state.experiments}
    taken: dict[str, str] = {}
    for rule in rules:
        if not rule.checkpoints:
            about = matching_runs(state.runs, rule, names)
            for run_id in _taken_by(rule, about, now_ms):
                taken.setdefault(run_id, _why(rule))
    return taken


def matching_runs(
    runs: Iterable[RunRecord], rule: RetentionRule, experiment_names: Mapping[str, str]
) -> list[RunRecord]:
    """Return the active runs that have ended and that a rule is about, however old."""
    return [
        run
        for run in runs
        if has_ended(run)
        and any(fnmatchcase(experiment_names.get(run.experiment_id, ""), glob) for glob in rule.experiments)
        and all(name in run.tags and fnmatchcase(run.tags[name], value) for name, value in rule.tags)
    ]


def has_ended(run: RunRecord) -> bool:
    """Whether an active run has ended, by its status and by its time."""
    return not run.is_deleted and run.status not in UNDER_WAY and run.ended_ms is not None


def may_be_taken(run: RunRecord, rule: RetentionRule, now_ms: int) -> bool:
    """Whether a run is old enough for a rule, and has no tag that keeps it."""
    is_old = rule.older_than_s is None or now_ms - (run.ended_ms or 0) >= rule.older_than_s * 1000
    return is_old and run.tags.get(KEEP_TAG, "false").strip().lower() == "false"


def _taken_by(rule: RetentionRule, about: Sequence[RunRecord], now_ms: int) -> list[str]:
    by_experiment: defaultdict[str, list[RunRecord]] = defaultdict(list)
    for run in about:
        by_experiment[run.experiment_id].append(run)
    kept = {run.run_id for runs in by_experiment.values() for run in _kept_by(rule, runs)}
    return [run.run_id for run in about if run.run_id not in kept and may_be_taken(run, rule, now_ms)]


def _kept_by(rule: RetentionRule, runs: list[RunRecord]) -> list[RunRecord]:
    # Of two that are equal the later one ranks first, and of two of one moment the same one each time.
    last = sorted(runs, key=lambda run: (run.started_ms, run.run_id), reverse=True)
    best = sorted(last, key=partial(_rank, rule)) if rule.keep_best else []
    return best[: rule.keep_best] + last[: rule.keep_last]


def _rank(rule: RetentionRule, run: RunRecord) -> tuple[bool, float]:
    value = run.metrics.get(rule.metric, math.nan)
    # A run without a value comes after one whose value is the worst that there is, infinity.
    return (True, 0.0) if math.isnan(value) else (False, value if rule.mode == "min" else -value)


def _why(rule: RetentionRule) -> str:
    kept = [f"the best {rule.keep_best} by {rule.metric}"] if rule.keep_best else []
    kept += [f"the last {rule.keep_last}"] if rule.keep_last else []
    text = f"{rule} takes it: " + (f"not among {' or '.join(kept)}" if kept else "age alone decides")
    return text if rule.older_than_s is None else f"{text}, ended more than {shown_age(rule.older_than_s)} ago"
