"""The space of a sweep: which values each parameter may take."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from holdfast.errors import InvalidInputError
from holdfast.training.config import read_table

Value: TypeAlias = bool | int | float | str
_NAME = re.compile(r"[A-Za-z_][\w.\-]*")
_KEYS = {"low", "high", "log", "step"}
_FORM = "write learning_rate = {low=1e-4, high=1e-1, log=true}, layers = {low=1, high=4} or batch_size = [16, 32]"
_SHORT_FORM = "write --param learning_rate=1e-4..1e-1:log, --param layers=1..4 or --param batch_size=16,32"


@dataclass(frozen=True)
class Span:
    """Numbers from `low` to `high`, both included.

    Attributes:
        low: The least.
        high: The greatest.
        log: Whether it is searched on a logarithmic scale.
        step: The distance of neighbours; None for 1 where they are whole numbers, else for any number between. Where
            the steps do not lead to `high`, the last one below it is the greatest.

    The numbers are whole where `low`, `high` and `step` are.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the numbers are whole."""
        return isinstance(self.low, int) and isinstance(self.high, int) and isinstance(self.step, int | None)

    def __str__(self) -> str:
        ends = (":log" if self.log else "") + (f":step={self.step}" if self.step is not None else "")
        return f"{self.low}..{self.high}{ends}"


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple[Value, ...]

    def __str__(self) -> str:
        return ",".join(str(value) for value in self.values)


Space: TypeAlias = dict[str, Span | Choice]


def parse_space(given: Mapping[str, Any]) -> Space:
    """Return a space from its plain form.

    Args:
        given: Parameter → `{"low": 1e-4, "high": 1e-1, "log": True}`, also with `step`; a list of values to choose
            from; or a `Span` or `Choice`.

    Raises:
        InvalidInputError: It is empty, or something in it is not of that form; all problems are named.
    """
    problems: list[str] = []
    found: Space = {}
    for name, form in given.items():
        try:
            found[_checked_name(name)] = _checked(form)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    _refuse(problems, _FORM)
    if not found:
        raise InvalidInputError("The space of the sweep is empty.", _FORM)
    return found


def load_space(path: str | Path) -> dict[str, Any]:
    """Return the plain form of a space, for `parse_space`, from a JSON, YAML or TOML file, told by its ending.

    Raises:
        InvalidInputError: There is no such file, it is none of the three, or no table.
    """
    return read_table(path)


def read_params(texts: Iterable[str]) -> dict[str, Any]:
    """Return the plain form of a space, for `parse_space`, from texts such as `learning_rate=1e-4..1e-1:log`.

    Raises:
        InvalidInputError: Some are not of the form; all of them are named.
    """
    found: dict[str, Any] = {}
    problems: list[str] = []
    for text in texts:
        name, sign, form = (part.strip() for part in text.partition("="))
        if not sign or not form or name in found:
            problems.append(f"{text!r} " + (f"gives {name} twice" if name in found else "is not NAME=VALUES"))
            continue
        try:
            found[name] = _read_form(form)
        except ValueError as error:
            problems.append(f"{text!r}: {error}")
    _refuse(problems, _SHORT_FORM)
    return found


def _read_form(form: str) -> Any:
    low, dots, rest = form.partition("..")
    if not dots:
        return [_value(part) for part in form.split(",")]
    high, *extras = rest.split(":")
    found: dict[str, Any] = {"low": _value(low), "high": _value(high)}
    for extra in extras:
        key, sign, value = extra.partition("=")
        if extra == "log":
            found["log"] = True
        elif key == "step" and sign:
            found["step"] = _value(value)
        else:
            raise ValueError(f"{extra!r} is neither log nor step=NUMBER")
    return found


def _value(text: str) -> Value:
    plain = text.strip()
    if plain in ("true", "false"):
        return plain == "true"
    for kind in (int, float):
        try:
            return kind(plain)
        except ValueError:
            continue
    return plain


def _refuse(problems: Sequence[str], hint: str) -> None:
    if problems:
        raise InvalidInputError(f"The space of the sweep is not valid: {'; '.join(problems)}.", hint)


# -- the checks -----------------------------------------------------------------------


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("is no name of letters, digits, `_`, `.` and `-`")
    return name


def _checked(form: Any) -> Span | Choice:
    if isinstance(form, Span):
        form = {"low": form.low, "high": form.high, "log": form.log, "step": form.step}
    if isinstance(form, Choice):
        form = list(form.values)
    if isinstance(form, Mapping):
        return _span(form)
    if isinstance(form, list | tuple):
        return _choice(form)
    raise ValueError("is neither a table with low and high nor a list of values")


def _choice(values: Sequence[Any]) -> Choice:
    bad = [value for value in values if not isinstance(value, bool | int | float | str)]
    if bad:
        raise ValueError(f"{bad[0]!r} is neither number, text nor yes or no")
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        raise ValueError("has a value that is no finite number")
    if not values:
        raise ValueError("has no values to choose from")
    if len({str(value) for value in values}) < len(values):
        raise ValueError("has a value twice")
    return Choice(tuple(values))


def _span(form: Mapping[str, Any]) -> Span:
    unknown = sorted(str(key) for key in set(form) - _KEYS)
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is unknown; there are {', '.join(sorted(_KEYS))}")
    low, high, step = (_number(form, key) for key in ("low", "high", "step"))
    log = form.get("log", False)
    if low is None or high is None:
        raise ValueError("needs low and high")
    if log not in (True, False):
        raise ValueError(f"log = {log!r} is neither true nor false")
    _check_span(low, high, step, log)
    return Span(low, high, log, step)


def _check_span(low: float, high: float, step: float | None, log: bool) -> None:
    if low > high:
        raise ValueError(f"low = {low} is above high = {high}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic scale begins above 0, not at {low}")
    if step is not None and step <= 0:
        raise ValueError(f"step = {step} is not above 0")
    if log and step is not None:
        raise ValueError("has both log and step")


def _number(form: Mapping[str, Any], key: str) -> float | None:
    value = form.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} = {value!r} is no finite number")
    return value
