"""`holdfast sync`, `verify`, `journal` and `runs resolve` against a real server that comes and goes."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from holdfast.backend.rest_sender import RestSender
from holdfast.core.sending import RunRef
from holdfast.delivery.identity import ExperimentAbout, RunAbout, save_about, save_experiment
from holdfast.delivery.target import journal_name
from holdfast.journal.checkpoint import load_checkpoint, save_checkpoint
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import JournalPaths, parse_segment_name
from holdfast.journal.locks import FileLock
from holdfast.server import ServerOptions
from holdfast.testing import FaultProxy, LocalMlflowServer

FILES = OsFileSystem()
STEPS = 300


@dataclass(frozen=True)
class World:
    """A server with its database, and a network before it that fails on command."""

    url: str
    database: Path
    proxy: FaultProxy

    def sender(self) -> RestSender:
        return RestSender(self.url)

    def change(self, statement: str, *values: object) -> int:
        """Tamper with what the server has stored; return how many rows that changed."""
        with closing(sqlite3.connect(self.database, timeout=30)) as connection, connection:
            return connection.execute(statement, values).rowcount


@pytest.fixture(scope="module")
def world(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("sync")
    database = Path(shutil.copyfile(sqlite_template, folder / "mlflow.db"))
    options = ServerOptions(f"sqlite:///{database}", artifacts_destination=str(folder / "files"), port=0)
    with LocalMlflowServer(options) as server, FaultProxy(server.url) as proxy:
        yield World(proxy.url, database, proxy)


@pytest.fixture(autouse=True)
def _project(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", world.url)
    monkeypatch.setenv("HOLDFAST_SHIPPER", "none")
    monkeypatch.setenv("HOLDFAST_EXIT_WAIT", "0")
    world.proxy.pass_on()
    yield
    world.proxy.pass_on()


def _run(command: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=200
    )
    sys.stdout.write(done.stdout)  # searched for secrets with the test
    sys.stderr.write(done.stderr)
    return done


def holdfast(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return _run([sys.executable, "-m", "holdfast", *arguments], **environment)


def document(*arguments: str, code: int = 0, **environment: str) -> Any:
    done = holdfast(*arguments, "--json", **environment)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


_OFFLINE = f"""
import math
import sys
from pathlib import Path
import mlflow
mlflow.set_experiment(sys.argv[1])
Path("notes.txt").write_text("clear sky")
with mlflow.start_run(run_name="flight") as run:
    mlflow.log_params({{"lr": "0.1", "seats": 4}})
    for step in range({STEPS}):
        mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
    for step, value in enumerate((math.nan, math.nan, math.inf, -math.inf)):
        mlflow.log_metric("odd", value, step=step)
    mlflow.log_artifact("notes.txt", "papers")
    with mlflow.start_run(nested=True) as child:
        mlflow.log_metric("loss", 0.5)
    mlflow.set_tag("who", "plane")
