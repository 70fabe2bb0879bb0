"""Whose an open run is: threads, several trackers, plain MLflow and nested blocks, on every kind of store."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest

from holdfast import MLflowTracker
from holdfast.backend import fluent
from holdfast.errors import BackendError, HoldfastError, RunStateError
from holdfast.lifecycle import run_guard

# Whose a run is, this process knows; what its store needs differs between a database and a server.
pytestmark = pytest.mark.backends("sqlite", "http")


@pytest.fixture
def tracker(tracking_uri: str, unique: str, tmp_path: Path) -> MLflowTracker:
    root = None if tracking_uri.startswith("http") else str(tmp_path / "artifacts")
    return MLflowTracker(tracking_uri=tracking_uri, experiment_name=unique, artifact_uri=root)


@pytest.fixture
def other(sqlite_template: Path, unique: str, tmp_path: Path) -> MLflowTracker:
    """A tracker on another store; made while no run is open."""
    return make_other(sqlite_template, unique, tmp_path)


def make_other(template: Path, unique: str, tmp_path: Path) -> MLflowTracker:
    uri = f"sqlite:///{shutil.copyfile(template, tmp_path / 'other.db')}"
    return MLflowTracker(tracking_uri=uri, experiment_name=unique, artifact_uri=str(tmp_path / "other"))


def status(tracker: MLflowTracker, run_id: str) -> str:
    return str(tracker.get_run_info(run_id)["status"])


def in_thread(function: Callable[[], object]) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(timeout=120)


# -- deleted runs ---------------------------------------------------------------------


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log without the journal, which does not ask the server whether a run is still there."""
    monkeypatch.setenv("HOLDFAST_DELIVERY", "direct")


@pytest.mark.usefixtures("direct")
def test_a_deleted_run_is_let_go_of(tracker: MLflowTracker) -> None:
    run_id = tracker.start_run("deleted")
    tracker._project.connection.client.delete_run(run_id)
    with pytest.raises(HoldfastError, match=run_id):
        tracker.log_metrics({"x": 1})
    with pytest.raises(BackendError, match=f"{run_id} was deleted"):
        tracker.end_run()
    assert (tracker.run_id, mlflow.active_run(), run_guard().watched()) == (None, None, [])
    with tracker.run("next") as following:
        tracker.log_metrics({"x": 1})
    assert status(tracker, following) == "FINISHED"


@pytest.mark.usefixtures("direct")
def test_a_deleted_run_does_not_keep_those_around_it_from_ending(tracker: MLflowTracker) -> None:
    tracker.__enter__()
    outer = tracker.start_run("outer")
    inner = tracker.start_run("inner", nested=True)
    plain = mlflow.start_run(nested=True).info.run_id
    tracker._project.connection.client.delete_run(inner)
    with pytest.raises(BackendError, match="was deleted"):
        tracker.__exit__(None, None, None)
    assert (status(tracker, outer), status(tracker, plain)) == ("FINISHED", "FINISHED")
    assert mlflow.active_run() is None


# -- two trackers ---------------------------------------------------------------------


def test_making_a_tracker_leaves_the_open_run_of_another_alone(
    tracker: MLflowTracker, sqlite_template: Path, unique: str, tmp_path: Path
) -> None:
    with tracker.run("a") as a:
        second = make_other(sqlite_template, unique, tmp_path)
        mlflow.log_metric("x", 1.0)
        with second.run("b") as b:
            mlflow.log_metric("x", 2.0)
        mlflow.log_metric("y", 3.0)
    assert tracker.get_run_info(a)["metrics"] == {"x": 1.0, "y": 3.0}
    assert second.get_run_info(b)["metrics"] == {"x": 2.0}


def test_two_trackers_end_their_runs_in_any_order(tracker: MLflowTracker, other: MLflowTracker) -> None:
    a, b = tracker.start_run("a"), other.start_run("b")
    plain = mlflow.start_run(nested=True).info.run_id
    tracker.end_run("FAILED")
    assert (status(tracker, a), status(other, b), status(other, plain)) == ("FAILED", "RUNNING", "RUNNING")
    mlflow.log_metric("x", 1.0)
    other.end_run()
    assert (status(other, b), status(other, plain)) == ("FINISHED", "FINISHED")
    assert other.get_run_info(plain)["metrics"] == {"x": 1.0}
    assert mlflow.active_run() is None


def test_a_parent_is_never_of_another_store(tracker: MLflowTracker, other: MLflowTracker) -> None:
    with tracker.run("a"), other.run("b", nested=True) as b:
        pass
    assert "mlflow.parentRunId" not in other.get_run_info(b)["tags"]


def test_a_plain_run_keeps_another_from_starting(tracker: MLflowTracker) -> None:
    with mlflow.start_run() as plain:
        with pytest.raises(RunStateError, match=plain.info.run_id):
            tracker.start_run()
        with tracker.run(nested=True) as nested:
            pass
    assert tracker.get_run_info(nested)["tags"]["mlflow.parentRunId"] == plain.info.run_id


def test_plain_runs_go_to_the_trackers_experiment(tracker: MLflowTracker, other: MLflowTracker) -> None:
    for one in (tracker, other):
        with one.run():
            inner = mlflow.start_run(nested=True)
            assert inner.info.experiment_id == one.experiment_id
    again = MLflowTracker(settings=tracker.settings)
    with mlflow.start_run() as run:
        assert run.info.experiment_id == again.experiment_id
    assert status(again, run.info.run_id) == "FINISHED"


