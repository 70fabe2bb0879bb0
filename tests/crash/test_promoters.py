"""Many promoters in processes of their own: one Production at the end, and a history that tells of each of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from promoting import Place, Reader, begin, check, finished_by_the_next_call, run_promoters

from holdfast.core.history import Kind

LONG = bool(os.environ.get("HOLDFAST_LONG_TESTS"))
PROMOTERS = 50 if LONG else 10
VERSIONS = 5


@pytest.fixture
def place(tracking_uri: str, unique: str, tmp_path: Path) -> Place:
    return begin(tracking_uri, tmp_path, unique, VERSIONS)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("deaths", [0, PROMOTERS // 3], ids=["all live", "some are killed"])
def test_promoters_at_once(place: Place, deaths: int) -> None:
    with Reader(place) as reader:
        told = run_promoters(place, PROMOTERS, VERSIONS, 3 if LONG else 1, deaths)
    assert reader.errors == []
    assert None not in reader.found
    if deaths:
        finished_by_the_next_call(place)
    check_told(place, told, deaths)


def check_told(place: Place, told: dict[int, list[dict[str, str | None]]], deaths: int) -> None:
    """Check that whoever was told of success has an event, and nobody was told of a failure."""
    events = check(place)
    ids = {event.id for event in events}
    assert [said["error"] for item in told.values() for said in item if "error" in said] == []
    assert len(told) >= PROMOTERS - deaths
    written = [said["event"] for item in told.values() for said in item if said.get("event")]
    assert len(written) == len(set(written))
    assert set(written) <= ids, "a promotion was reported that is not in the history"
    moved = [event.id for event in events if event.kind is Kind.MOVED][1:]
    if not deaths:
        assert set(moved) == set(written)


def test_success_that_is_not_in_the_history_is_caught(sqlite_uri: str, unique: str, tmp_path: Path) -> None:
    """With the answer of the compare-and-set forgotten, on purpose."""
    place = begin(sqlite_uri, tmp_path, unique, VERSIONS)
    told = run_promoters(place, PROMOTERS, VERSIONS, 1, plant="no compare-and-set")
    with pytest.raises(AssertionError):
        check_told(place, told, 0)
