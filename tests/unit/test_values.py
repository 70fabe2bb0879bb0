"""From training scripts' values to MLflow's."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import InvalidInputError
from holdfast.tracking.best import check_mode
from holdfast.tracking.lifecycle import Terminated, status_for
from holdfast.tracking.values import to_params, to_points, to_tags, to_text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@given(st.lists(JSON) | st.dictionaries(st.text(), JSON))
def test_collections_are_stored_as_json(value: object) -> None:
    assert json.loads(to_text(value)) == value


def test_values_that_are_no_plain_json() -> None:
    value = {"array": np.arange(3), "scalar": np.float32(0.5), "path": Path("a/b"), "set": {2, 1}, 3: (1, 2)}
    assert json.loads(to_text(value)) == {"array": [0, 1, 2], "scalar": 0.5, "path": "a/b", "set": [1, 2], "3": [1, 2]}
    assert to_params({"lr": 1e-3, "path": Path("x"), "none": None}) == {"lr": "0.001", "path": "x", "none": "None"}


def test_numbers_of_any_library() -> None:
    points = to_points({"a": np.float32(0.5), "b": np.array([2]).sum(), "c": True, "d": math.nan}, np.int64(3), 7)
    assert [(p.name, p.step, p.timestamp_ms) for p in points] == [(name, 3, 7) for name in "abcd"]
    assert [p.value for p in points[:3]] == [0.5, 2.0, 1.0]
    assert math.isnan(points[3].value)


@pytest.mark.parametrize("value", ["1.0", None, [1, 2], np.arange(3), {}, object(), 1j, 10**400])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(InvalidInputError, match="not numbers: bad="):
        to_points({"good": 1, "bad": value}, None, 0)


@pytest.mark.parametrize("step", [1.5, "1", math.nan, math.inf, [1]])
def test_what_is_no_step(step: object) -> None:
    with pytest.raises(InvalidInputError, match="no step"):
        to_points({"x": 1}, step, 0)  # type: ignore[arg-type]


def test_lengths() -> None:
    assert to_tags({"t": "x" * 8000})
    assert to_tags(None) == {}
    with pytest.raises(InvalidInputError, match=r"a \(8,001 characters\), b \(9,000"):
        to_tags({"a": "x" * 8001, "b": "x" * 9000, "c": ""})


def test_modes() -> None:
    assert check_mode(min) == check_mode("min") == check_mode(lambda v: sorted(v)[0]) == "min"
    assert check_mode(max) == check_mode("max") == "max"
    for mode in ("MIN", "best", sum, lambda v: 1.0, len, lambda: None):
        with pytest.raises(InvalidInputError):
            check_mode(mode)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"),
        (SystemExit(), "FINISHED"),
        (SystemExit(0), "FINISHED"),
        (SystemExit(1), "FAILED"),
        (SystemExit("text"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (Terminated(), "KILLED"),
        (ValueError(), "FAILED"),
        (GeneratorExit(), "FAILED"),
    ],
)
def test_statuses(error: BaseException | None, status: str) -> None:
    assert status_for(None if error is None else type(error), error) == status
