"""What is asked of a version before it may enter a stage, read from the rows of a table."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from holdfast.core.evidence import BootstrapRule, DriftRule
from holdfast.core.names import why_bad_key
from holdfast.core.promotion import METRIC_ROWS, Check, PromotionRule, finite, read_checks

DEFAULT_TIMEOUT_S = 120.0
# Beyond it, drawing takes minutes and changes the interval's third digit no more.
_MAX_RESAMPLES = 1_000_000
_Say = Callable[[str], None]


@dataclass(frozen=True)
class GateRule:
    """The gates before one stage; without any, every version passes.

    Attributes:
        metrics: Thresholds, and comparisons with the present Production version.
        bootstrap: How those comparisons are judged where both runs logged a score an example; None takes the plain
            values there too.
        tags: The version's tags that must be set: each name with the value it must have, or an empty text where any
            value will do.
        description: Whether the version must say what it is.
        signature: Whether its model must say what it takes and gives.
        input_example: Whether an input example must be saved with it.
        artifacts: Whether its files must be all there, and as they were when it was registered.
        loads_timeout_s: How long loading it and predicting its input example may take in a fresh process, in seconds;
            None does not try.
        clean_git: Whether its run must have come from a commit without uncommitted changes.
        data: The files that must be, byte by byte, what its run was trained on.
        callables: Functions of the project that are asked, as `package.module:function`.
        drift: When new data counts as drifted from what it was trained on; None does not look.
    """

    metrics: PromotionRule = field(default_factory=PromotionRule)
    bootstrap: BootstrapRule | None = field(default_factory=BootstrapRule)
    tags: Mapping[str, str] = field(default_factory=dict)
    description: bool = False
    signature: bool = False
    input_example: bool = False
    artifacts: bool = False
    loads_timeout_s: float | None = None
    clean_git: bool = False
    data: tuple[str, ...] = ()
    callables: tuple[str, ...] = ()
    drift: DriftRule | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked."""
        return len(self.unused_rows) == len(_ASKING)

    @property
    def unused_rows(self) -> tuple[str, ...]:
        """The rows that are not set, or turned off; those about metrics count as one."""
        own = (self.metrics.checks, self.loads_timeout_s is not None, self.callables)
        same = (getattr(self, row.replace("-", "_")) for row in _ASKING[3:])
        return tuple(row for row, value in zip(_ASKING, (*own, *same), strict=True) if not value)


_ASKING = (
    *("min/max/not-below-production/not-above-production", "loads", "callable"),
    *("tags", "description", "signature", "input-example", "artifacts", "clean-git", "data", "drift"),
)


def read_gate_rule(rows: Mapping[str, object], problems: list[str], where: str = "") -> GateRule:
    """Read the gates before one stage.

    Args:
        rows: By name, as `named_rows` returns them.
        problems: What is wrong is added here; the result is then of no use.
        where: What to put before a row's name in a problem (`staging.`).
    """
    checks: list[Check] = []
    found: dict[str, Any] = {}
    for row, value in rows.items():
        if row in METRIC_ROWS:
            checks += [] if value is False else read_checks(row, value, problems, where)
            continue
        attribute, read = _READERS[row]
        if value is not False:
            found[attribute] = read(value, partial(_add, problems, f"{where}{row}"))
        elif row == "bootstrap":
            found[attribute] = None
    return GateRule(metrics=PromotionRule(tuple(checks)), **found)


def _add(problems: list[str], row: str, text: str) -> None:
    problems.append(f"{row} {text}")


def named_rows(
    table: Mapping[str, object], known: Collection[str], problems: list[str], where: str = ""
) -> dict[str, object]:
    """Return a table's rows by their names with hyphens; what is unknown or there twice becomes a problem."""
    rows: dict[str, object] = {}
    for given, value in table.items():
        name = str(given).replace("_", "-")
        if name in rows:
            problems.append(f"{where}{name} is there twice; keep one")
        elif name not in known:
            problems.append(f"unknown row {where + str(given)!r} ({_nearest(name, known)})")
        else:
            rows[name] = value
    return rows


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"


def _flag(value: object, say: _Say) -> bool:
    if not isinstance(value, bool):
        say(f"is {value!r:.60}; write true or false")
    return value is True


def _texts(value: object, say: _Say) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple):
        say(f"is {value!r:.60}; write a text, or a list of texts")
        return ()
    for item in listed:
        if not isinstance(item, str) or not item.strip():
            say(f"holds {item!r:.60}, which is no text")
    return tuple(dict.fromkeys(item for item in listed if isinstance(item, str)))


