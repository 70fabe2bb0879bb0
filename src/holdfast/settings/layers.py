"""Sources as layers: which value wins, and where it came from.

Nothing here raises: what is wrong is noted in a `Report`, so that a user sees every problem
at once. Layers hide their values from `repr`, because a value may be a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from holdfast.errors import InvalidInputError
from holdfast.settings.names import KEYWORDS, VARIABLES, Field
from holdfast.settings.values import PARSERS, Where

Kind = Literal["argument", "environment", "dotenv", "pyproject", "profile", "default"]
_TITLES = {
    "argument": "the arguments",
    "environment": "the environment",
    "dotenv": ".env",
    "pyproject": "pyproject.toml",
    "profile": "the AWS profile",
    "default": "the defaults",
}


@dataclass(frozen=True)
class Origin:
    """Where a value came from.

    Attributes:
        kind: The source.
        name: The argument, variable, key or profile; empty for a default.
        path: The file it was read from, if any.
    """

    kind: Kind
    name: str = ""
    path: Path | None = None

    def __str__(self) -> str:
        """Return it for people: `.env MLFLOW_TRACKING_URI`."""
        titles = {"dotenv": ".env", "pyproject": "pyproject.toml"}
        return " ".join(part for part in (titles.get(self.kind, self.kind), self.name) if part)


@dataclass(frozen=True)
class Problem:
    """Something wrong with the settings, and what mends it."""

    message: str
    hint: str = ""
    is_about_credentials: bool = False


@dataclass
class Report:
    """What was found while reading: problems stop the loading, notices are passed on."""

    problems: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def refuse(self, message: str, hint: str = "", is_about_credentials: bool = False) -> None:
        """Note a problem, once."""
        problem = Problem(message, hint, is_about_credentials)
        if problem not in self.problems:
            self.problems.append(problem)

    def note(self, notice: str) -> None:
        """Note something a person should know, once."""
        if notice not in self.notices:
            self.notices.append(notice)


@dataclass(frozen=True)
class Layer:
    """The values of one source, by the names that source uses; secrets are wrapped."""

    kind: Kind
    values: Mapping[str, object] = field(repr=False, default_factory=dict)
    path: Path | None = None

    @property
    def title(self) -> str:
        """How the source is called in a sentence."""
        return _TITLES[self.kind]

    def names_for(self, setting: Field, family: int) -> tuple[str, ...]:
        """Return the names by which this source may hold one family of a setting.

        Arguments and pyproject.toml belong to the project, hence to the first family.
        """
        if self.kind == "argument":
            return setting.keywords if family == 0 else ()
        if self.kind == "pyproject":
            return (setting.key,) if family == 0 else ()
        return setting.families[family] if family < len(setting.families) else ()


@dataclass(frozen=True)
class Found:
    """A value and its origin."""

    value: object = field(repr=False)
    origin: Origin


def reveal(value: object) -> object:
    """Return a secret's plain value, and anything else as it is."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def is_present(value: object) -> bool:
    """Whether a value counts as given: None and blank text do not."""
    plain = reveal(value)
    return bool(plain.strip()) if isinstance(plain, str) else plain is not None


def pick(layer: Layer, names: Iterable[str], report: Report) -> Found | None:
    """Return the value that one source holds under any of the aliases `names`.

    Aliases that disagree are refused; their values are not shown.
    """
    found = [name for name in names if is_present(layer.values.get(name))]
    if not found:
        return None
    first, *others = found
    different = [name for name in others if not _agree(layer, name, first)]
    if different:
        report.refuse(
            f"{first} and {' and '.join(different)} name the same setting but differ, in {_where(layer)}.",
            f"keep one of them, best {first}",
            is_about_credentials=isinstance(layer.values[first], SecretStr),
        )
    return Found(layer.values[first], Origin(layer.kind, first, layer.path))


def lookup(setting: Field, layers: Iterable[Layer], report: Report) -> Found | None:
    """Return the value of a setting: by family first, then by source in the order given."""
    layers = tuple(layers)
    for family in range(max(1, len(setting.families))):
        for layer in layers:
            found = pick(layer, layer.names_for(setting, family), report)
            if found is not None:
                return found
    return None


def means_the_same(one: Found, other: Found) -> bool:
    """Whether two values of one setting are alike, however they are written."""
    first, second = (_stripped(found.value) for found in (one, other))
    return first == second or _meaning(one.origin.name, first) == _meaning(other.origin.name, second)


def _stripped(value: object) -> object:
    plain = reveal(value)
    return plain.strip() if isinstance(plain, str) else plain


def _plain(layer: Layer, name: str) -> object:
    return _stripped(layer.values[name])


def _agree(layer: Layer, name: str, other: str) -> bool:
    """Whether two aliases hold the same text, or texts with the same meaning (`s3://b/x` and `s3://b//x/`)."""
    values = _plain(layer, name), _plain(layer, other)
    return values[0] == values[1] or _meaning(name, values[0]) == _meaning(other, values[1])


def _meaning(name: str, value: object) -> object:
    setting = VARIABLES.get(name) or KEYWORDS.get(name)
    parse = PARSERS.get(setting.name) if setting else None
    try:
        return parse(value, Where(name, Path())) if parse else value
    except InvalidInputError:  # told of when the setting is settled
        return value


def _where(layer: Layer) -> str:
    return str(layer.path) if layer.path else layer.title
