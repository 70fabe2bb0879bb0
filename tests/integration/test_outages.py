"""A server that fails in every way while processes log: no call waits for it, and all arrives once it is back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from journaling import Child, Nursery, Place, Stored, completed, running, until

from holdfast.server import ServerOptions
from holdfast.testing import FaultProxy, LocalMlflowServer, PostgresServer
from holdfast.testing.fixtures import RunningMlflow, make_tables

pytestmark = pytest.mark.timeout(240)
# A request to a server that is away takes longer. The promise is 5 ms, which the benchmark measures.
LONGEST_CALL_S = 1.5

LOGGING = """
import mlflow, os, time
from mlflow import MlflowClient
worst = {"": 0.0}
def timed(name, call, *args, **kwargs):
    began = time.perf_counter()
    try:
        return call(*args, **kwargs)
    finally:
        took = time.perf_counter() - began
        worst[name] = max(took, worst.get(name, 0.0))
def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.01)
"""
BEGIN = """
timed("begin", lambda: (mlflow.set_experiment(os.environ["EXPERIMENT"]), mlflow.start_run(run_name="outer")))
run = mlflow.active_run()
say("run", run.info.run_id)
"""
# Goes on until the test says that it is enough; one call of each kind a step.
LOOP = """
step = 0
while not os.path.exists("enough") or step < 200:
    timed("log_metric", mlflow.log_metric, "a", step, step=step)
    timed("log_metrics", mlflow.log_metrics, {"b": step, "c": -step}, step=step)
    timed("set_tag", mlflow.set_tag, "last", step)
    if step < 50:
        timed("log_param", mlflow.log_param, f"p{step}", step)
    step += 1
    ack(step)
    time.sleep(0.004)
timed("end_run", mlflow.end_run)
say("worst", worst)
"""


@pytest.fixture
def place(proxy: FaultProxy, tmp_path: Path, unique: str) -> Place:
    """A journal of this test."""
    return Place(proxy.url, tmp_path / "place", {"EXPERIMENT": unique, "HOLDFAST_EXIT_WAIT": "90"})


@pytest.fixture
def stored(mlflow_server: RunningMlflow) -> Stored:
    """What the server has, past the proxy."""
    return Stored(mlflow_server.url)


def check_fast(child: Child) -> None:
    """Check that no call of the child waited for the server; beginning a run may take two seconds to find out."""
    worst = dict(child.hears("worst"))
    begin = worst.pop("begin", 0.0)
    assert max(worst.values()) < LONGEST_CALL_S, worst
    assert begin < 10.0, begin


def check_whole(child: Child, stored: Stored, run_id: str) -> None:
    """Check that all that the child logged is there, once."""
    count = child.acknowledged
    for key, sign in (("a", 1), ("b", 1), ("c", -1)):
        assert stored.values(run_id, key) == [sign * step for step in range(count)]
    found = stored.ends(run_id, place=child.place)
    assert found.status == "FINISHED"
    assert found.params == {f"p{step}": str(step) for step in range(50)}
    assert found.tags["last"] == str(count - 1)
    assert child.place.asides() == ""


# -- in the middle --------------------------------------------------------------------

FAULTS: dict[str, Callable[[FaultProxy], None]] = {
    "refused": FaultProxy.refuse,
    "reset": FaultProxy.reset,
    "black hole": FaultProxy.black_hole,
    "500": lambda proxy: proxy.answer(500),
    "503 Retry-After": lambda proxy: proxy.answer(503, {"Retry-After": "1"}),
    "429 Retry-After": lambda proxy: proxy.answer(429, {"Retry-After": "1"}),
    "a page that says 200": lambda proxy: proxy.answer(200, {"Content-Type": "text/html"}, "<html>log in</html>"),
    "answers dropped": FaultProxy.drop_answers,
    "slow": lambda proxy: proxy.delay(1.0),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_while_logging(fault: str, nursery: Nursery, proxy: FaultProxy, place: Place, stored: Stored) -> None:
    child = nursery.start(place, LOGGING + BEGIN + LOOP)
    until(lambda: child.said["run"] and stored.values(child.said["run"], "a"), saying=place.tell)
    FAULTS[fault](proxy)
    before = child.acknowledged
    child.has_acknowledged(before + 150)
    (place.folder / "enough").touch()
    check_fast(child)
    proxy.pass_on()
    if fault == "black hole":
        proxy.cut()  # what was swallowed would be waited for until the time is up
    assert child.ends(90) == 0, place.tell()
    check_whole(child, stored, child.said["run"])


# -- from the start -------------------------------------------------------------------

FROM_THE_START = {name: FAULTS[name] for name in ("refused", "black hole", "503 Retry-After")}

NESTED = """
before = int(time.time() * 1000)
timed("begin", lambda: (mlflow.set_experiment(os.environ["EXPERIMENT"]),
                        mlflow.start_run(run_name="outer", tags={"kind": "offline"}, description="on a plane")))
