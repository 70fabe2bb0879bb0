"""Processes, forks, threads and tasks that log to one run; journals that are full, misplaced, or without a shipper."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from journaling import Child, Nursery, Place, Stored, running, until

from holdfast.journal.locks import FileLock
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow

pytestmark = pytest.mark.timeout(240)
RANKS = 8
STEPS = 100


@pytest.fixture
def place(mlflow_server: RunningMlflow, tmp_path: Path, unique: str) -> Place:
    """A journal of this test."""
    return Place(mlflow_server.url, tmp_path / "place", {"EXPERIMENT": unique, "HOLDFAST_EXIT_WAIT": "60"})


@pytest.fixture
def stored(mlflow_server: RunningMlflow) -> Stored:
    """What the server has."""
    return Stored(mlflow_server.url)


def beside(place: Place, name: str, **environ: str) -> Place:
    """Return the place of another process that uses the same journal."""
    return Place(
        place.uri,
        place.folder / name,
        {**place.environ, "HOLDFAST_JOURNAL": str(place.folder / "journal"), **environ},
    )


# -- several processes ----------------------------------------------------------------


@pytest.mark.parametrize("first", ["on the server", "offline"])
@pytest.mark.parametrize("how", ["client", "start_run"])
def test_eight_processes_log_to_one_run(
    how: str, first: str, nursery: Nursery, proxy: FaultProxy, place: Place, stored: Stored, unique: str
) -> None:
    place = Place(proxy.url, place.folder, place.environ)
    if first == "offline":
        proxy.refuse()
    owner = nursery.start(
        place,
        """
        import mlflow, os, time
        mlflow.set_experiment(os.environ["EXPERIMENT"])
        say("run", mlflow.start_run().info.run_id)
        while not os.path.exists("done"):
            time.sleep(0.01)
        mlflow.log_metric("last", 1)
        """,
    )
    run_id = owner.hears("run")
    work = {
        "client": "log = lambda key, value, step: client.log_metric(run_id, key, value, step=step)",
        "start_run": "mlflow.start_run(run_id=run_id)\n"
        "log = lambda key, value, step: mlflow.log_metric(key, value, step=step)",
    }[how]
    code = f"""
import mlflow, os
run_id, client = {run_id!r}, mlflow.MlflowClient()
mlflow.set_experiment(os.environ["EXPERIMENT"])
{work}
for step in range({STEPS}):
    log(f"rank{{os.environ['RANK']}}", step, step)
    log("common", int(os.environ["RANK"]), step)
    ack(step + 1)
"""
    ranks = [nursery.start(beside(place, str(rank), RANK=str(rank)), code) for rank in range(RANKS)]
    if first == "offline":
        for rank in ranks:
            rank.has_acknowledged(STEPS, 90)
        proxy.pass_on()
    assert [rank.ends(90) for rank in ranks] == [0] * RANKS
    (place.folder / "done").touch()
    assert owner.ends() == 0
    (run,) = stored.runs(unique)
    assert stored.ends(run.run_id, place=place).status == "FINISHED"
    for rank in range(RANKS):
        points = stored.points(run.run_id, f"rank{rank}")
        assert [point.value for point in points] == list(range(STEPS))
        assert [point.timestamp for point in points] == sorted(point.timestamp for point in points)
    assert len(stored.values(run.run_id, "common")) == RANKS * STEPS
    assert stored.values(run.run_id, "last") == [1]
    assert place.asides() == ""


def test_one_of_several_is_killed(nursery: Nursery, place: Place, stored: Stored) -> None:
    """A run that others go on with is not ended because one of them died."""
    owner = nursery.start(
        place,
        """
        import mlflow, os, time
        mlflow.set_experiment(os.environ["EXPERIMENT"])
        say("run", mlflow.start_run().info.run_id)
        mlflow.log_metric("a", 0)
        while not os.path.exists("done"):
            time.sleep(0.01)
        mlflow.log_metric("a", 1, step=1)
        """,
    )
    run_id = owner.hears("run")
    rank = nursery.start(
        beside(place, "rank"),
        f"import mlflow, os\nmlflow.MlflowClient().log_metric({run_id!r}, 'b', 1)\nack(1)\nos.kill(os.getpid(), 9)",
    )
    assert rank.ends() == -9
    until(lambda: stored.values(run_id, "b") == [1], saying=place.tell)
    assert stored.run(run_id).status == "RUNNING"
    (place.folder / "done").touch()
    assert owner.ends() == 0
    assert stored.ends(run_id, place=place).status == "FINISHED"
    assert stored.values(run_id, "a") == [0, 1]


FORKS = """
import mlflow, multiprocessing, os, sys
from mlflow import MlflowClient

