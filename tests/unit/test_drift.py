"""Drift: few false alarms, real changes found, and no number that is none, whatever the columns hold."""

from __future__ import annotations

import io
import json
import sys
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.drift import ColumnDrift, DriftReport, correct, measure_drift
from holdfast.core.drift_columns import read_table
from holdfast.core.drift_page import make_page, summarize
from holdfast.core.evidence import DriftRule
from holdfast.errors import DataError, MissingDependencyError

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pytest.importorskip("scipy")

RULE = DriftRule("reference.csv", "current.csv")


def measure(reference: Any, current: Any, **rule: Any) -> DriftReport:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning of scipy or numpy is a number that is none
        return measure_drift(pd.DataFrame(reference), pd.DataFrame(current), DriftRule("r", "c", **rule))


def one(reference: Any, current: Any, **rule: Any) -> ColumnDrift:
    return measure({"x": reference}, {"x": current}, **rule).columns[0]


def table(seed: int, n: int) -> Any:
    """Columns of every kind that have not drifted."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "normal": rng.normal(size=n),
            "skewed": rng.lognormal(size=n),
            "whole": rng.integers(0, 7, n),
            "mostly_zero": rng.exponential(size=n) * (rng.random(n) < 0.3),
            "category": rng.choice(list("abcdefgh"), n, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.03, 0.015, 0.005]),
            "long_tail": [f"user {number}" for number in rng.zipf(1.5, n)],
            "flag": rng.random(n) < 0.03,
            "gaps": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
        }
    )


@pytest.mark.parametrize(
    ("n_reference", "n_current", "simulations"), [(100, 100, 150), (10_000, 100, 30), (10_000, 10_000, 30)]
)
def test_false_alarms_are_no_more_frequent_than_alpha(n_reference: int, n_current: int, simulations: int) -> None:
    """Over eight columns together, with the test alone: the index, which keeps alarms down further, is switched off."""
    alpha, alarms, with_index = 0.1, 0, 0
    for seed in range(simulations):
        found = measure(table(2 * seed, n_reference), table(2 * seed + 1, n_current), alpha=alpha, min_psi=0.0)
        alarms += not found.passed
        with_index += any(item.psi and item.psi >= 0.1 and item.has_drifted for item in found.columns)
    # Three standard deviations of a binomial above alpha.
    assert alarms / simulations <= alpha + 3 * (alpha * (1 - alpha) / simulations) ** 0.5
    assert with_index <= alarms


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("normal", lambda values: values + 1.0),
        ("normal", lambda values: values * 6.0),
        ("skewed", lambda values: values * 3.0),
        ("mostly_zero", lambda values: values + (values > 0) * 9.0 - (values == 0) * 1.0),
        ("category", lambda values: values.where(values != "a", "b")),
        ("category", lambda values: values.where(values != "b", "new")),
        ("flag", lambda values: ~values),
        ("gaps", lambda values: values.where(values > 0)),
    ],
)
@pytest.mark.parametrize("n", [100, 3000])
def test_what_changed_is_found_and_nothing_else(column: str, change: Any, n: int) -> None:
    for seed in range(3):
        current = table(1000 + seed, n)
        current[column] = change(current[column])
        found = measure(table(2000 + seed, n), current)
        assert [item.column for item in found.drifted] == [column]
        assert not found.passed


def test_a_difference_too_small_to_matter_is_no_drift() -> None:
    rng = np.random.default_rng(0)
    found = one(rng.normal(size=50_000), rng.normal(size=50_000) + 0.05)
    assert found.corrected_p is not None
    assert found.corrected_p < 1e-6
    assert found.psi is not None
    assert found.psi < 0.1
    assert not found.has_drifted
    assert one(rng.normal(size=50_000), rng.normal(size=50_000) + 0.05, min_psi=0.001).has_drifted


@pytest.mark.parametrize(
    ("reference", "current", "drifted"),
    [
        ([5.0] * 100, [5.0] * 100, False),
        ([5.0] * 100, [3.0] * 100, True),  # constant, and now another constant below
        ([5.0] * 100, [7.0] * 100, True),
        (range(100), range(1000, 1100), True),  # disjoint
        (range(100), range(-1100, -1000), True),
        ([1], [2], False),  # too few to be sure
        ([None] * 50, [None] * 50, False),
        ([1.0] * 50, [None] * 50, True),
        ([None] * 50, ["x"] * 50, True),
        (["a"] * 50, ["b"] * 50, True),
        (["a"] * 50, [1] * 50, True),
        ([1.0] * 50, ["a"] * 50, True),
        ([True, False] * 50, [True] * 100, True),
        ([np.inf, 1.0] * 50, [2.0, 1.0] * 50, True),
        ([1e308, -1e308] * 50, [-1e308, 1e308] * 50, False),
        ([[1], {}] * 50, [[1], {}] * 50, False),
        ([f"id {i}" for i in range(100)], [f"id {i}" for i in range(200, 300)], False),  # every value is new anyway
    ],
)
def test_strange_columns_get_an_answer(reference: Any, current: Any, drifted: bool) -> None:
    found = one(list(reference), list(current))
    assert found.has_drifted is drifted
    for value in (found.psi, found.p_value, found.corrected_p, found.jensen_shannon, found.wasserstein):
        assert value is None or np.isfinite(value)


_CELLS = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=3))


@settings(max_examples=60)
@given(st.lists(_CELLS, min_size=1, max_size=30), st.lists(_CELLS, min_size=1, max_size=30))
def test_any_columns_can_be_compared(reference: list[Any], current: list[Any]) -> None:
    frames = [pd.DataFrame({"x": pd.Series(values, dtype=object)}) for values in (reference, current)]
    json.loads(measure_drift(*frames, RULE).to_json())  # which refuses NaN


def test_times_are_compared_as_such() -> None:
    days = pd.Series(pd.date_range("2024-01-01", periods=60))
    assert not one(days, days.dt.tz_localize("UTC").dt.tz_localize(None)).has_drifted
    found = one(days, days + pd.Timedelta(days=90))
    assert found.has_drifted
    assert found.wasserstein == pytest.approx(90 * 86_400)
    assert one(days - days[0], (days - days[0]) * 3).has_drifted


def test_new_and_vanished_categories_are_counted() -> None:
    found = one(["a"] * 60 + ["b"] * 30 + ["c"] * 10, ["a"] * 60 + ["d"] * 25 + ["e"] * 15)
    assert (found.new, found.new_count) == (("d", "e"), 2)
    assert (found.vanished, found.vanished_count) == (("b", "c"), 2)
    many = one(["a"] * 100, [f"n{i}" for i in range(100)])
    assert (len(many.new), many.new_count) == (5, 100)


def test_texts_of_a_file_are_the_numbers_they_mean() -> None:
    file = read_table(io.BytesIO(b"\xef\xbb\xbfx,y,z\n1,a,\n2.0,b,True\n"), "f.csv")
    table = pd.DataFrame({"x": [1, 2], "y": ["a", "b"], "z": [None, True]})
    found = measure_drift(file, table, RULE)
    assert {item.column: item.kind for item in found.columns} == {"x": "number", "y": "category", "z": "category"}
    assert all(not item.new_count and not item.missing_psi for item in found.columns)
    assert "2 values of the new data are no numbers" in one([1, 2, 3], ["1", "x", "y"]).note


def test_p_values_are_corrected_by_holm() -> None:
    assert correct([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert correct([0.9, 0.8]) == [1.0, 1.0]
    assert correct([]) == []


def test_what_cannot_be_compared_says_everything() -> None:
    with pytest.raises(DataError, match=r"alpha is 2.*the new data has no rows.*the new data lacks the columns a, b"):
        measure({"a": [1]}, {"c": []}, columns=("a", "b"), alpha=2.0)
    with pytest.raises(DataError, match="no column is in both"):
        measure({"a": [1]}, {"c": [1]})
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(DataError, match="name twice"):
        measure_drift(twice, twice, RULE)
    with pytest.raises(DataError, match="min-psi is nan"):
        measure({"a": [1]}, {"a": [1]}, min_psi=float("nan"))
    found = measure({"a": [1, 2], "b": [1, 2]}, {"a": [1, 2], "c": [1, 2]})
    assert (found.only_reference, found.only_current) == (("b",), ("c",))


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe\x01", b'a,b\n1,"2\n', b"a\n1,2\n3,4,5\n", b"\x1f\x8b\x08\x00"])
def test_a_file_that_is_no_table_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match=r"new\.csv is no table"):
        read_table(io.BytesIO(content), "new.csv")


def test_how_many_may_drift() -> None:
    reference, current = {"x": [0.0] * 99, "y": [0.0] * 99}, {"x": [1.0] * 99, "y": [0.0] * 99}
    assert measure(reference, current, max_drifted=1).passed
    assert not measure(reference, current).passed
    assert summarize(measure(reference, current)).startswith("1 column has drifted of 2 (99 new rows against 99;")


def test_the_page_shows_names_as_text() -> None:
    name = "<script>alert('x')</script>"
    page = make_page(measure({name: ["a"] * 50}, {name: ["<b>"] * 50}), "Drift of a & b")
    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page
    assert "<title>Drift of a &amp; b</title>" in page
    assert 'class="drifted"' in page


@pytest.mark.parametrize("library", ["scipy.stats", "numpy", "pandas"])
def test_without_a_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    reference, current = pd.DataFrame({"x": [1.0]}), pd.DataFrame({"x": [2.0]})
    measure_drift(reference, current, RULE)  # pandas takes some of what it needs from numpy only then
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingDependencyError, match=library.partition(".")[0]) as caught:
        measure_drift(reference, current, RULE)
    assert caught.value.hint == "pip install 'holdfast[server]'"