print(run.info.run_id, child.info.run_id)
"""


def test_a_flight_is_brought_home(world: World, unique: str, tmp_path: Path, canary: str) -> None:
    uri = world.url.replace("://", f"://pilot:{canary}@")
    world.proxy.refuse()
    # Not shown: MLflow itself prints the address of each run with its password.
    flown = subprocess.run(
        [sys.executable, "-c", _OFFLINE, unique],
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, "HOLDFAST_DELIVERY": "journal"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert flown.returncode == 0
    local_id, child_id = flown.stdout.split()[-2:]
    assert local_id.startswith("local-")
    left = document("sync", code=3, MLFLOW_TRACKING_URI=uri)
    assert {run["result"] for run in left["journals"][0]["runs"]} == {"pending"}
    assert holdfast("runs", "resolve", local_id, MLFLOW_TRACKING_URI=uri).returncode == 3
    assert holdfast("verify", local_id, MLFLOW_TRACKING_URI=uri).returncode == 3

    carried = tmp_path / "carried" / ".holdfast"
    shutil.copytree(Path.cwd() / ".holdfast", carried)
    shutil.rmtree(Path.cwd() / ".holdfast")
    world.proxy.pass_on()
    refused = holdfast("sync", str(carried))
    assert refused.returncode == 2, "it was written for a login that nobody has here"
    assert f"--to {world.url}" in refused.stderr
    first = document("sync", str(carried), "--to", world.url)
    by_id = {run["run_id"]: run for run in first["journals"][0]["runs"]}
    run_id = by_id[local_id]["server_id"]
    assert first["journals"][0]["metrics"] == STEPS + 4 + 1
    assert by_id[local_id]["files"] == 1
    again = document("sync", str(carried), "--to", world.url)["journals"][0]
    assert (again["metrics"], again["records"]) == (0, 0)
    assert {run["server_id"] for run in again["runs"]} == {run_id, by_id[child_id]["server_id"]}

    found = world.sender().get_run(run_id)
    assert found is not None
    assert (found.status, found.params, found.tags["who"]) == ("FINISHED", {"lr": "0.1", "seats": "4"}, "plane")
    child = world.sender().get_run(by_id[child_id]["server_id"])
    assert child is not None
    assert child.tags["mlflow.parentRunId"] == run_id
    listed = requests.get(f"{world.url}/api/2.0/mlflow/artifacts/list?run_id={run_id}&path=papers", timeout=30).json()
    assert [item["path"] for item in listed["files"]] == ["papers/notes.txt"]
    folder = next(carried.glob(f"journal/*/runs/{local_id}"))
    assert (folder / "artifacts.sent" / "papers" / "notes.txt").read_text() == "clear sky"
    assert not (folder / "artifacts").exists()

    for wanted in (local_id, run_id):
        report = document("verify", wanted, "--path", str(carried))
        assert (report["verdict"], report["server_id"]) == ("complete", run_id)
        assert {m["name"]: (m["logged"], m["found"]) for m in report["metrics"]} == {
            "loss": (STEPS, STEPS),
            "odd": (4, 4),
        }
    assert "complete" in holdfast("verify", run_id, "--path", str(carried)).stdout

    assert world.change("DELETE FROM metrics WHERE run_uuid = ? AND key = 'loss' AND step = 7", run_id) == 1
    assert world.change("UPDATE metrics SET value = 9 WHERE run_uuid = ? AND key = 'loss' AND step = 8", run_id) == 1
    assert world.change("UPDATE params SET value = '0.3' WHERE run_uuid = ? AND key = 'lr'", run_id) == 1
    report = document("verify", run_id, "--path", str(carried), code=1)
    (loss,) = [metric for metric in report["metrics"] if metric["name"] == "loss"]
    assert (loss["missing"], [example[2] for example in loss["examples"]]) == (2, [7, 8])
    assert report["differences"] == [{"what": "param", "name": "lr", "logged": "0.1", "found": "0.3"}]
    told = holdfast("verify", run_id, "--path", str(carried))
    assert "missing: loss = 0.125 at step 7" in told.stderr
    assert "param lr: logged '0.1', on the server '0.3'" in told.stderr


# --- runs that were begun on the server ----------------------------------------------------------

_WRITE = """
import json
import sys
from pathlib import Path
from holdfast.journal.codec import Kind
from holdfast.journal.household import ProcessJournal
from holdfast.journal.options import JournalOptions
root, run_id, lines, segment_bytes = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4])
journal = ProcessJournal(root, JournalOptions(segment_bytes=segment_bytes))
writer = journal.writer(run_id)
writer.entry(Kind.OWNED, {})
for kind, content in lines:
    writer.metrics(*content) if kind == "METRICS" else writer.entry(Kind[kind], content)
if "deserted" not in sys.argv:
    journal.leave()
"""

Write = Callable[..., JournalPaths]


@pytest.fixture
def begun(world: World, unique: str) -> RunRef:
    """A run on the server."""
    sender = world.sender()
    experiment = sender.find_experiment(unique) or sender.create_experiment(unique, None, {})
    return sender.create_run(experiment.experiment_id, "me", 1_000, "run", {})


@pytest.fixture
def write(world: World) -> Write:
    """Log to the project's journal in a process that is gone when this returns."""

    def call(run_id: str, lines: Sequence[Any], *more: str, segment_bytes: int = 16 << 20) -> JournalPaths:
        root = Path.cwd() / ".holdfast" / "journal" / journal_name(world.url)
        paths = JournalPaths(root)
        root.mkdir(parents=True, exist_ok=True)
        paths.about.write_text(json.dumps({"format": 1, "destination": world.url}))
        save_about(FILES, paths.run(run_id), RunAbout(run_id))
        command = [sys.executable, "-c", _WRITE, str(root), run_id, json.dumps(lines), str(segment_bytes), *more]
        assert _run(command).returncode == 0
        return paths

    return call


