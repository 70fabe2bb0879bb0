"""How ages, places, retention rules and plans are written and read."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.cleanup.ages import parse_age, shown_age
from holdfast.core.cleanup.places import PlaceMap, covers, is_understood, protecting
from holdfast.core.cleanup.plan import Action, Item, Kind, Plan, from_text, to_text
from holdfast.core.cleanup.retention import parse_rules
from holdfast.core.cleanup.rules import CleanupRules, RetentionRule
from holdfast.errors import InvalidInputError, SettingsError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30d", 2_592_000),
        ("1d2h3m4s", 93_784),
        ("1.5h", 5_400),
        ("2w", 1_209_600),
        ("0s", 0),
        (".5m", 30),
        ("1.d", 86_400),
    ],
)
def test_ages(text: str, seconds: float) -> None:
    assert parse_age(text, "--older-than") == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "1h2d", "-1d", "1 d", "9" * 400 + "d", "١d", "1..5h"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="--older-than is ") as refused:
        parse_age(text, "--older-than")
    assert "30d" in refused.value.hint


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 seconds"), (86_400, "1 day"), (2_592_000, "30 days"), (93_784, "1 day 2 hours"), (3_601, "1 hour")],
)
def test_ages_for_people(seconds: float, text: str) -> None:
    assert shown_age(seconds) == text


def test_a_place_covers_itself_and_what_lies_below() -> None:
    assert covers("s3://b/a", "s3://b/a")
    assert covers("s3://b/a", "s3://b/a/x")
    assert covers("s3://b/a", "s3://b/a//")
    assert not covers("s3://b/a", "s3://b/ab")
    assert not covers("s3://b/a/", "s3://b/a")


@pytest.mark.parametrize("place", ["s3://b", "s3://b/a/../c", "/a/b", "mlflow-artifacts:/a"])
def test_places_that_are_understood(place: str) -> None:
    assert is_understood(place)
    assert protecting(place) == place


@pytest.mark.parametrize(
    "place", ["", "/", "a/b", "./a", "/a/../b", "/a/", "s3://", "s3://b/a/", "mlflow-artifacts:/", "//a"]
)
def test_places_that_are_not(place: str) -> None:
    assert not is_understood(place)


_SEGMENTS = st.lists(st.sampled_from(["a", "b", "ab", "", ".."]), max_size=4).map(
    lambda parts: "/".join(["s3:/", *parts])
)


@given(st.lists(_SEGMENTS, max_size=8), _SEGMENTS)
def test_a_map_finds_what_looking_at_all_finds(places: list[str], address: str) -> None:
    found = PlaceMap((place, place) for place in places)
    above = [place for place in set(places) if covers(place, address)]
    assert found.deepest(address) == max(above, key=len, default=None)
    assert {place for place, _ in found.at_or_above(address)} == set(above)
    below = {place for place, _ in found.below(address)}
    assert below == {place for place in places if covers(address, place) and place != address}


RULES = """
[[rules]]
name = "sweeps"
experiments = ["sweep-*"]
tags = { purpose = "trial*" }
older_than = "30d"
keep-best = 5
metric = "val/loss"
mode = "min"
keep-last = 10

[[rules]]
checkpoints = "models/*/"
keep-last = 3
"""


def test_retention_rules_are_read() -> None:
    assert parse_rules(tomllib.loads(RULES)["rules"]) == (
        RetentionRule("sweeps", ("sweep-*",), (("purpose", "trial*"),), 2_592_000, 5, "val/loss", "min", 10),
        RetentionRule(checkpoints="models/*/", keep_last=3),
    )


def test_all_problems_of_retention_rules_are_told_at_once() -> None:
    tables = [
        {"name": "a", "keep-lst": 1, "older-than": "x", "mode": "best"},
        {"name": "b"},
        {"keep-best": 3, "metric": "m"},
        {"checkpoints": "../*"},
        {"checkpoints": "*.ckpt", "metric": "m"},
        {"keep-last": 0},
        7,
    ]
    with pytest.raises(SettingsError) as refused:
        parse_rules(tables)
    for part in (
        "unknown row 'rule 1 (a) keep-lst' (did you mean keep-last?)",
        "rule 1 (a) older-than is 'x'; write 30d",
        "rule 1 (a) mode is 'best'",
        "rule 2 (b) would take every run",
        "rule 3 has keep-best and metric alone",
        "rule 4 checkpoints is '../*'",
        "rule 5 has metric, which means nothing beside checkpoints; rule 5 has checkpoints and no keep-last",
        "rule 6 has keep-last = 0",
        "rule 7 is 7; write a table",
    ):
        assert part in refused.value.message


PLAN = Plan(
    5,
    CleanupRules(retention=(RetentionRule(tags=(("a", "b"),)),), roots=("s3://b",)),
    (Item(Kind.RUN, "r", "\u2028\udcff", "deleted", Action.PURGE, ("s3://b/r",), group="run/r"),),
    store="http://mlflow:5000",
)


def test_a_plan_is_read_as_it_was_written() -> None:
    assert from_text(to_text(PLAN)) == PLAN


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"deleted"', '"Deleted"', "cut or edited"),
        ('"format": 1', '"format": 2', "has format 2"),
        ('"plan": "holdfast gc plan"', '"plan": ""', "is none"),
    ],
)
def test_a_plan_that_was_changed_is_refused(old: str, new: str, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        from_text(to_text(PLAN).replace(old, new))


def test_a_plan_that_was_cut_anywhere_is_refused() -> None:
    text = to_text(PLAN)
    for length in range(len(text) - 1):
        with pytest.raises(InvalidInputError):
            from_text(text[:length])