def work(rank):
    for step in range(100):
        MlflowClient().log_metric(run_id, f"rank{rank}", step, step=step)
    return os.getpid()

if __name__ == "__main__":
    mlflow.set_experiment(os.environ["EXPERIMENT"])
    run_id = mlflow.start_run().info.run_id
    say("run", run_id)
    for step in range(50):
        mlflow.log_metric("parent", step, step=step)
    FORK
    for step in range(50, 100):
        mlflow.log_metric("parent", step, step=step)
"""
WAYS = {
    "os._exit": "pid = os.fork()\n    if pid == 0:\n        work(0); os._exit(0)\n    os.waitpid(pid, 0)",
    "sys.exit": "pid = os.fork()\n    if pid == 0:\n        work(0); sys.exit(0)\n    os.waitpid(pid, 0)",
    "pool": "pool = multiprocessing.get_context('fork').Pool(3)\n    assert len(set(pool.map(work, range(4), 1)))\n"
    "    pool.close(); pool.join()",
    "pool that is not closed": "pool = multiprocessing.get_context('fork').Pool(3)\n    pool.map(work, range(4), 1)",
    "process that goes on": "multiprocessing.get_context('fork').Process(target=work, args=(0,)).start()",
}


@pytest.mark.parametrize("shipper", ["process", "thread"])
@pytest.mark.parametrize("way", WAYS)
def test_forks(way: str, shipper: str, nursery: Nursery, place: Place, stored: Stored) -> None:
    settings = {"HOLDFAST_SHIPPER": shipper, "HOLDFAST_EXIT_WAIT": "20"}
    place = Place(place.uri, place.folder, {**place.environ, **settings})
    child = nursery.start(place, FORKS.replace("FORK", WAYS[way]))
    assert child.ends(120) == 0, place.tell()
    run_id = child.said["run"]
    found = stored.ends(run_id, place=place)
    assert (found.status, found.tags.get("holdfast.endedBy")) == ("FINISHED", None), child.output
    ranks = 4 if "pool" in way else 1
    for rank in range(ranks):
        until(lambda rank=rank: len(stored.values(run_id, f"rank{rank}")) == 100, saying=place.tell)
        assert stored.values(run_id, f"rank{rank}") == list(range(100))
    assert stored.values(run_id, "parent") == list(range(100))


def test_a_child_that_is_forked_with_the_tracker(nursery: Nursery, place: Place, stored: Stored) -> None:
    child = nursery.start(
        place,
        """
        import os
        from holdfast import MLflowTracker
        with MLflowTracker(experiment_name=os.environ["EXPERIMENT"]) as tracker:
            say("run", tracker.start_run())
            for step in range(50):
                tracker.log_metrics({"parent": step}, step)
            pid = os.fork()
            if pid == 0:
                for step in range(50):
                    tracker.log_metrics({"child": step}, step)
                os._exit(0)
            os.waitpid(pid, 0)
            tracker.log_metrics({"parent": 50}, 50)
        """,
    )
    assert child.ends(120) == 0, place.tell()
    run_id = child.said["run"]
    assert stored.ends(run_id, place=place).status == "FINISHED"
    assert stored.values(run_id, "child") == list(range(50))
    assert stored.values(run_id, "parent") == list(range(51))


def test_a_lock_that_is_held_while_a_child_is_forked_is_free_again(tmp_path: Path) -> None:
    """A data loader that is forked in the middle of a delivery must not keep the run's lock until it ends."""
    lock, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert lock.acquire()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    try:
        lock.release()
        assert other.acquire(5.0), "the child, which delivers nothing, has the lock"
    finally:
        os.close(writer)
        os.waitpid(pid, 0)
        other.release()


# -- several threads and tasks --------------------------------------------------------


def test_threads_and_tasks(nursery: Nursery, place: Place, stored: Stored) -> None:
    child = nursery.start(
        place,
        """
        import asyncio, mlflow, os, threading
        from mlflow import MlflowClient
        mlflow.set_experiment(os.environ["EXPERIMENT"])
        run_id = mlflow.start_run().info.run_id
        say("run", run_id)

        def thread(number):
            for step in range(500):
                MlflowClient().log_metric(run_id, f"thread{number}", step, step=step)
                if step % 50 == 0:
                    MlflowClient().log_param(run_id, f"t{number}.{step}", step)

        async def task(number):
            for step in range(200):
                mlflow.log_metric(f"task{number}", step, step=step)
                await asyncio.sleep(0)

        async def tasks():
            await asyncio.gather(*(task(number) for number in range(8)))

        threads = [threading.Thread(target=thread, args=(number,)) for number in range(8)]
        for each in threads: each.start()
        asyncio.run(tasks())
        for each in threads: each.join()
        """,
    )
    assert child.ends() == 0, place.tell()
    run_id = child.said["run"]
    found = stored.ends(run_id, place=place)
    assert (found.status, len(found.params)) == ("FINISHED", 80)
    for number in range(8):
        assert stored.values(run_id, f"thread{number}") == list(range(500))
        assert stored.values(run_id, f"task{number}") == list(range(200))