def metrics(count: int) -> list[Any]:
    return [["METRICS", [{"loss": step / 2}, step]] for step in range(count)]


END = ["UPDATE", {"status": "FINISHED", "end_time": 5, "name": None}]


def test_what_is_refused_is_shown_exported_retried_and_dropped(world: World, begun: RunRef, write: Write) -> None:
    run_id = begun.run_id
    world.sender().log_batch(run_id, [], [("lr", "0.1"), ("seats", "4")], [])
    write(run_id, [["ENTITIES", {"p": [["lr", "0.2"], ["seats", "5"], ["ok", "1"]]}], *metrics(10), END])
    synced = document("sync", code=1)["journals"][0]
    assert [(run["result"], run["aside"]) for run in synced["runs"]] == [("delivered", 2)]
    assert "2 things set aside" in holdfast("sync").stderr
    shown = holdfast("journal", "status", run_id)
    assert shown.stdout.count("set aside: param") == 2
    assert document("verify", run_id, code=1)["aside"] == 2
    lines = [json.loads(line) for line in holdfast("journal", "export").stdout.splitlines()]
    assert [line["content"] for line in lines] == [["lr", "0.2"], ["seats", "5"]]

    assert world.change("DELETE FROM params WHERE run_uuid = ? AND key = 'lr'", run_id) == 1
    (retried,) = document("journal", "retry", run_id, code=1)
    assert (retried["stored"], [item["content"] for item in retried["left"]]) == (1, [["seats", "5"]])
    found = world.sender().get_run(run_id)
    assert found is not None
    assert found.params == {"lr": "0.2", "seats": "4", "ok": "1"}
    world.proxy.refuse()
    assert holdfast("journal", "retry").returncode == 3
    world.proxy.pass_on()
    assert document("journal", "status", run_id)["journals"][0]["aside"] == 1
    assert holdfast("journal", "drop", run_id).returncode == 2
    assert holdfast("journal", "drop", run_id, "--yes").returncode == 0
    assert document("journal", "status", run_id)["journals"][0]["aside"] == 0
    assert holdfast("sync").returncode == 0
    assert document("verify", run_id, code=1)["differences"] == [
        {"what": "param", "name": "seats", "logged": "5", "found": "4"}
    ]


def test_a_deleted_run_is_blocked_until_it_is_restored(world: World, begun: RunRef, write: Write) -> None:
    run_id = begun.run_id
    world.sender().delete_run(run_id)
    write(run_id, [["ENTITIES", {"p": [["lr", "0.1"]]}], *metrics(10), END])
    synced = document("sync", code=1)["journals"][0]
    assert [run["result"] for run in synced["runs"]] == ["blocked"]
    (run,) = document("journal", "status", run_id)["journals"][0]["runs"]
    assert (run["state"], run["pending"]["records"]) == ("blocked", 12)
    assert document("verify", run_id, code=1)["problem"] == "the run is deleted on the server"
    (still,) = document("journal", "retry", run_id, code=1)
    assert [item["what"] for item in still["left"]] == ["run"]
    answer = requests.post(f"{world.url}/api/2.0/mlflow/runs/restore", json={"run_id": run_id}, timeout=30)
    assert answer.status_code == 200
    (retried,) = document("journal", "retry", run_id)
    assert (retried["left"], retried["metrics"]) == ([], 10)
    assert document("verify", run_id)["verdict"] == "complete"
    assert holdfast("sync").returncode == 0


