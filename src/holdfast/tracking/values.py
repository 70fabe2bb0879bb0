"""From what a training script has at hand to what MLflow stores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from numbers import Number
from typing import Any

from holdfast.backend.entities import MetricPoint
from holdfast.core.names import MAX_PARAM_LENGTH, MAX_TAG_LENGTH, check_keys, is_unicode
from holdfast.core.redaction import names_a_secret
from holdfast.core.uris import MASK
from holdfast.errors import InvalidInputError

_STEP_LIMIT = 2**63


def to_points(metrics: Mapping[str, Any], step: int | None, timestamp_ms: int) -> list[MetricPoint]:
    """Return one point a metric, all of one step and time.

    Args:
        metrics: Name → number; NumPy and PyTorch scalars count as numbers, NaN and infinities too.
        step: The step; 0 if not given.
        timestamp_ms: Milliseconds since the epoch.

    Raises:
        InvalidInputError: Names every metric with a name MLflow refuses or a value that is no number.
    """
    _check_mapping(metrics, "metrics", "{name: number}")
    check_keys(metrics, "metric")
    points: list[MetricPoint] = []
    problems: list[str] = []
    for name, value in metrics.items():
        number = _to_float(value)
        if number is None:
            problems.append(f"{name}={value!r:.60}")
        else:
            points.append(MetricPoint(name, number, check_step(step), timestamp_ms))
    if problems:
        raise InvalidInputError(
            f"These metrics are not numbers: {', '.join(problems)}.", "log a number; for texts use log_params or tags"
        )
    return points


def to_series(metrics: Mapping[str, Any], first_step: Any, timestamp_ms: int) -> list[MetricPoint]:
    """Return the points of whole curves, step by step, all of one time.

    Args:
        metrics: Name → values, one a step.
        first_step: The step of the first value.
        timestamp_ms: Milliseconds since the epoch.

    Raises:
        InvalidInputError: As for `to_points`, or a value is no sequence.
    """
    _check_mapping(metrics, "metrics", "{name: [number, …]}")
    check_keys(metrics, "metric")
    flat = [f"{name}={values!r:.60}" for name, values in metrics.items() if not hasattr(values, "__len__")]
    if flat:
        raise InvalidInputError(f"These metrics are no sequences: {', '.join(flat)}.", "log one value by log_metrics")
    first = check_step(first_step)
    longest = max((len(values) for values in metrics.values()), default=0)
    rows = [{name: values[i] for name, values in metrics.items() if i < len(values)} for i in range(longest)]
    return [point for i, row in enumerate(rows) for point in to_points(row, first + i, timestamp_ms)]


def check_step(step: Any) -> int:
    """Return the step as a whole number; 0 for None.

    Raises:
        InvalidInputError: It is not a whole number, or is one that does not fit MLflow's 64 bits.
    """
    if step is None:
        return 0
    try:
        number = int(step)
        whole = number == step
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or isinstance(step, str):
        raise InvalidInputError(f"{step!r:.60} is no step.", "give a whole number, such as the epoch or global step")
    if not -_STEP_LIMIT <= number < _STEP_LIMIT:
        raise InvalidInputError(f"{step!r:.60} is no step.", "give a number that fits 64 bits")
    return number


def _to_float(value: Any) -> float | None:
    if isinstance(value, str | bytes) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        # RuntimeError is how PyTorch refuses a tensor of many values.
        return None


def to_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Return params as MLflow stores them: dicts, lists, tuples and arrays as JSON, the rest as text.

    Raises:
        InvalidInputError: Names every param with a name MLflow refuses, a text it cannot store, or a value of
            over 6,000 characters.
    """
    return _to_texts(params, "param", MAX_PARAM_LENGTH)


def to_tags(tags: Mapping[str, Any] | None) -> dict[str, str]:
    """Return tags as MLflow stores them; names, texts and lengths (8,000 characters) are checked.

    Raises:
        InvalidInputError: Names every tag that MLflow would refuse.
    """
    return _to_texts({} if tags is None else tags, "tag", MAX_TAG_LENGTH)


def _to_texts(values: Mapping[str, Any], what: str, limit: int) -> dict[str, str]:
    _check_mapping(values, f"{what}s", "{name: value}")
    check_keys(values, what)
    texts: dict[str, str] = {}
    for name, value in values.items():
        try:
            texts[name] = to_text(value)
        except (RecursionError, ValueError) as error:  # ValueError: a number of more digits than Python writes out
            raise InvalidInputError(
                f"The {what} {name!r} cannot be written as text: {type(error).__name__}.",
                "give a value that does not refer to itself, and is no number of thousands of digits",
            ) from None
    _check_characters(texts, what)
    _check_length(texts, what, limit)
    return texts


def to_text(value: Any) -> str:
    """Return a value as text: a collection or array as JSON with its keys in order, the rest by `str`.

    Inside a collection, what a key names a secret (`password`) is masked.
    """
    if isinstance(value, Mapping | list | tuple | set | frozenset) or _is_array(value):
        return json.dumps(_plain(value), ensure_ascii=False, sort_keys=True)
    # A NumPy scalar is a number and writes itself best; `str` of a tensor's would be "tensor(0.5000)".
    return str(value) if isinstance(value, Number) or not _has_list(value) else str(value.tolist())


def is_masked(text: str) -> bool:
    """Whether something in a text that `to_text` returned is masked."""
    return MASK in text


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _masked(str(key), item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    # NumPy scalars and arrays, and tensors, know their plain form.
    return _plain(value.tolist()) if _has_list(value) else str(value)


def _masked(key: str, value: Any) -> Any:
    is_empty = value is None or (isinstance(value, str) and not value)
    return MASK if names_a_secret(key) and not is_empty else _plain(value)


def _is_array(value: Any) -> bool:
    return _has_list(value) and bool(getattr(value, "ndim", None))


def _has_list(value: Any) -> bool:
    return callable(getattr(value, "tolist", None))


def _check_mapping(values: object, what: str, form: str) -> None:
    if not isinstance(values, Mapping):
        raise InvalidInputError(f"A {type(values).__name__} holds no {what}.", f"give a dictionary: {form}")


def _check_characters(texts: Mapping[str, str], what: str) -> None:
    bad = [name for name, text in texts.items() if "\0" in text or not is_unicode(text)]
    if bad:
        raise InvalidInputError(
            f"These {what}s hold a character that no store takes (NUL, or half of a surrogate pair): {', '.join(bad)}.",
            'leave it out: text.replace("\\0", "").encode(errors="replace").decode()',
        )


def _check_length(texts: Mapping[str, str], what: str, limit: int) -> None:
    too_long = [f"{name} ({len(text):,} characters)" for name, text in texts.items() if len(text) > limit]
    if too_long:
        raise InvalidInputError(
            f"MLflow keeps at most {limit:,} characters of a {what}: {', '.join(too_long)}.",
            "write it to a file and log that with log_artifact",
        )