outer = mlflow.active_run().info
timed("inner", mlflow.start_run, run_name="inner", nested=True)
inner = mlflow.active_run().info
say("run", [outer.run_id, inner.run_id])
say("times", [before, outer.start_time, inner.start_time])
for step in range(100):
    timed("log_metric", mlflow.log_metric, "a", step, step=step)
timed("log_param", mlflow.log_param, "lr", 0.1)
timed("get_run", lambda: say("seen", MlflowClient().get_run(inner.run_id).data.params))
timed("end", mlflow.end_run)
timed("end", mlflow.end_run, "KILLED")
say("ended", int(time.time() * 1000))
del worst["get_run"]
say("worst", worst)
"""


@pytest.mark.parametrize("fault", FROM_THE_START)
def test_offline_from_the_start(
    fault: str, nursery: Nursery, proxy: FaultProxy, place: Place, stored: Stored, unique: str
) -> None:
    FAULTS[fault](proxy)
    child = nursery.start(place, LOGGING + NESTED)
    check_fast(child)
    outer_id, inner_id = child.said["run"]
    assert outer_id.startswith("local-")
    assert inner_id.startswith("local-")
    assert stored.runs(unique) == []
    proxy.pass_on()
    if fault == "black hole":
        proxy.cut()
    assert child.ends(90) == 0, place.tell()

    runs = {run.name: run for run in stored.runs(unique)}
    assert sorted(runs) == ["inner", "outer"]
    outer, inner = runs["outer"], runs["inner"]
    assert (place.resolved(outer_id), place.resolved(inner_id)) == (outer.run_id, inner.run_id)
    assert (outer.status, inner.status) == ("KILLED", "FINISHED")
    assert (outer.tags["kind"], outer.tags["mlflow.note.content"]) == ("offline", "on a plane")
    assert inner.tags["mlflow.parentRunId"] == outer.run_id
    assert child.said["times"][1:] == [outer.start_time_ms, inner.start_time_ms]
    assert outer.start_time_ms <= outer.end_time_ms <= child.said["ended"]  # type: ignore[operator]
    assert stored.values(inner.run_id, "a") == list(range(100))
    assert all(point.timestamp <= child.said["ended"] for point in stored.points(inner.run_id, "a"))
    assert inner.params == {"lr": "0.1"}
    assert child.said["seen"] == {"lr": "0.1"}, "one's own writes, also while the server is gone"


def test_a_host_that_does_not_resolve(nursery: Nursery, tmp_path: Path, unique: str) -> None:
    settings = {"EXPERIMENT": unique, "HOLDFAST_EXIT_WAIT": "0"}
    place = Place("http://no-such-host.invalid:5000", tmp_path / "place", settings)
    child = nursery.start(place, LOGGING + NESTED)
    check_fast(child)
    assert child.ends() == 0, place.tell()
    assert [run_id[:6] for run_id in child.said["run"]] == ["local-", "local-"]


def test_offline_with_the_tracker(
    nursery: Nursery, proxy: FaultProxy, place: Place, stored: Stored, unique: str
) -> None:
    proxy.black_hole()
    child = nursery.start(
        place,
        LOGGING
        + """
from holdfast import MLflowTracker
tracker = timed("begin", MLflowTracker, experiment_name=os.environ["EXPERIMENT"])
timed("begin", tracker.start_run, "one")
for step in range(100):
    timed("log", tracker.log_metrics, {"a": step}, step)
