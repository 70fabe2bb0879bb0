"""How runs end when the process does, seen from outside: real processes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from holdfast import open_project

HEAD = """
import os, signal, sys, time
from holdfast import MLflowTracker
tracker = MLflowTracker(experiment_name="ends")
def ready():
    print("ready", flush=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.05)
"""


def start(body: str, uri: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    code = HEAD + textwrap.dedent(body)
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def statuses(uri: str) -> list[str]:
    project = open_project(tracking_uri=uri, experiment_name="ends")
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
def test_endings(ending: str, sqlite_uri: str) -> None:
    body, code, status = ENDINGS[ending]
    process = start(body, sqlite_uri)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert statuses(sqlite_uri) == [status], errors


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
def test_signals(case: str, sqlite_uri: str) -> None:
    body, number, code = SIGNALS[case]
    process = start(body, sqlite_uri)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert statuses(sqlite_uri) == ["KILLED"], errors


def test_hooks_are_gone_once_no_run_is_open(sqlite_uri: str, tmp_path: Path) -> None:
    body = """
    before = (sys.excepthook, signal.getsignal(signal.SIGTERM))
    with tracker.run():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert (sys.excepthook, signal.getsignal(signal.SIGTERM)) == before
    """
    process = start(body, sqlite_uri)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def test_an_error_of_the_store_does_not_hide_the_users(sqlite_uri: str) -> None:
    body = """
    with tracker.run():
        tracker._project.runs._connection.tracking_uri = "x"
        def broken(*_):
            from holdfast.errors import BackendError
            raise BackendError("the store is gone")
        tracker._project.runs.end_run = broken
        raise ValueError("the user's own")
    """
    process = start(body, sqlite_uri)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    *_, error, last = errors.splitlines()
    assert error == "ValueError: the user's own"
    assert "stay RUNNING" in last
    assert "the store is gone" in last


def test_the_process_dies_of_sigterm_at_once_where_no_run_is_open(sqlite_uri: str) -> None:
    process = start("ready()", sqlite_uri)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    started = time.monotonic()
    process.terminate()
    assert process.wait(timeout=60) == -signal.SIGTERM
    assert time.monotonic() - started < 30
