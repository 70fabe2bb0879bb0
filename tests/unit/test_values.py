"""From training scripts' values to MLflow's."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.redaction import names_a_secret
from holdfast.errors import InvalidInputError
from holdfast.lifecycle import Terminated, status_for
from holdfast.tracking.best import check_mode
from holdfast.tracking.values import to_params, to_points, to_series, to_tags, to_text

# What such a key holds is masked; Hypothesis takes the words for them from our own sources.
KEYS = st.text().filter(lambda key: not names_a_secret(key))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(KEYS, children),
    max_leaves=10,
)


@given(st.lists(JSON) | st.dictionaries(KEYS, JSON))
def test_collections_are_stored_as_json(value: object) -> None:
    assert json.loads(to_text(value)) == value


def test_values_that_are_no_plain_json() -> None:
    value = {"array": np.arange(3), "scalar": np.float32(0.5), "path": Path("a/b"), "set": {2, 1}, 3: (1, 2)}
    assert json.loads(to_text(value)) == {"array": [0, 1, 2], "scalar": 0.5, "path": "a/b", "set": [1, 2], "3": [1, 2]}
    assert to_params({"lr": 1e-3, "path": Path("x"), "none": None}) == {"lr": "0.001", "path": "x", "none": "None"}


class Tensor:
    """Answers as a PyTorch tensor does."""

    def __init__(self, values: object) -> None:
        self._values = values
        self.ndim = 1 if isinstance(values, list) else 0

    def tolist(self) -> object:
        return self._values

    def __str__(self) -> str:
        return f"tensor({self._values})"


def test_arrays_are_stored_whole() -> None:
    long = np.arange(2000) % 10
    assert json.loads(to_text(long)) == long.tolist()
    assert to_text(np.eye(2)) == "[[1.0, 0.0], [0.0, 1.0]]"
    assert to_text(Tensor([1, 2])) == "[1, 2]"
    scalars = [np.float32(0.1), np.array(3), np.bool_(True), Tensor(0.5), np.int64(7)]
    assert [to_text(scalar) for scalar in scalars] == ["0.1", "3", "True", "0.5", "7"]


def test_secrets_inside_collections_are_masked_by_name() -> None:
    value = {"d": {"a": {"password": "x", "port": 1}}, "list": [{"hf_token": "y", "max_tokens": 5}], "api_key": ""}
    assert json.loads(to_text(value)) == {
        "d": {"a": {"password": "****", "port": 1}},
        "list": [{"hf_token": "****", "max_tokens": 5}],
        "api_key": "",
    }
    assert json.loads(to_text({"credentials": {"user": "u", "key": "k"}})) == {"credentials": "****"}


@pytest.mark.parametrize("values", [None, "abc", 3, [("a", 1)]])
def test_what_is_no_dictionary(values: object) -> None:
    for convert in (to_params, lambda given: to_points(given, None, 0), lambda given: to_series(given, 0, 0)):
        with pytest.raises(InvalidInputError, match="give a dictionary"):
            convert(values)  # type: ignore[operator]
    if values is not None:
        with pytest.raises(InvalidInputError, match="holds no tags"):
            to_tags(values)  # type: ignore[arg-type]


def test_what_cannot_be_written_as_text() -> None:
    loop: list[object] = []
    loop.append(loop)
    for value in (loop, {"a": loop}, 10**5000):
        with pytest.raises(InvalidInputError, match="'bad' cannot be written"):
            to_params({"good": 1, "bad": value})


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_characters_that_no_store_takes(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"pair\): bad\."):
        to_tags({"good": "é", "bad": text})
    with pytest.raises(InvalidInputError, match="not allowed"):
        to_params({f"key{text}": 1})
    with pytest.raises(InvalidInputError, match="not allowed"):
        to_points({f"key{text}": 1}, 0, 0)


def test_json_escapes_nul_but_not_halves_of_surrogate_pairs() -> None:
    assert to_params({"x": ["a\0b"]}) == {"x": '["a\\u0000b"]'}
    for value in (["\ud800"], {"\ud800": 1}):
        with pytest.raises(InvalidInputError, match=r"pair\): bad\."):
            to_params({"bad": value})


def test_series() -> None:
    points = to_series({"a": [1, 2], "b": np.array([3.0])}, 5, 7)
    assert [(p.name, p.value, p.step) for p in points] == [("a", 1.0, 5), ("b", 3.0, 5), ("a", 2.0, 6)]
    with pytest.raises(InvalidInputError, match="no sequences: b=3"):
        to_series({"a": [1], "b": 3}, 0, 0)


def test_numbers_of_any_library() -> None:
    points = to_points({"a": np.float32(0.5), "b": np.array([2]).sum(), "c": True, "d": math.nan}, np.int64(3), 7)
    assert [(p.name, p.step, p.timestamp_ms) for p in points] == [(name, 3, 7) for name in "abcd"]
    assert [p.value for p in points[:3]] == [0.5, 2.0, 1.0]
    assert math.isnan(points[3].value)


@pytest.mark.parametrize("value", ["1.0", None, [1, 2], np.arange(3), {}, object(), 1j, 10**400])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(InvalidInputError, match="not numbers: bad="):
        to_points({"good": 1, "bad": value}, None, 0)


@pytest.mark.parametrize("step", [1.5, "1", math.nan, math.inf, [1], 2**63, -(2**63) - 1])
def test_what_is_no_step(step: object) -> None:
    with pytest.raises(InvalidInputError, match="no step"):
        to_points({"x": 1}, step, 0)  # type: ignore[arg-type]


def test_the_greatest_steps() -> None:
    for step in (2**63 - 1, -(2**63)):
        assert to_points({"x": 1}, step, 0)[0].step == step


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