timed("params", tracker.log_params, {"lr": 0.1})
timed("tags", tracker.set_tags, {"t": "x"})
timed("end", tracker.end_run)
say("worst", worst)
""",
    )
    check_fast(child)
    proxy.pass_on()
    proxy.cut()
    assert child.ends(90) == 0, place.tell()
    (run,) = stored.runs(unique)
    assert (run.name, run.status, run.params, run.tags["t"]) == ("one", "FINISHED", {"lr": "0.1"}, "x")
    assert stored.values(run.run_id, "a") == list(range(100))


@pytest.mark.parametrize("lost", ["the answer", "the answer, and then the server"])
def test_a_run_whose_answer_was_lost_is_made_once(
    lost: str, nursery: Nursery, proxy: FaultProxy, place: Place, stored: Stored, unique: str
) -> None:
    child = nursery.start(
        place,
        LOGGING
        + """
mlflow.set_experiment(os.environ["EXPERIMENT"])
say("ready", True)
wait_for("go")
"""
        + BEGIN
        + LOOP,
    )
    child.hears("ready")
    proxy.drop_answers()
    (place.folder / "go").touch()
    run_id = child.hears("run")
    assert run_id.startswith("local-")
    (place.folder / "enough").touch()
    child.has_acknowledged(200)
    if lost != "the answer":
        proxy.refuse()
    proxy.pass_on()
    assert child.ends(90) == 0, place.tell()
    runs = [run for run in stored.runs(unique) if not run.deleted]
    assert [run.run_id for run in runs] == [place.resolved(run_id)]
    check_whole(child, stored, runs[0].run_id)


def test_batches_whose_answers_are_lost_are_stored_once(
    nursery: Nursery, proxy: FaultProxy, place: Place, stored: Stored
) -> None:
    child = nursery.start(place, LOGGING + BEGIN + LOOP)
    run_id = child.hears("run")
    for _ in range(2):
        passed = proxy.count
        proxy.fail_next(2, "drop_answers")
        until(lambda passed=passed: proxy.count > passed + 2, saying=place.tell)
    (place.folder / "enough").touch()
    assert child.ends(90) == 0, place.tell()
    check_whole(child, stored, run_id)


@pytest.mark.parametrize("leftover", ["shipper", "by hand"])
def test_a_process_that_ends_before_the_server_is_back(
    leftover: str, nursery: Nursery, proxy: FaultProxy, place: Place, stored: Stored, unique: str
) -> None:
    proxy.refuse()
    shipper = {"HOLDFAST_SHIPPER": "none"} if leftover == "by hand" else {}
    short = Place(place.uri, place.folder, {**place.environ, **shipper, "HOLDFAST_EXIT_WAIT": "1.5"})
    child = nursery.start(short, LOGGING + NESTED)
    assert child.ends() == 0, child.output
    said = [line for line in child.output.splitlines() if "holdfast sync" in line]
    assert len(said) == 1, child.output
    assert str(short.root) in said[0]
    proxy.pass_on()
    if leftover == "by hand":
        assert not short.shippers()
        assert short.start_shipper().wait(60) == 0
    until(lambda: len(stored.runs(unique)) == 2, saying=short.tell)
    inner = next(run for run in stored.runs(unique) if run.name == "inner")
    assert stored.ends(inner.run_id, place=short).status == "FINISHED"
    assert stored.values(inner.run_id, "a") == list(range(100))


def test_an_exit_waits_no_longer_than_it_may(proxy: FaultProxy, place: Place) -> None:
    short = Place(place.uri, place.folder, {**place.environ, "HOLDFAST_EXIT_WAIT": "1"})
    code = (
        "say = ack = lambda *_: None"
        + LOGGING
        + BEGIN
        + "mlflow.log_metric('a', 1)\nopen('begun', 'w').close()\nwait_for('go')\n"
        + "mlflow.end_run()\nprint(time.time(), flush=True)\n"
    )
    with running(short, code) as process:
        until(lambda: (short.folder / "begun").exists() or process.poll() is not None)
        proxy.black_hole()
        (short.folder / "go").touch()
        output, errors = process.communicate(timeout=30)
        took_s = time.time() - float(output.split()[-1])
        assert process.returncode == 0
        assert "holdfast sync" in errors
        # One request that is under way is let go after REACH_S.
        assert took_s < 1 + 2 + 7, f"{took_s} {errors}"


# -- servers and databases that are restarted -----------------------------------------


def test_the_server_killed_and_restarted(nursery: Nursery, sqlite_uri: str, tmp_path: Path, unique: str) -> None:
    options = ServerOptions(sqlite_uri, artifacts_destination=str(tmp_path / "files"), port=0)
    with LocalMlflowServer(options) as server:
        place = Place(server.url, tmp_path / "place", {"EXPERIMENT": unique, "HOLDFAST_EXIT_WAIT": "90"})
        stored = Stored(server.url)
        child = nursery.start(place, LOGGING + BEGIN + LOOP)
        until(lambda: child.said["run"] and stored.values(child.said["run"], "a"), saying=place.tell)
        server.kill()
        child.has_acknowledged(child.acknowledged + 100)
        server.start()
        until(lambda: len(stored.values(child.said["run"], "a")) > 100, saying=place.tell)
        (place.folder / "enough").touch()
        assert child.ends(90) == 0, place.tell()
        check_fast(child)
        check_whole(child, stored, child.said["run"])


@pytest.fixture(scope="module")
def mortal_postgres() -> Iterator[tuple[PostgresServer, str]]:
    """A PostgreSQL server that may be killed, and a database there with MLflow's tables."""
    with PostgresServer() as server:
        database = server.create_database()
        make_tables(database)
        yield server, database


