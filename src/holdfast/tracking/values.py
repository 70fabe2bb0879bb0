"""From what a training script has at hand to what MLflow stores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast.backend.entities import MetricPoint
from holdfast.core.names import MAX_PARAM_LENGTH, MAX_TAG_LENGTH, check_keys
from holdfast.errors import InvalidInputError


def to_points(metrics: Mapping[str, Any], step: int | None, timestamp_ms: int) -> list[MetricPoint]:
    """Return one point a metric, all of one step and time.

    Args:
        metrics: Name → number; NumPy and PyTorch scalars count as numbers, NaN and infinities too.
        step: The step; 0 if not given.
        timestamp_ms: Milliseconds since the epoch.

    Raises:
        InvalidInputError: Names every metric with a name MLflow refuses or a value that is no number.
    """
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


def check_step(step: Any) -> int:
    """Return the step as a whole number; 0 for None.

    Raises:
        InvalidInputError: It is not a whole number.
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
    """Return params as MLflow stores them: dicts, lists and tuples as JSON, the rest as text.

    Raises:
        InvalidInputError: Names every param with a name MLflow refuses or a value of over 6,000 characters.
    """
    check_keys(params, "param")
    texts = {name: to_text(value) for name, value in params.items()}
    _check_length(texts, "param", MAX_PARAM_LENGTH)
    return texts


def to_tags(tags: Mapping[str, Any] | None) -> dict[str, str]:
    """Return tags as MLflow stores them; names and lengths (8,000 characters) are checked.

    Raises:
        InvalidInputError: Names every tag that MLflow would refuse.
    """
    check_keys(tags or {}, "tag")
    texts = {name: to_text(value) for name, value in (tags or {}).items()}
    _check_length(texts, "tag", MAX_TAG_LENGTH)
    return texts


def to_text(value: Any) -> str:
    """Return a value as text: a collection as JSON with its keys in order, a path as it is, the rest by `str`."""
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return json.dumps(_plain(value), ensure_ascii=False, sort_keys=True)
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Path):
        return str(value)
    # NumPy scalars and arrays, and tensors, know their plain form.
    to_list = getattr(value, "tolist", None)
    return _plain(to_list()) if callable(to_list) else str(value)


def _check_length(texts: Mapping[str, str], what: str, limit: int) -> None:
    too_long = [f"{name} ({len(text):,} characters)" for name, text in texts.items() if len(text) > limit]
    if too_long:
        raise InvalidInputError(
            f"MLflow keeps at most {limit:,} characters of a {what}: {', '.join(too_long)}.",
            "write it to a file and log that with log_artifact",
        )