def test_a_deleted_experiment_holds_up_its_own_runs_only(
    world: World, begun: RunRef, write: Write, unique: str
) -> None:
    sender = world.sender()
    doomed = sender.create_experiment(f"{unique}-doomed", None, {})
    answer = requests.post(
        f"{world.url}/api/2.0/mlflow/experiments/delete", json={"experiment_id": doomed.experiment_id}, timeout=30
    )
    assert answer.status_code == 200
    paths = write(begun.run_id, [*metrics(3), END])
    save_experiment(FILES, paths, ExperimentAbout("local-1", f"{unique}-doomed"))
    local_id = "local-" + "2" * 32
    save_about(FILES, paths.run(local_id), RunAbout(local_id, "key", "local-1", "me", 1_000))
    write(local_id, [*metrics(3), END])
    synced = document("sync", code=3)["journals"][0]
    results = {run["run_id"]: (run["result"], run["reason"]) for run in synced["runs"]}
    assert results[begun.run_id] == ("delivered", "")
    assert results[local_id][0] == "pending"
    assert "mlflow experiments restore" in results[local_id][1]
    assert synced["reason"] == ""


def test_who_is_delivered_by_others_is_waited_for(begun: RunRef, write: Write) -> None:
    paths = write(begun.run_id, [*metrics(3), END])
    with FileLock(paths.run(begun.run_id).lock) as lock:
        assert lock.acquire()
        synced = document("sync", "--timeout", "1", code=3)["journals"][0]
        assert [run["reason"] for run in synced["runs"]] == ["there was not enough time"]
        timer = threading.Timer(2.0, lock.release)
        timer.start()
        assert holdfast("sync").returncode == 0
        timer.join()


def test_a_server_that_starts_is_waited_for(world: World, begun: RunRef, write: Write) -> None:
    write(begun.run_id, [*metrics(3), END])
    world.proxy.answer(503, body="starting")
    timer = threading.Timer(1.5, world.proxy.pass_on)
    timer.start()
    assert holdfast("sync").returncode == 0
    timer.join()
    assert document("verify", begun.run_id)["verdict"] == "complete"


def test_a_run_that_another_machine_left_open(world: World, begun: RunRef, write: Write, tmp_path: Path) -> None:
    paths = write(begun.run_id, metrics(3), "deserted")
    (lease,) = paths.processes.iterdir()
    lease.write_text(json.dumps({"pid": 1, "host": "plane", "boot": "another"}))
    carried = Path(shutil.copytree(paths.root, tmp_path / "carried"))
    done = holdfast("sync", str(carried / "runs" / begun.run_id))
    assert done.returncode == 0
    assert "--end-open" in done.stderr
    (run,) = document("journal", "status", "--path", str(carried))["journals"][0]["runs"]
    assert run["state"] == "elsewhere"
    ended = document("sync", str(carried), "--end-open")["journals"][0]
    assert [run["result"] for run in ended["runs"]] == ["delivered"]
    found = world.sender().get_run(begun.run_id)
    assert found is not None
    assert found.status == "FAILED"


def test_a_run_of_another_store_is_not_marked_as_refused(
    world: World, write: Write, tmp_path: Path, begun: RunRef
) -> None:
    paths = write("0" * 32, metrics(3))
    carried = Path(shutil.copytree(paths.root, tmp_path / "carried"))
    (carried / "journal.json").write_text(json.dumps({"format": 1, "destination": "http://other:5000"}))
    assert holdfast("sync", str(carried)).returncode == 2
    synced = document("sync", str(carried), "--to", world.url, code=1)["journals"][0]
    assert "is on the store that the journal was written for" in synced["runs"][0]["reason"]
    assert not (carried / "runs" / ("0" * 32) / "aside.jsonl").exists()


def test_a_record_with_gaps_is_never_called_complete(begun: RunRef, write: Write) -> None:
    paths = write(begun.run_id, [*metrics(200), END], segment_bytes=2048)
    assert holdfast("sync").returncode == 0
    run = paths.run(begun.run_id)
    first = next(name for name in FILES.list(run.folder) if (found := parse_segment_name(name)) and found.number == 0)
    noted = load_checkpoint(FILES, run.checkpoint)
    whole = (run.folder / first).read_bytes()
    (run.folder / first).unlink()
    assert document("verify", begun.run_id, code=1)["lost_segments"] == 1
    save_checkpoint(FILES, run.checkpoint, noted.without((first,)))
    report = document("verify", begun.run_id, code=1)
    assert (report["verdict"], report["gone_segments"], report["missing"]) == ("partial", 1, 0)
    (run.folder / first).write_bytes(whole)
    save_checkpoint(FILES, run.checkpoint, noted)
    assert document("verify", begun.run_id)["verdict"] == "complete"
