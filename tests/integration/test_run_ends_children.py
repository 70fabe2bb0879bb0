"""How runs end where exit handlers do not run, or the store is gone: child processes and servers that died."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from holdfast import open_project
from holdfast.server import ServerOptions
from holdfast.testing import LocalMlflowServer

CHILD = """
import multiprocessing, os, sys, time
from holdfast import MLflowTracker

def work(ready):
    tracker = MLflowTracker(experiment_name="ends")
    tracker.start_run("child")
    ready.set()
    {body}

if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    tracker = MLflowTracker(experiment_name="ends")
    tracker.start_run("parent")
    ready = context.Event()
    child = context.Process(target=work, args=(ready,))
    child.start()
    assert ready.wait(60)
    if {terminate}:
        child.terminate()
    child.join(60)
    assert tracker.get_run_info()["status"] == "RUNNING"
    print(child.exitcode)
"""

CHILD_ENDINGS = {
    "normally": ("tracker.log_metrics({'x': 1})", False, "FINISHED"),
    "by an exception": ("raise ValueError('boom')", False, "FAILED"),
    "by sys.exit(3)": ("sys.exit(3)", False, "FAILED"),
    "by terminate()": ("time.sleep(60)", True, "KILLED"),
}


def run_script(code: str, uri: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(textwrap.dedent(code))
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    return subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def statuses(uri: str) -> dict[str, str]:
    project = open_project(tracking_uri=uri, experiment_name="ends")
    return {run.name: run.status for run in project.runs.search_runs([project.experiment().experiment_id])}


@pytest.mark.parametrize("ending", CHILD_ENDINGS)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_runs_of_child_processes(method: str, ending: str, sqlite_uri: str, tmp_path: Path) -> None:
    body, terminate, status = CHILD_ENDINGS[ending]
    done = run_script(CHILD.format(method=method, body=body, terminate=terminate), sqlite_uri, tmp_path)
    assert done.returncode == 0, done.stderr
    assert statuses(sqlite_uri) == {"parent": "FINISHED", "child": status}, done.stderr


def test_a_fork_inside_a_block_never_ends_its_parents_run(sqlite_uri: str, tmp_path: Path) -> None:
    code = """
    import os, sys
    from holdfast import MLflowTracker
    tracker = MLflowTracker(experiment_name="ends")
    with tracker, tracker.run("parent") as run_id:
        child = os.fork()
        if child == 0:
            tracker.log_metrics({"from the child": 1})
            tracker.end_run()
            with tracker.run("child"):
                pass
            sys.exit(5)
        os.waitpid(child, 0)
        info = tracker.get_run_info()
        assert info["status"] == "RUNNING"
        assert info["metrics"] == {"from the child": 1.0}
    """
    done = run_script(code, sqlite_uri, tmp_path)
    assert done.returncode == 0, done.stderr
    assert statuses(sqlite_uri) == {"parent": "FINISHED", "child": "FINISHED"}


DEAD_SERVER = {
    "without a block": 'tracker.start_run("left")\nready()',
    "in a block": 'with tracker.run("left"):\n    ready()\n    raise ValueError("boom")',
}


@pytest.mark.parametrize("where", DEAD_SERVER)
def test_a_server_that_died_does_not_hold_up_the_exit(where: str, sqlite_uri: str) -> None:
    head = """
    import sys
    from holdfast import MLflowTracker
    tracker = MLflowTracker(experiment_name="ends")
    def ready():
        print(tracker.run_id, flush=True)
        sys.stdin.readline()
    """
    with LocalMlflowServer(ServerOptions(sqlite_uri, port=0)) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(head) + DEAD_SERVER[where]],
            env={**os.environ, "MLFLOW_TRACKING_URI": server.url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        server.kill()
        started = time.monotonic()
        _, errors = process.communicate("\n", timeout=120)
        assert time.monotonic() - started < 30
    lines = [line for line in errors.splitlines() if "not delivered in full" in line]
    assert len(lines) == 1, errors
    assert run_id in lines[0]
    assert "connection refused" in lines[0]
    assert "holdfast sync" in lines[0]
    assert process.returncode == (1 if where == "in a block" else 0)
