"""How runs end when the process does, seen from outside: real processes, real signals."""

from __future__ import annotations

import signal
import textwrap
from pathlib import Path

import pytest
from journaling import Child, Nursery, Plain

from holdfast import open_project
from holdfast.testing.fixtures import RunningMlflow

HEAD = """
import os, signal, sys, time
from holdfast import MLflowTracker
tracker = MLflowTracker(experiment_name=os.environ["EXPERIMENT"])
def ready():
    say("ready", True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.05)
"""


@pytest.fixture
def place(mlflow_server: RunningMlflow, tmp_path: Path, unique: str) -> Plain:
    """Where the process of a test logs to."""
    return Plain(mlflow_server.url, tmp_path / "place", {"EXPERIMENT": unique})


def start(nursery: Nursery, place: Plain, body: str) -> Child:
    return nursery.start(place, HEAD + textwrap.dedent(body))


def statuses(place: Plain) -> list[str]:
    project = open_project(tracking_uri=place.uri, experiment_name=place.environ["EXPERIMENT"])
    return [run.status for run in project.runs.search_runs([project.experiment().experiment_id])]


ENDINGS = {
    "normal block": ("with tracker: tracker.log_metrics({'x': 1})", 0, "FINISHED"),
    "exception in block": ("with tracker.run():\n    raise ValueError('boom')", 1, "FAILED"),
    "sys.exit(0) in block": ("with tracker.run():\n    sys.exit(0)", 0, "FINISHED"),
    "sys.exit(3) in block": ("with tracker.run():\n    sys.exit(3)", 3, "FAILED"),
    "exception without block": ("tracker.start_run()\nraise ValueError('boom')", 1, "FAILED"),
    "end without block": ("tracker.start_run()\ntracker.log_metrics({'x': 1})", 0, "FINISHED"),
    "Ctrl-C raised without block": ("tracker.start_run()\nraise KeyboardInterrupt", -signal.SIGINT, "KILLED"),
    "fork that exits": (
        "tracker.start_run()\npid = os.fork()\nif pid == 0:\n    sys.exit(5)\nos.waitpid(pid, 0)\n"
        "assert tracker.get_run_info()['status'] == 'RUNNING'",
        0,
        "FINISHED",
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_endings(ending: str, nursery: Nursery, place: Plain) -> None:
    body, code, status = ENDINGS[ending]
    child = start(nursery, place, body)
    assert child.ends(120) == code, child.output
    assert statuses(place) == [status], child.output


SIGNALS = {
    "SIGTERM in block": ("with tracker.run():\n    ready()", signal.SIGTERM, 143),
    "SIGTERM without block": ("tracker.start_run()\nready()", signal.SIGTERM, 143),
    "Ctrl-C in block": ("with tracker.run():\n    ready()", signal.SIGINT, -signal.SIGINT),
    "Ctrl-C without block": ("tracker.start_run()\nready()", signal.SIGINT, -signal.SIGINT),
    "SIGTERM with a handler before": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\ntracker.start_run()\nready()",
        signal.SIGTERM,
        9,
    ),
}


@pytest.mark.parametrize("case", SIGNALS)
def test_signals(case: str, nursery: Nursery, place: Plain) -> None:
    body, number, code = SIGNALS[case]
    child = start(nursery, place, body)
    child.hears("ready", 120)
    child.signal(number)
    assert child.ends(120) == code, child.output
    assert statuses(place) == ["KILLED"], child.output


def test_hooks_are_gone_once_no_run_is_open(nursery: Nursery, place: Plain) -> None:
    body = """
    before = (sys.excepthook, signal.getsignal(signal.SIGTERM))
    with tracker.run():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert (sys.excepthook, signal.getsignal(signal.SIGTERM)) == before
    """
    child = start(nursery, place, body)
    assert child.ends(120) == 0, child.output


def test_an_error_of_the_store_does_not_hide_the_users(nursery: Nursery, place: Plain) -> None:
    body = """
    with tracker.run():
        tracker._project.runs._connection.tracking_uri = "x"
        def broken(*_):
            from holdfast.errors import BackendError
            raise BackendError("the store is gone")
        tracker._project.runs.end_run = broken
        raise ValueError("the user's own")
    """
    child = start(nursery, place, body)
    assert child.ends(120) == 1
    *_, error, last = child.output.splitlines()
    assert error == "ValueError: the user's own"
    assert "stay RUNNING" in last
    assert "the store is gone" in last


def test_the_process_dies_of_sigterm_at_once_where_no_run_is_open(nursery: Nursery, place: Plain) -> None:
    child = start(nursery, place, "ready()")
    child.hears("ready", 120)
    child.signal(signal.SIGTERM)
    assert child.ends() == -signal.SIGTERM, "it went on, until its loop was over"
