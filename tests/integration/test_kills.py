"""Processes that are killed while they log: what was acknowledged arrives, once, and the run is ended."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from journaling import Child, Nursery, Place, Stored, completed, until

from holdfast.delivery.progress import read_progress
from holdfast.journal.layout import JournalPaths
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow

pytestmark = pytest.mark.timeout(240)
TRIALS = 200 if os.environ.get("HOLDFAST_LONG_TESTS") == "1" else 12
AT_ONCE = 6

LOGS = {
    "mlflow": """
        import mlflow, os, sys
        mlflow.set_experiment(os.environ["EXPERIMENT"])
        run = mlflow.start_run()
        say("run", run.info.run_id)
        step = 0
        while step < {count}:
            mlflow.log_metric("a", step, step=step)
            step += 1
            ack(step)
            {each}
        {end}
        """,
    "tracker": """
        import os, sys
        from holdfast import MLflowTracker
        tracker = MLflowTracker(experiment_name=os.environ["EXPERIMENT"])
        say("run", tracker.start_run())
        step = 0
        while step < {count}:
            tracker.log_metrics({{"a": step, "b": -step}}, step)
            step += 1
            ack(step)
            {each}
        {end}
        """,
}
FOR_EVER = 1 << 40
# As fast as a real loop that does some work: the server of the test takes about as much.
SLOWLY = "__import__('time').sleep(0.002)"


@pytest.fixture
def place(mlflow_server: RunningMlflow, tmp_path: Path, unique: str) -> Place:
    """A journal of this test."""
    return Place(mlflow_server.url, tmp_path / "place", {"EXPERIMENT": unique, "HOLDFAST_EXIT_WAIT": "60"})


@pytest.fixture
def stored(mlflow_server: RunningMlflow) -> Stored:
    """What the server has."""
    return Stored(mlflow_server.url)


def program(kind: str, count: int = FOR_EVER, end: str = "pass", each: str = "pass") -> str:
    """Return a program that logs."""
    return LOGS[kind].format(count=count, end=end, each=each)


def check_all_arrived(stored: Stored, child: Child, kind: str, allowed: int = 1) -> None:
    """Check that the run holds what was acknowledged, once, and at most the call that was interrupted."""
    run_id, acknowledged = child.said["run"], child.acknowledged
    for key, sign in {"a": 1, "b": -1}.items() if kind == "tracker" else [("a", 1)]:
        values = stored.values(run_id, key)
        assert acknowledged <= len(values) <= acknowledged + allowed, child.place.tell()
        assert values == [sign * step for step in range(len(values))]
    assert child.place.asides() == ""


# -- SIGKILL at random times ----------------------------------------------------------


@pytest.mark.timeout(120 + 8 * TRIALS)
@pytest.mark.parametrize("kind", LOGS)
def test_killed_at_any_time(kind: str, nursery: Nursery, place: Place, stored: Stored) -> None:
    dice = random.Random(20261121)  # noqa: S311
    left = TRIALS // 2
    while left > 0:
        batch = [
            nursery.start(Place(place.uri, place.folder / str(left - i), place.environ), program(kind))
            for i in range(min(AT_ONCE, left))
        ]
        left -= len(batch)
        for child in batch:
            child.has_acknowledged(1)
            time.sleep(dice.uniform(0.0, 0.05))  # the time of the kill is what is tried here
            child.signal(signal.SIGKILL)
            assert child.ends() == -signal.SIGKILL
        for child in batch:
            found = stored.ends(child.said["run"], place=child.place)
            assert (found.status, found.tags["holdfast.endedBy"]) == ("FAILED", "holdfast shipper")
            assert found.end_time_ms is not None
            check_all_arrived(stored, child, kind)
    until(lambda: not any(folder.is_dir() and Place(place.uri, folder).shippers() for folder in place.folder.iterdir()))


def test_killed_with_params_tags_and_children(nursery: Nursery, place: Place, stored: Stored) -> None:
    child = nursery.start(
        place,
        """
        import mlflow, os
        mlflow.set_experiment(os.environ["EXPERIMENT"])
        outer = mlflow.start_run(run_name="outer")
        inner = mlflow.start_run(run_name="inner", nested=True)
        say("run", [outer.info.run_id, inner.info.run_id])
        for step in range(200):
            mlflow.log_metrics({"a": step, "b": step}, step=step)
            mlflow.log_param(f"p{step}", step)
            mlflow.set_tag("last", step)
            ack(step + 1)
        os.kill(os.getpid(), 9)
        """,
    )
    assert child.ends() == -signal.SIGKILL
    outer, inner = [stored.ends(run_id, place=place) for run_id in child.said["run"]]
    assert (outer.status, inner.status) == ("FAILED", "FAILED")
    assert inner.params == {f"p{step}": str(step) for step in range(200)}
    assert (inner.tags["last"], inner.tags["mlflow.parentRunId"]) == ("199", outer.run_id)
    assert stored.values(inner.run_id, "b") == list(range(200))


# -- other ends -----------------------------------------------------------------------

ENDS = {
    "os._exit(1)": ("os._exit(1)", 1, "FAILED", True),
    "an exception": ("raise ValueError('boom')", 1, "FAILED", False),
    "sys.exit(0)": ("sys.exit(0)", 0, "FINISHED", False),
    # Python shows an exit code to no handler: as in MLflow, it counts in a block only.
    "sys.exit(3)": ("sys.exit(3)", 3, "FINISHED", False),
    "the end": ("pass", 0, "FINISHED", False),
    "SIGTERM": ("os.kill(os.getpid(), 15)", 143, "KILLED", False),
    "SIGINT": ("os.kill(os.getpid(), 2)", -signal.SIGINT, "KILLED", False),
    "a fault in C": ("__import__('faulthandler')._sigsegv()", -signal.SIGSEGV, "FAILED", True),
}


@pytest.mark.parametrize("kind", LOGS)
@pytest.mark.parametrize("way", ENDS)
def test_ends(way: str, kind: str, nursery: Nursery, place: Place, stored: Stored) -> None:
    end, code, status, by_shipper = ENDS[way]
    child = nursery.start(place, program(kind, count=300, end=end))
    assert child.ends() == code, child.place.tell()
    found = stored.ends(child.said["run"], place=place)
    assert found.status == status
    assert ("holdfast.endedBy" in found.tags) == by_shipper
    check_all_arrived(stored, child, kind)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, "KILLED"), (signal.SIGINT, "KILLED")], ids=["SIGTERM", "SIGINT"]
)
@pytest.mark.parametrize("kind", LOGS)
def test_signals_at_full_speed(
    kind: str, number: int, status: str, nursery: Nursery, place: Place, stored: Stored
) -> None:
    child = nursery.start(place, program(kind))
    child.has_acknowledged(200)
    child.signal(number)
    child.ends()
    assert stored.ends(child.said["run"], place=place).status == status
    check_all_arrived(stored, child, kind)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, "KILLED"), (signal.SIGINT, "KILLED")])
def test_signals_inside_a_block(number: int, status: str, nursery: Nursery, place: Place, stored: Stored) -> None:
    child = nursery.start(
        place,
        f"""
        import mlflow, os, time
        mlflow.set_experiment(os.environ["EXPERIMENT"])
        with mlflow.start_run() as run:
            say("run", run.info.run_id)
            mlflow.log_metric("a", 0, step=0)
            ack(1)
            os.kill(os.getpid(), {int(number)})
            time.sleep(60)
        """,
    )
    child.ends()
    assert stored.ends(child.said["run"], place=place).status == status
    check_all_arrived(stored, child, "mlflow")


# -- the shipper ----------------------------------------------------------------------


@pytest.mark.parametrize("by", ["the next process that logs", "a shipper by hand"])
def test_the_whole_tree_killed(by: str, nursery: Nursery, place: Place, stored: Stored) -> None:
    child = nursery.start(place, program("mlflow"))
    child.has_acknowledged(2000)
    place.kill_shippers()
    child.signal(signal.SIGKILL)
    child.ends()
    until(lambda: not place.shippers())
    assert stored.run(child.said["run"]).status == "RUNNING"
    if by == "a shipper by hand":
        assert place.start_shipper().wait(60) == 0
    else:
        environ = {**place.environ, "HOLDFAST_JOURNAL": str(place.folder / "journal")}
        other = Place(place.uri, place.folder / "next", environ)
        assert nursery.start(other, program("tracker", count=5)).ends() == 0
    assert stored.ends(child.said["run"], place=place).status == "FAILED"
    check_all_arrived(stored, child, "mlflow")


def test_shippers_killed_again_and_again(nursery: Nursery, place: Place, stored: Stored) -> None:
    dice = random.Random(7)  # noqa: S311
    child = nursery.start(place, program("tracker", count=12_000, end="tracker.end_run(); say('logged', True)"))
    child.hears("run")
    killed = 0
    deadline = time.monotonic() + 60
    while killed < 12 and time.monotonic() < deadline and child.code is None:
        until(lambda: place.shippers() or child.code is not None)
        time.sleep(dice.uniform(0.0, 0.5))
        killed += place.kill_shippers()
        place.start_shipper()
    assert child.ends(90) == 0
    assert killed >= 3
    assert stored.ends(child.said["run"], place=place).status == "FINISHED"
    check_all_arrived(stored, child, "tracker", allowed=0)


def test_a_killed_shipper_is_replaced_while_its_process_goes_on(nursery: Nursery, place: Place, stored: Stored) -> None:
    """A training that runs for days on one run must not be without a shipper until it ends."""
    child = nursery.start(place, program("mlflow", each=SLOWLY))
    child.has_acknowledged(10)
    run_id = child.said["run"]
    until(lambda: stored.values(run_id, "a"), saying=place.tell)
    assert place.kill_shippers() == 1
    until(lambda: not place.shippers())
    logged = child.acknowledged
    until(lambda: len(stored.values(run_id, "a")) > logged, 60, lambda: f"nobody delivers any more {place.shippers()}")
    child.signal(signal.SIGKILL)


def test_one_of_two_shippers_leaves(nursery: Nursery, place: Place, stored: Stored) -> None:
    child = nursery.start(place, program("mlflow", each=SLOWLY))
    child.has_acknowledged(10)
    first = until(place.shippers)
    progress = until(lambda: read_progress(JournalPaths(place.root).shipper_state))
    assert [progress.pid] == first
    assert place.start_shipper().wait(60) == 0, "the second one has nothing to do"
    assert place.shippers() == first
    child.signal(signal.SIGTERM)
    child.ends()
    assert stored.ends(child.said["run"], place=place).status == "KILLED"
    until(lambda: not place.shippers(), saying=place.tell)


def test_a_slow_process_is_not_ended(nursery: Nursery, place: Place, stored: Stored) -> None:
    child = nursery.start(place, program("mlflow", count=1000, each=SLOWLY))
    acknowledged = child.has_acknowledged(20)
    child.signal(signal.SIGSTOP)
    run_id = child.said["run"]
    until(lambda: len(stored.values(run_id, "a")) >= acknowledged)
    stopped_s = time.monotonic()
    while time.monotonic() - stopped_s < 4.0:
        assert stored.run(run_id).status == "RUNNING"
        time.sleep(0.1)
    child.signal(signal.SIGCONT)
    assert child.ends() == 0
    found = stored.ends(run_id, place=place)
    assert (found.status, found.tags.get("holdfast.endedBy")) == ("FINISHED", None)
    check_all_arrived(stored, child, "mlflow", allowed=0)


def test_killed_while_its_process_waits_at_the_end(
    nursery: Nursery, mlflow_server: RunningMlflow, place: Place, stored: Stored
) -> None:
    """The server hangs, the process is at its end: killed there, it had ended its run, which is what counts."""
    with FaultProxy(mlflow_server.url) as proxy:
        slow = Place(proxy.url, place.folder, place.environ)
        child = nursery.start(slow, program("mlflow", count=50, each="", end="mlflow.end_run(); say('ended', True)"))
        child.hears("run")
        proxy.refuse()
        child.hears("ended")
        child.signal(signal.SIGKILL)
        child.ends()
        proxy.pass_on()
        found = stored.ends(child.said["run"], place=slow)
        assert (found.status, found.tags.get("holdfast.endedBy")) == ("FINISHED", None)
        check_all_arrived(stored, child, "mlflow", allowed=0)


def test_a_process_that_ends_in_the_middle_of_importing(place: Place, stored: Stored) -> None:
    """A real process, from its start to its end: the one that needs no nursery."""
    output, _ = completed(
        place,
        """
        import mlflow, os
        mlflow.set_experiment(os.environ["EXPERIMENT"])
        with mlflow.start_run() as run:
            for step in range(100):
                mlflow.log_metric("a", step, step=step)
        print("run", run.info.run_id)
        """,
    )
    run_id = next(line.split()[1] for line in output.splitlines() if line.startswith("run "))
    assert stored.run(run_id).status == "FINISHED"
    assert stored.values(run_id, "a") == list(range(100))