# -- threads --------------------------------------------------------------------------


def test_threads_log_to_their_own_runs(tracker: MLflowTracker) -> None:
    together = threading.Barrier(3, timeout=120)

    def train(number: int) -> str:
        with tracker.run(f"run {number}") as run_id:
            together.wait()
            tracker.log_metrics({"x": number})
            mlflow.log_metric("y", number)
            together.wait()
            assert tracker.run_id == run_id
        return run_id

    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(train, range(3)))
    for number, run_id in enumerate(runs):
        info = tracker.get_run_info(run_id)
        assert (info["metrics"], info["status"]) == ({"x": number, "y": number}, "FINISHED")
    assert run_guard().watched() == []


def test_a_thread_without_a_run_logs_to_the_only_one(tracker: MLflowTracker) -> None:
    with tracker.run("main") as run_id:
        in_thread(lambda: tracker.log_metrics({"x": 1}))
        assert in_thread(lambda: tracker.run_id) == run_id
        with tracker.run("nested", nested=True):
            assert in_thread(lambda: tracker.run_id) is None
            with pytest.raises(RunStateError, match="2 are open in others"):
                in_thread(lambda: tracker.log_metrics({"x": 2}))
            with pytest.raises(RunStateError, match="2 are open in others"):
                in_thread(tracker.end_run)
    assert tracker.get_run_info(run_id)["metrics"] == {"x": 1.0}


def test_threads_nest_their_runs_in_the_main_one(tracker: MLflowTracker) -> None:
    together = threading.Barrier(2, timeout=120)

    def search(number: int) -> str:
        with tracker.run(f"trial {number}", nested=True) as run_id:
            together.wait()
        return run_id

    with tracker.run("search") as parent, ThreadPoolExecutor(2) as pool:
        first = pool.submit(search, 1)
        second = pool.submit(search, 2)
        children = [first.result(timeout=120), second.result(timeout=120)]
    assert [tracker.get_run_info(run_id)["tags"]["mlflow.parentRunId"] for run_id in children] == [parent, parent]


def test_a_run_ended_by_another_thread_is_out_of_the_way(tracker: MLflowTracker) -> None:
    first = tracker.start_run("first")
    in_thread(tracker.end_run)
    assert (status(tracker, first), tracker.run_id, mlflow.active_run()) == ("FINISHED", None, None)
    with tracker.run("second") as second:
        tracker.log_metrics({"x": 1})
    assert status(tracker, second) == "FINISHED"


def test_a_block_leaves_the_runs_of_other_threads_open(tracker: MLflowTracker) -> None:
    with ThreadPoolExecutor(1) as pool:
        theirs = str(pool.submit(tracker.start_run, "theirs").result(timeout=120))
        with tracker, tracker.run("mine") as mine:
            pass
        assert (status(tracker, mine), status(tracker, theirs)) == ("FINISHED", "RUNNING")
        pool.submit(tracker.end_run).result(timeout=120)
    assert status(tracker, theirs) == "FINISHED"


# -- blocks, and runs that MLflow ends ------------------------------------------------


def test_an_inner_block_leaves_the_outer_ones_run_open(tracker: MLflowTracker) -> None:
    with tracker:
        outer = tracker.start_run("outer")
        with tracker:
            inner = tracker.start_run("inner", nested=True)
        assert (status(tracker, inner), tracker.run_id) == ("FINISHED", outer)
        tracker.__enter__()
        failed = tracker.start_run("failed", nested=True)
        tracker.__exit__(ValueError, ValueError("boom"), None)
        assert (status(tracker, failed), status(tracker, outer)) == ("FAILED", "RUNNING")
    assert status(tracker, outer) == "FINISHED"


def test_a_run_that_mlflow_ended_keeps_its_status(tracker: MLflowTracker, capfd: pytest.CaptureFixture[str]) -> None:
    run_id = tracker.start_run("killed")
    mlflow.end_run("KILLED")
    assert tracker.run_id is None
    in_thread(tracker.end_run)
    tracker.end_run()
    assert (status(tracker, run_id), run_guard().watched()) == ("KILLED", [])
    with tracker.run("killed in a block") as run_id:
        mlflow.end_run("KILLED")
    assert status(tracker, run_id) == "KILLED"
    tracker.start_run("and again")
    mlflow.end_run("KILLED")
    with tracker.run("the next"):
        pass


def test_ending_a_run_that_mlflow_ended_spares_the_one_around_it(tracker: MLflowTracker) -> None:
    outer = tracker.start_run("outer")
    tracker.start_run("inner", nested=True)
    mlflow.end_run("KILLED")
    tracker.end_run()
    assert (status(tracker, outer), tracker.run_id) == ("RUNNING", outer)
    tracker.end_run()
    assert status(tracker, outer) == "FINISHED"


def test_dead_threads_are_no_obstacle(tracker: MLflowTracker, other: MLflowTracker) -> None:
    run_id = str(in_thread(lambda: tracker.start_run("left open")))
    assert not fluent.is_any_run_active()
    with tracker.run("mine") as mine:
        assert tracker.run_id == mine
    tracker.end_run()
    assert status(tracker, run_id) == "FINISHED"