def _tags(value: object, say: _Say) -> Mapping[str, str]:
    named = value if isinstance(value, Mapping) else dict.fromkeys(_texts(value, say), "")
    found = {}
    for name, wanted in named.items():
        if why := why_bad_key(name):
            say(f"name {name!r:.60}, which {why}; MLflow has no such tag")
        if isinstance(wanted, bool) or not isinstance(wanted, str | int | float):
            say(f'of {name!r} is {wanted!r:.60}; write the value it must have, or "" for any')
        found[str(name)] = str(wanted)
    return found


def _callables(value: object, say: _Say) -> tuple[str, ...]:
    found = _texts(value, say)
    for item in found:
        module, mark, function = item.partition(":")
        if not mark or not all(part.isidentifier() for part in (*module.split("."), *function.split("."))):
            say(f"is {item!r}; write package.module:function")
    return found


def _timeout_s(value: object, say: _Say) -> float:
    if value is True:
        return DEFAULT_TIMEOUT_S
    if not isinstance(value, Mapping):
        say(f"is {value!r:.60}; write true, or {{ timeout-s = {DEFAULT_TIMEOUT_S:g} }}")
        return DEFAULT_TIMEOUT_S
    found = _settings(value, {"timeout_s": (_positive, "a number above 0, in seconds")}, say)
    return float(found.get("timeout_s", DEFAULT_TIMEOUT_S))


def _bootstrap(value: object, say: _Say) -> BootstrapRule:
    return BootstrapRule(**_settings(value, _BOOTSTRAP, say))


def _drift(value: object, say: _Say) -> DriftRule:
    found = _settings(value, _DRIFT, say)
    missing = [name for name in ("reference", "current") if isinstance(value, Mapping) and name not in value]
    for name in missing:
        say(f'has no {name}; write {name} = "file.csv"')
    return DriftRule(**{"reference": "", "current": "", **found})


_Known = Mapping[str, tuple[Callable[[object], Any], str]]


def _settings(value: object, known: _Known, say: _Say) -> dict[str, Any]:
    """Read a table of settings: each by its own function, which returns None for what is none."""
    if not isinstance(value, Mapping):
        say(f"is {value!r:.60}; write a table, {{ {next(iter(known)).replace('_', '-')} = … }}")
        return {}
    found = {}
    for given, setting in value.items():
        name = str(given).replace("-", "_")
        if name not in known:
            say(f"has an unknown {given!r} ({_nearest(str(given), [item.replace('_', '-') for item in known])})")
            continue
        read, form = known[name]
        meant = read(setting)
        if meant is None:
            say(f"has {given} = {setting!r:.60}; write {form}")
        else:
            found[name] = meant
    return found


def _positive(value: object) -> float | None:
    number = finite(value)
    return number if number is not None and number > 0 else None


def _share(value: object) -> float | None:
    number = finite(value)
    return number if number is not None and 0 < number < 1 else None


def _not_negative(value: object) -> float | None:
    number = finite(value)
    return number if number is not None and number >= 0 else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _resamples(value: object) -> int | None:
    count = _count(value)
    return count if count is not None and 1 <= count <= _MAX_RESAMPLES else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _names(value: object) -> tuple[str, ...] | None:
    listed = isinstance(value, list | tuple) and all(isinstance(item, str) and item for item in value)
    return tuple(value) if listed and isinstance(value, list | tuple) else None


def _evidence(value: object) -> str | None:
    return value if isinstance(value, str) and value in ("no-harm", "harm") else None


_BOOTSTRAP: _Known = {
    "confidence": (_share, "a number above 0 and below 1, such as 0.95"),
    "resamples": (_resamples, f"a whole number from 1 to {_MAX_RESAMPLES}"),
    "seed": (_count, "a whole number from 0 up"),
    "evidence": (_evidence, '"no-harm" or "harm"'),
}
_DRIFT: _Known = {
    "reference": (_text, "the name of a CSV file among the run's artifacts"),
    "current": (_text, "the path of a CSV file"),
    "columns": (_names, "a list of column names"),
    "alpha": (_share, "a number above 0 and below 1, such as 0.01"),
    "min_psi": (_not_negative, "a number from 0 up"),
    "max_drifted": (_count, "a whole number from 0 up"),
}
# Each row with the attribute it sets, and how it is read.
_READERS: Mapping[str, tuple[str, Callable[[object, _Say], Any]]] = {
    "bootstrap": ("bootstrap", _bootstrap),
    "tags": ("tags", _tags),
    "description": ("description", _flag),
    "signature": ("signature", _flag),
    "input-example": ("input_example", _flag),
    "artifacts": ("artifacts", _flag),
    "loads": ("loads_timeout_s", _timeout_s),
    "clean-git": ("clean_git", _flag),
    "data": ("data", _texts),
    "callable": ("callables", _callables),
    "drift": ("drift", _drift),
}
GATE_ROWS = (*METRIC_ROWS, *_READERS)
