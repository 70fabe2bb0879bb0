"""Scores one by one: what is refused when they are logged, and when they are read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.scores import read_scores, scores_path, to_scores, write_scores
from holdfast.errors import DataError, InvalidInputError


def test_each_metric_has_a_file_of_its_own() -> None:
    assert scores_path("test/log_loss") == "scores/test-log_loss.csv"
    names = [
        "test/log_loss",
        "test-log_loss",
        "test log_loss",
        "test:log_loss",
        "loss",
        "loss.",
        "é",
        "e" * 130,
        "e" * 250,
    ]
    paths = [scores_path(name) for name in names]
    assert len(set(paths)) == len(paths)
    assert all(path.count("/") == 1 and path.isascii() for path in paths)


_IDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1, max_size=30)


@given(st.dictionaries(_IDS, st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_what_is_read_is_what_was_written(tmp_path_factory: pytest.TempPathFactory, scores: dict[str, float]) -> None:
    path = tmp_path_factory.mktemp("scores") / "scores.csv"
    write_scores(path, to_scores("m", list(scores.values()), list(scores)))
    assert read_scores(path) == scores


def test_ids_are_positions_where_none_are_given() -> None:
    assert to_scores("m", [0.5, 1, True]) == [("0", 0.5), ("1", 1.0), ("2", 1.0)]
    np = pytest.importorskip("numpy")
    assert to_scores("m", np.array([0.5, 1]), np.array([7, 8])) == [("7", 0.5), ("8", 1.0)]


@pytest.mark.parametrize(
    ("scores", "examples", "said"),
    [
        ([], None, "there is not one"),
        ([0.5, math.nan, math.inf], None, r"nan at position 1, inf at position 2"),
        ([0.5, "1", None, [1], 10**400], None, r"'1' at position 1, None at position 2, \[1\] at position 3, 1000"),
        ([0.5, 0.5], ["a"], "2 scores stand beside 1 examples"),
        ([0.5, 0.5, 0.5], ["a", "b", "a"], "more than once: 'a'"),
        ([0.5, 0.5], [1, "1"], "more than once: '1'"),
        ([0.5, 0.5], ["", "x" * 501], "empty, over 500 characters"),
        ([0.5] * 4, ["a\0b", "\ud800", "a\rb", "a\nb"], r"no file takes: 'a\\x00b', '\\ud800', 'a\\rb', 'a\\nb'"),
        ({"a": 0.5}, None, "A dict holds no scores"),
        ("0.5", None, "A str holds no scores"),
        (0.5, None, "A float holds no scores"),
        ([0.5], "a", "A str holds no examples"),
        ([math.nan] * 9, None, "position 4 …"),
    ],
)
def test_what_cannot_be_paired_is_not_logged(scores: Any, examples: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        to_scores("m", scores, examples)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidInputError, match=r"(?s)nan at position 0.*more than once: 'a'.*1 scores stand beside 2"):
        to_scores("m", [math.nan], ["a", "a"])
    with pytest.raises(InvalidInputError, match="metric names"):
        to_scores("../m", [0.5])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "header is not example,score"),
        (b"example,value\na,1\n", "header is not example,score"),
        (b"example,score\n", "holds no scores"),
        (b"example,score\na,1\nb\n", "line 3.*no id and number"),
        (b"example,score\na,1,2\n", "line 2.*no id and number"),
        (b"example,score\na,one\n", "line 2.*no id and number"),
        (b"example,score\na,1\n\nb,2\n", "line 3"),
        (b"example,score\na,nan\n", "line 2.*'nan' is no finite number"),
        (b"example,score\na,1e999\n", "no finite number"),
        (b"example,score\na,1\na,2\n", "line 3.*'a' is there twice"),
        (b"example,score\n\xff\xfe,1\n", "cannot be read"),
        (b"PK\x03\x04\x00\x00", "header"),
        (b"example,score\n" + b"x" * 200_000 + b",1\n", "cannot be read"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "test-auc.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read_scores(path)
    assert "test-auc.csv" in caught.value.message
    assert "log_scores" in caught.value.hint


def test_a_file_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(b'\xef\xbb\xbfexample,score\r\n"a, b",1\r\n"c\nd",2.5\r\n')
    assert read_scores(path) == {"a, b": 1.0, "c\nd": 2.5}