@pytest.mark.parametrize("way", ["behind a server", "directly"])
def test_postgresql_restarted(
    way: str, mortal_postgres: tuple[PostgresServer, str], nursery: Nursery, tmp_path: Path, unique: str
) -> None:
    postgres, database = mortal_postgres
    if way == "directly":
        _restart(nursery, postgres, database, tmp_path, unique)
        return
    options = ServerOptions(database, artifacts_destination=str(tmp_path / "files"), port=0)
    with LocalMlflowServer(options) as server:
        _restart(nursery, postgres, server.url, tmp_path, unique)


def _restart(nursery: Nursery, postgres: PostgresServer, uri: str, folder: Path, experiment: str) -> None:
    place = Place(uri, folder / "place", {"EXPERIMENT": experiment, "HOLDFAST_EXIT_WAIT": "90"})
    child = nursery.start(place, LOGGING + BEGIN + LOOP)
    run_id = child.hears("run")
    child.has_acknowledged(100)
    postgres.kill()
    child.has_acknowledged(child.acknowledged + 150)
    postgres.start()
    child.has_acknowledged(child.acknowledged + 50)
    (place.folder / "enough").touch()
    assert child.ends(90) == 0, place.tell()
    check_fast(child)
    check_whole(child, Stored(uri), run_id)


# -- files of a run that was begun offline --------------------------------------------


def test_files_of_a_run_that_was_begun_offline_are_not_lost(
    nursery: Nursery, proxy: FaultProxy, place: Place, stored: Stored, unique: str
) -> None:
    """They cannot be sent while the server is gone; they may not vanish with the journal's delivered runs either."""
    proxy.refuse()
    child = nursery.start(
        place,
        LOGGING + BEGIN + 'mlflow.log_text("weights", "model.txt")\nmlflow.end_run()\nsay("logged", True)\n',
    )
    child.hears("logged")
    proxy.pass_on()
    assert child.ends(90) == 0, place.tell()
    (run,) = stored.runs(unique)
    from holdfast.journal.layout import JournalPaths
    from holdfast.journal.retention import retire

    retire(JournalPaths(place.root), older_than_s=0.0)
    is_kept = bool(list(place.root.rglob("model.txt")))
    # Asked in this order: what is not in the journal any more must have arrived.
    uploaded = completed(
        Place(place.uri, place.folder / "reader", {"HOLDFAST_DELIVERY": "direct"}),
        f"import mlflow; print([f.path for f in mlflow.MlflowClient().list_artifacts('{run.run_id}')])",
    )[0]
    assert is_kept or "model.txt" in uploaded, "the only copy of a file was deleted"