# -- no room --------------------------------------------------------------------------

UNTIL_FULL = """
import mlflow, os, time
from holdfast.errors import HoldfastError
mlflow.set_experiment(os.environ["EXPERIMENT"])
run_id = mlflow.start_run().info.run_id
say("run", run_id)
step, full = 0, 0
text = "x" * 2000
while not os.path.exists("enough"):
    try:
        mlflow.log_metric("a", step, step=step)
        step += 1
        ack(step)
        mlflow.set_tag(f"t{step % 50}", f"{step} {text}")
    except HoldfastError as error:
        full += 1
        say("error", [type(error).__name__, str(error), error.hint])
        say("full", [full, step])
        time.sleep(0.05)
    if step % 100 == 0:
        time.sleep(0.01)
say("steps", step)
mlflow.end_run()
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(
    nursery: Nursery, proxy: FaultProxy, place: Place, stored: Stored, small_disk: Path, unique: str
) -> None:
    settings = {"HOLDFAST_JOURNAL": str(small_disk), "HOLDFAST_EXIT_WAIT": "15"}
    place = Place(proxy.url, place.folder, {**place.environ, **settings})
    proxy.refuse()
    (small_disk / "ballast").write_bytes(bytes(100 << 10))
    child = nursery.start(place, UNTIL_FULL)
    assert child.hears("full")[0] > 0
    kind, message, hint = child.said["error"]
    assert kind == "JournalError"
    assert "no space left" in message.lower()
    assert "HOLDFAST_JOURNAL" in hint
    logged = child.acknowledged
    (small_disk / "ballast").unlink()
    child.has_acknowledged(logged + 10)
    proxy.pass_on()
    (place.folder / "enough").touch()
    steps = child.hears("steps")
    assert child.ends(90) == 0, place.tell()
    (run,) = stored.runs(unique)
    assert stored.ends(run.run_id, place=place).status == "FINISHED"
    assert stored.values(run.run_id, "a") == list(range(steps))


@pytest.mark.parametrize("policy", ["error", "block"])
def test_a_journal_that_has_reached_its_bound(
    policy: str, nursery: Nursery, proxy: FaultProxy, place: Place, stored: Stored
) -> None:
    settings = {"HOLDFAST_JOURNAL_LIMIT": "300000", "HOLDFAST_JOURNAL_FULL": policy}
    place = Place(proxy.url, place.folder, {**place.environ, **settings})
    child = nursery.start(place, UNTIL_FULL)
    child.has_acknowledged(3)
    proxy.refuse()
    if policy == "error":
        child.hears("full")
        assert child.said["error"][0] == "JournalFullError"
        assert "holdfast sync" in child.said["error"][2]
    else:
        _stands_still(child)
    size = sum(path.stat().st_size for path in place.root.rglob("*.seg"))
    assert size <= 300_000
    logged = child.acknowledged
    proxy.pass_on()
    child.has_acknowledged(logged + 50, 60)
    (place.folder / "enough").touch()
    steps = child.hears("steps")
    assert child.ends(90) == 0, place.tell()
    run_id = child.said["run"]
    assert stored.ends(run_id, place=place).status == "FINISHED"
    assert stored.values(run_id, "a") == list(range(steps))
    if policy == "block":
        assert child.said["error"] is None


def _stands_still(child: Child) -> None:
    """Wait until a child has logged nothing for a second."""
    seen, since = child.acknowledged, time.monotonic()

    def is_still() -> bool:
        nonlocal seen, since
        if child.acknowledged != seen:
            seen, since = child.acknowledged, time.monotonic()
        return time.monotonic() - since > 1.0

    until(is_still)


def test_a_file_where_the_folder_should_be(nursery: Nursery, place: Place, stored: Stored, unique: str) -> None:
    place.folder.mkdir()
    (place.folder / "journal").write_text("not a folder")
    child = nursery.start(
        place,
        """
        import mlflow, os
        mlflow.set_experiment(os.environ["EXPERIMENT"])
        try:
            mlflow.start_run()
        except Exception as error:
            say("error", [type(error).__name__, str(error), error.hint])
        say("active", mlflow.active_run() is not None)
        """,
    )
    kind, message, hint = child.hears("error")
    assert kind == "JournalError"
    assert str(place.folder / "journal") in message
    assert "HOLDFAST_JOURNAL" in hint
    assert child.hears("active") is False
    assert child.ends() == 0
    left = [run.run_id for run in stored.runs(unique) if run.status == "RUNNING" and not run.deleted]
    assert left == [], "a run was begun on the server that nobody will ever end"


# -- who delivers ---------------------------------------------------------------------

WAITS = """
import mlflow, os, time
mlflow.set_experiment(os.environ["EXPERIMENT"])
with mlflow.start_run() as run:
    say("run", run.info.run_id)
    for step in range(100):
        mlflow.log_metric("a", step, step=step)
    say("logged", True)
    while not os.path.exists("enough"):
        time.sleep(0.01)
