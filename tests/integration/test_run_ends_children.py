"""How runs end where exit handlers do not run, or the store is gone: child processes and servers that died."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from journaling import Nursery, Place, Plain, completed

from holdfast import open_project
from holdfast.server import ServerOptions
from holdfast.testing import LocalMlflowServer
from holdfast.testing.fixtures import RunningMlflow

CHILDREN = """
import multiprocessing, os, sys, time
from holdfast import MLflowTracker

def work(ending, ready):
    tracker = MLflowTracker(experiment_name=os.environ["EXPERIMENT"])
    tracker.start_run(ending)
    ready.set()
    if ending == "by an exception":
        raise ValueError("boom")
    if ending == "by sys.exit(3)":
        sys.exit(3)
    if ending == "by terminate()":
        time.sleep(240)
    tracker.log_metrics({"x": 1})

if __name__ == "__main__":
    context = multiprocessing.get_context(os.environ["METHOD"])
    tracker = MLflowTracker(experiment_name=os.environ["EXPERIMENT"])
    tracker.start_run("parent")
    begun = []
    for ending in os.environ["ENDINGS"].split(","):
        begun.append((context.Event(), ending))
        child = context.Process(target=work, args=begun[-1][::-1])
        child.start()
        begun[-1] += (child,)
    for ready, ending, child in begun:
        assert ready.wait(120)
        if ending == "by terminate()":
            child.terminate()
    for _, _, child in begun:
        child.join(120)
    assert tracker.get_run_info()["status"] == "RUNNING"
    print([child.exitcode for _, _, child in begun])
"""

ENDINGS = {
    "normally": "FINISHED",
    "by an exception": "FAILED",
    "by sys.exit(3)": "FAILED",
    "by terminate()": "KILLED",
}


@pytest.fixture
def place(mlflow_server: RunningMlflow, tmp_path: Path, unique: str) -> Plain:
    """Where the processes of a test log to."""
    return Plain(mlflow_server.url, tmp_path / "place", {"EXPERIMENT": unique})


def statuses(place: Place) -> dict[str, str]:
    project = open_project(tracking_uri=place.uri, experiment_name=place.environ["EXPERIMENT"])
    return {run.name: run.status for run in project.runs.search_runs([project.experiment().experiment_id])}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_runs_of_child_processes(method: str, nursery: Nursery, place: Plain) -> None:
    place = replace(place, environ={**place.environ, "METHOD": method, "ENDINGS": ",".join(ENDINGS)})
    if method == "fork":
        child = nursery.start(place, CHILDREN)
        assert child.ends(240) == 0, child.output
    else:
        completed(place, CHILDREN, limit_s=240)
    assert statuses(place) == {"parent": "FINISHED", **ENDINGS}


def test_a_fork_inside_a_block_never_ends_its_parents_run(nursery: Nursery, place: Plain) -> None:
    code = """
    import os, sys
    from holdfast import MLflowTracker
    tracker = MLflowTracker(experiment_name=os.environ["EXPERIMENT"])
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
    child = nursery.start(place, code)
    assert child.ends(120) == 0, child.output
    assert statuses(place) == {"parent": "FINISHED", "child": "FINISHED"}


DEAD_SERVER = {
    "without a block": ('tracker.start_run("left")\nready()', 0),
    "in a block": ('with tracker.run("left"):\n    ready()\n    raise ValueError("boom")', 1),
}


def test_a_server_that_died_does_not_hold_up_the_exit(nursery: Nursery, sqlite_uri: str, tmp_path: Path) -> None:
    head = """
    import os, time
    from holdfast import MLflowTracker
    tracker = MLflowTracker(experiment_name="ends")
    def ready():
        say("run", tracker.run_id)
        while not os.path.exists("go"):
            time.sleep(0.02)
    """
    with LocalMlflowServer(ServerOptions(sqlite_uri, port=0)) as server:
        children = {
            where: nursery.start(Plain(server.url, tmp_path / where), textwrap.dedent(head) + body)
            for where, (body, _) in DEAD_SERVER.items()
        }
        ids = {where: child.hears("run", 120) for where, child in children.items()}
        server.kill()
        for child in children.values():
            (child.place.folder / "go").touch()
        codes = {where: child.ends(120) for where, child in children.items()}
    assert codes == {where: code for where, (_, code) in DEAD_SERVER.items()}
    for where, child in children.items():
        lines = [line for line in child.output.splitlines() if "not delivered in full" in line]
        assert len(lines) == 1, child.output
        assert ids[where] in lines[0]
        assert "connection refused" in lines[0]
        assert "holdfast sync" in lines[0]
