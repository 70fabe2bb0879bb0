"""What a person asks of a clean-up, and what the project's `[tool.holdfast.gc]` says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.core.cleanup.ages import parse_age
from holdfast.core.cleanup.retention import parse_rules
from holdfast.core.cleanup.rules import CleanupRules, RetentionRule
from holdfast.core.gate_rule import named_rows
from holdfast.errors import HoldfastError, SettingsError
from holdfast.settings import Settings

_MEND = "mend [tool.holdfast.gc]"


@dataclass(frozen=True)
class Asked:
    """What a person asked for.

    Attributes:
        rules: What is garbage; roots and the ids of experiments are filled in by the survey.
        experiments: Names, ids or globs of names of the experiments that are looked at; all where it is empty.
        backend_store_uri: The database behind the tracking server; that of the settings if None.
        artifacts_destination: What `mlflow-artifacts:` leads to; that of the settings if None.
        retention: Whether the rules of `[tool.holdfast.gc]` are asked, beside those in `rules`.
    """

    rules: CleanupRules
    experiments: tuple[str, ...] = ()
    backend_store_uri: str | None = None
    artifacts_destination: str | None = None
    retention: bool = False


@dataclass(frozen=True)
class Configured:
    """What `[tool.holdfast.gc]` says.

    Attributes:
        older_than_s: The age from which on something deleted goes, in seconds; None where it says nothing.
        grace_s: How long what was written stays, in seconds; None where it says nothing.
        retention: Its rules.
    """

    older_than_s: float | None = None
    grace_s: float | None = None
    retention: tuple[RetentionRule, ...] = ()


def configured(settings: Settings) -> Configured:
    """Return what a project's settings say of clean-up.

    Raises:
        SettingsError: A row is unknown, or its value is none that it can have; names all of them.
    """
    problems: list[str] = []
    rows = named_rows(settings.gc, _READERS, problems)
    found: dict[str, Any] = {}
    for row, value in rows.items():
        attribute, read = _READERS[row]
        try:
            found[attribute] = read(value)
        except HoldfastError as error:
            problems.append(error.message.rstrip(".") + (f" ({error.hint})" if error.hint != _MEND else ""))
    if problems:
        raise SettingsError(f"[tool.holdfast.gc] is not valid: {'; '.join(problems)}.", _MEND)
    return Configured(**found)


def _older_than(value: object) -> float:
    return parse_age(_text(value), "older-than")


def _grace(value: object) -> float:
    return parse_age(_text(value), "grace")


def _text(value: object) -> str:
    return value if isinstance(value, str) else repr(value)


_READERS: Mapping[str, tuple[str, Callable[[object], Any]]] = {
    "older-than": ("older_than_s", _older_than),
    "grace": ("grace_s", _grace),
    "rules": ("retention", parse_rules),
}
