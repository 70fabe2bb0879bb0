"""A promotion that is killed at any of its calls is finished or undone by the next call."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from promoting import Place, begin, check, finished_by_the_next_call, promote_and_die, server

from holdfast.core.stages import Stage
from holdfast.registry.changes.moving import Mover

# Behind "http" is PostgreSQL.
STORES = ["sqlite", "postgresql", "http"] if os.environ.get("HOLDFAST_LONG_TESTS") else ["sqlite", "http"]


@pytest.fixture
def place(tracking_uri: str, unique: str, tmp_path: Path) -> Place:
    return begin(tracking_uri, tmp_path, unique, 2)


@pytest.mark.parametrize("tracking_uri", STORES, indirect=True)
def test_killed_before_each_call(place: Place) -> None:
    """Each child dies one call later than the one before it; the last one comes to its end."""
    steps = range(100) if not place.uri.startswith("http") else range(0, 100, 2)
    present, finished, undone = 1, 0, 0
    for at in steps:
        number = 3 - present
        child = server().Process(target=promote_and_die, args=(place, number, at), daemon=True)
        child.start()
        child.join()
        assert child.exitcode in (0, -signal.SIGKILL)
        if child.exitcode:
            finished_by_the_next_call(place)
        events = check(place)
        holder = Mover(place.registry()._project).peek(place.name).ledger.holder(Stage.PRODUCTION)
        assert holder in (present, number)
        assert events[-1].version == holder
        if not child.exitcode:
            assert holder == number
            break
        finished, undone = finished + (holder == number), undone + (holder == present)
        present = holder or 0
    assert finished >= 3
    assert undone >= 2