"""


def test_a_thread_delivers(nursery: Nursery, place: Place, stored: Stored) -> None:
    place = Place(place.uri, place.folder, {**place.environ, "HOLDFAST_SHIPPER": "thread"})
    child = nursery.start(place, WAITS)
    child.hears("logged")
    until(lambda: stored.values(child.said["run"], "a") == list(range(100)), saying=place.tell)
    assert place.shippers() == []
    (place.folder / "enough").touch()
    assert child.ends() == 0
    assert stored.ends(child.said["run"], place=place).status == "FINISHED"


def test_the_thread_of_a_process_that_is_killed_is_followed_by_another(
    nursery: Nursery, place: Place, stored: Stored
) -> None:
    place = Place(place.uri, place.folder, {**place.environ, "HOLDFAST_SHIPPER": "thread"})
    first = nursery.start(place, WAITS)
    first.hears("logged")
    second = nursery.start(beside(place, "second"), WAITS)
    second.hears("logged")
    first.signal(9)
    first.ends()
    found = stored.ends(first.said["run"], place=place)
    assert (found.status, stored.values(found.run_id, "a")) == ("FAILED", list(range(100)))
    (place.folder / "second" / "enough").touch()
    assert second.ends() == 0


def test_nobody_delivers_until_the_end(nursery: Nursery, place: Place, stored: Stored) -> None:
    place = Place(place.uri, place.folder, {**place.environ, "HOLDFAST_SHIPPER": "none"})
    child = nursery.start(place, WAITS)
    child.hears("logged")
    assert place.shippers() == []
    assert stored.values(child.said["run"], "a") == []
    (place.folder / "enough").touch()
    assert child.ends() == 0
    assert stored.run(child.said["run"]).status == "FINISHED"
    assert stored.values(child.said["run"], "a") == list(range(100))


def test_nobody_delivers_at_all(nursery: Nursery, place: Place, stored: Stored) -> None:
    place = Place(place.uri, place.folder, {**place.environ, "HOLDFAST_SHIPPER": "none", "HOLDFAST_EXIT_WAIT": "0"})
    place.folder.mkdir()
    (place.folder / "enough").touch()
    child = nursery.start(place, WAITS)
    assert child.ends() == 0
    assert stored.values(child.said["run"], "a") == []
    assert place.start_shipper().wait(60) == 0
    assert stored.run(child.said["run"]).status == "FINISHED"
    assert stored.values(child.said["run"], "a") == list(range(100))


# -- servers --------------------------------------------------------------------------


def test_a_server_never_journals(nursery: Nursery, sqlite_uri: str, tmp_path: Path) -> None:
    """The plugins are loaded there too, and the setting may be in its environment."""
    from holdfast.testing import free_port

    port = free_port()
    # Without MLflow's jobs, which are eight processes more.
    settings = {"MLFLOW_BACKEND_STORE_URI": sqlite_uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    place = Place(sqlite_uri, tmp_path / "server", settings)
    server = f"""
import os, sys
os.environ.pop("MLFLOW_TRACKING_URI")
os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", "--port", "{port}", "--workers", "1",
    "--artifacts-destination", {str(tmp_path / "files")!r}])
"""
    with running(place, server) as process:
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            import requests

            try:
                return requests.get(f"{url}/health", timeout=2).status_code == 200
            except requests.RequestException:
                assert process.poll() is None
                return False

        until(answers, 150)
        client = nursery.start(
            Place(url, tmp_path / "client", {"HOLDFAST_DELIVERY": "direct"}),
            """
            import mlflow
            mlflow.set_experiment("e")
            with mlflow.start_run() as run:
                mlflow.log_metric("a", 1)
                mlflow.log_param("p", 1)
            say("metrics", mlflow.MlflowClient().get_run(run.info.run_id).data.metrics)
            """,
        )
        assert client.hears("metrics", 120) == {"a": 1.0}
        assert client.ends() == 0
        assert not place.folder.joinpath("journal").exists()
        process.terminate()
        process.wait(60)
