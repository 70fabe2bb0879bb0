"""`holdfast journal`, `runs resolve` and `verify` on journals alone: no server is there."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from holdfast.cli.app import app
from holdfast.delivery.aside import aside, load_asides, save_asides
from holdfast.delivery.identity import RunAbout, save_about
from holdfast.delivery.logged import pack_point
from holdfast.delivery.places import find_run, places_of, targets_of
from holdfast.delivery.status import State, status_of
from holdfast.delivery.target import journal_name
from holdfast.errors import HoldfastError, NotFoundError, SettingsError
from holdfast.journal.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from holdfast.journal.codec import Kind
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.household import ProcessJournal
from holdfast.journal.layout import JournalPaths, parse_segment_name
from holdfast.journal.locks import FileLock
from holdfast.journal.retention import retire
from holdfast.settings import load_settings

URI = "http://127.0.0.1:9"  # nobody answers there
FILES = OsFileSystem()
RUN, LOCAL = "0" * 32, "local-" + "1" * 32


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journal's folder of a project whose server is gone."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", URI)
    monkeypatch.setenv("HOLDFAST_SHIPPER", "none")
    return Path.cwd() / ".holdfast" / "journal" / journal_name(URI)


def holdfast(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=answer)


def document(*arguments: str) -> Any:
    done = holdfast(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def begin(root: Path, run_id: str, destination: str = URI, **about: Any) -> ProcessJournal:
    root.mkdir(parents=True, exist_ok=True)
    (root / "journal.json").write_text(json.dumps({"format": 1, "destination": destination}))
    journal = ProcessJournal(root)
    save_about(FILES, journal.paths.run(run_id), RunAbout(run_id, **about))
    return journal


def end(journal: ProcessJournal) -> None:
    """Let its process count as gone."""
    assert journal._lease is not None
    journal._lease.close()


def deliver_all(paths: JournalPaths, run_id: str) -> None:
    """Note all that is there as delivered, as the shipper does."""
    run = paths.run(run_id)
    ends = {name: FILES.size(run.folder / name) for name in FILES.list(run.folder) if parse_segment_name(name)}
    save_checkpoint(FILES, run.checkpoint, Checkpoint(ends, complete_ms=1))


def resolve(paths: JournalPaths, local_id: str, run_id: str) -> None:
    found = {"format": 1, "run_id": run_id, "experiment_id": "1", "artifact_uri": "mlflow-artifacts:/x"}
    paths.run(local_id).resolved.write_text(json.dumps(found))


# --- status ------------------------------------------------------------------------------------


def test_without_a_journal_status_says_so(root: Path) -> None:
    done = holdfast("journal", "status")
    assert (done.exit_code, done.stdout) == (0, "Nothing was logged through a journal yet.\n")
    assert document("journal", "status") == {"journals": [], "others": []}
    assert not root.exists()


def test_status_counts_what_is_pending(root: Path) -> None:
    journal = begin(root, RUN)
    writer = journal.writer(RUN)
    writer.entry(Kind.OWNED, {})
    writer.entry(Kind.ENTITIES, {"p": [["lr", "0.1"]]})
    for step in range(20):
        writer.metrics({"loss": 1.0 / (step + 1)}, step)
    (found,) = document("journal", "status")["journals"]
    (run,) = found["runs"]
    assert (run["run_id"], run["server_id"], run["state"]) == (RUN, RUN, "pending")
    assert run["pending"]["records"] == found["pending"]["records"] == 21
    assert run["pending"]["is_estimate"] is False
    assert 0 <= run["pending"]["age_s"] < 60
    assert (found["destination"], found["path"]) == (URI, str(root))
    assert found["limit_bytes"] == 10 << 30

    deliver_all(JournalPaths(root), RUN)
    writer.metrics({"loss": 0.0}, 20)
    (run,) = document("journal", "status", RUN)["journals"][0]["runs"]
    assert (run["pending"]["records"], run["is_alive"]) == (1, True)
    deliver_all(JournalPaths(root), RUN)
    end(journal)
    (run,) = document("journal", "status")["journals"][0]["runs"]
    assert (run["state"], run["pending"]["records"], run["pending"]["oldest_ms"]) == ("delivered", 0, None)
    table = holdfast("journal", "status").stdout
    assert RUN in table
    assert "none has run yet" in table


def test_a_record_that_is_being_written_is_not_counted(root: Path) -> None:
    writer = begin(root, RUN).writer(RUN)
    writer.metrics({"loss": 1.0})
    segment = next(path for path in (root / "runs" / RUN).iterdir() if path.suffix == ".seg")
    with segment.open("ab") as file:
        file.write(b"\xa7\x01\x40\x00")
    (run,) = document("journal", "status")["journals"][0]["runs"]
    assert run["pending"]["records"] == 1


def test_very_many_records_are_estimated(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.delivery import status

    writer = begin(root, RUN).writer(RUN)
    for step in range(2000):
        writer.metrics({"loss": 1.0}, step)
    monkeypatch.setattr(status, "_COUNTED_BYTES", 4096)
    (run,) = document("journal", "status")["journals"][0]["runs"]
    assert run["pending"]["is_estimate"] is True
    assert 1900 < run["pending"]["records"] < 2100
    assert "about " in holdfast("journal", "status").stdout


_CHILD = """
import sys
from pathlib import Path
from holdfast.journal.household import ProcessJournal
journal = ProcessJournal(Path(sys.argv[1]))
journal.writer(sys.argv[2]).metrics({"loss": 1.0})
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_run_is_open_as_long_as_its_process_lives(root: Path) -> None:
    begin(root, RUN)
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(root), RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        deliver_all(JournalPaths(root), RUN)
        (run,) = document("journal", "status")["journals"][0]["runs"]
        assert (run["state"], run["is_alive"]) == ("open", True)
        child.communicate("")
    (run,) = document("journal", "status")["journals"][0]["runs"]
    assert (run["state"], run["is_alive"]) == ("delivered", False)


def test_a_run_of_another_machine_is_elsewhere(root: Path) -> None:
    journal = begin(root, RUN)
    journal.writer(RUN).metrics({"loss": 1.0})
    end(journal)
    (lease,) = (root / "processes").iterdir()
    lease.write_text(json.dumps({"pid": 1, "host": "plane", "boot": "another"}))
    deliver_all(journal.paths, RUN)
    found = load_checkpoint(FILES, journal.paths.run(RUN).checkpoint)
    save_checkpoint(FILES, journal.paths.run(RUN).checkpoint, Checkpoint(found.segments))
    assert status_of(places_of(load_settings()).journals[0]).runs[0].state is State.ELSEWHERE


def test_a_shipper_is_running_as_long_as_it_holds_the_lock(root: Path, canary: str) -> None:
    begin(root, RUN)
    now = time.time_ns() // 1_000_000
    said = {"state": "delivering", "rate": 9.0, "last_error": f"http://u:{canary}@h is down", "updated_ms": now}
    (root / "shipper.json").write_text(json.dumps(said))
    with FileLock(root / "shipper.lock") as lock:
        assert lock.acquire()
        (found,) = document("journal", "status")["journals"]
        assert (found["shipper"]["is_running"], found["shipper"]["state"]) == (True, "delivering")
        assert found["shipper"]["rate"] == 9.0
    (found,) = document("journal", "status")["journals"]
    assert (found["shipper"]["is_running"], found["shipper"]["state"], found["shipper"]["rate"]) == (False, "gone", 0)
    shown = holdfast("journal", "status").stdout
    assert "the last one was killed" in shown
    assert "http://u:****@h is down" in shown
    assert canary not in shown
    (root / "shipper.json").unlink()


def test_journals_of_other_stores_are_named(root: Path) -> None:
    begin(root, RUN)
    other = root.with_name("other-store")
    begin(other, RUN, "http://other:5000")
    found = document("journal", "status")
    assert found["others"] == [{"path": str(other), "destination": "http://other:5000"}]
    assert "http://other:5000" in holdfast("journal", "status").stderr
    both = document("journal", "status", "--path", str(root.parent))["journals"]
    assert {journal["path"] for journal in both} == {str(root), str(other)}


def test_nothing_heavy_is_imported_for_a_status(root: Path) -> None:
    begin(root, RUN).writer(RUN).metrics({"loss": 1.0})
    code = (
        "import sys\nsys.argv = ['holdfast', 'journal', 'status']\nfrom holdfast.cli import main\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code\n"
        "found = {'mlflow', 'boto3', 'sqlalchemy', 'pandas'} & set(sys.modules)\nassert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert RUN in done.stdout


def test_watching_ends_with_ctrl_c(root: Path) -> None:
    begin(root, RUN).writer(RUN).metrics({"loss": 1.0})
    code = (
        "import signal, sys, threading, os\nsys.argv = ['holdfast', 'journal', 'status', '--watch']\n"
        "threading.Timer(2.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "from holdfast.cli import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert RUN in done.stdout
    assert holdfast("journal", "status", "--watch", "--json").exit_code != 0


# --- what was set aside ------------------------------------------------------------------------


def set_aside(root: Path, what: str, content: Any, reason: str = "no", run_id: str = RUN) -> None:
    path = JournalPaths(root).run(run_id).aside
    save_asides(FILES, path, [*load_asides(FILES, path), aside(what, content, reason)])


def test_what_was_set_aside_is_shown_and_exported(root: Path, canary: str) -> None:
    begin(root, RUN)
    set_aside(root, "param", ["lr", "0.2"], "it is 0.1 already")
    set_aside(root, "metric", ["loss", math.nan, 1, 2, None])
    set_aside(root, "tag", ["db", f"postgresql://u:{canary}@h/d"])
    shown = holdfast("journal", "status", RUN)
    assert "it is 0.1 already" in shown.stdout
    lines = [json.loads(line, parse_constant=pytest.fail) for line in holdfast("journal", "export").stdout.splitlines()]
    assert [line["what"] for line in lines] == ["param", "metric", "tag"]
    assert lines[0]["run_id"] == RUN
    assert lines[1]["content"] == ["loss", "NaN", 1, 2, None]
    assert lines[2]["content"] == ["db", "postgresql://u:****@h/d"]
    assert holdfast("journal", "export", RUN, "-o", "out.jsonl").exit_code == 0
    assert [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()] == lines
    assert canary not in shown.output
    # The journal itself holds what was logged.
    (root / "runs" / RUN / "aside.jsonl").unlink()


def test_drop_asks_shows_and_deletes(root: Path) -> None:
    begin(root, RUN)
    set_aside(root, "param", ["lr", "0.2"], "it is 0.1 already")
    path = JournalPaths(root).run(RUN).aside
    for arguments in ((), (RUN, "--all")):
        assert holdfast("journal", "drop", *arguments).exit_code == 1  # raised through CliRunner
        assert isinstance(holdfast("journal", "drop", *arguments).exception, HoldfastError)
    dry = holdfast("journal", "drop", "--all", "--dry-run")
    assert dry.exit_code == 0
    assert "it is 0.1 already" in dry.stdout
    refused = holdfast("journal", "drop", RUN)
    assert getattr(refused.exception, "exit_code", 0) == 2
    assert "--yes" in str(refused.exception)
    assert load_asides(FILES, path)
    assert "1 thing deleted" in holdfast("journal", "drop", RUN, "--yes").stdout
    assert not path.exists()
    assert "Nothing is set aside" in holdfast("journal", "drop", "--all", "--yes").stdout


def test_files_that_wait_are_dropped_only_when_asked_for(root: Path, tmp_path: Path) -> None:
    journal = begin(root, RUN)
    (tmp_path / "model.pt").write_bytes(b"weights")
    journal.spool.hand_over([(tmp_path / "model.pt", "model.pt")], RUN, "s3://bucket/run", "access", journal.process)
    (parcel,) = journal.spool.parcels()
    assert "holdfast journal drop" not in holdfast("journal", "status").stdout  # nothing is wrong with it
    parcel.note_trouble("the store is gone")
    assert f"holdfast journal drop {RUN} --waiting" in holdfast("journal", "status").stdout
    assert "Nothing is set aside" in holdfast("journal", "drop", RUN, "--yes").stdout
    shown = holdfast("journal", "drop", RUN, "--waiting", "--dry-run").stdout
    assert "model.pt (7 bytes): the store is gone" in shown
    assert "--yes" in str(holdfast("journal", "drop", RUN, "--waiting").exception)
    assert parcel.is_there
    assert "1 file deleted" in holdfast("journal", "drop", RUN, "--waiting", "--yes").stdout
    assert not parcel.is_there
    assert "No files wait" in holdfast("journal", "drop", "--all", "--waiting", "--yes").stdout


def test_dropping_a_refused_run_says_and_takes_all_of_it(root: Path) -> None:
    journal = begin(root, LOCAL)
    writer = journal.writer(LOCAL)
    writer.metrics({"loss": math.inf}, 3, 1000)
    writer.entry(Kind.ENTITIES, {"p": [["lr", "0.1"]], "m": [["loss", 1.0, 5, 6, "m-1", None, None]]})
    writer.entry(Kind.UPDATE, {"status": "FINISHED", "end_time": 5, "name": None})
    set_aside(root, "run", {"run_id": LOCAL}, "the experiment is deleted", LOCAL)
    artifacts = root / "runs" / LOCAL / "artifacts"
    artifacts.mkdir()
    (artifacts / "plot.png").write_bytes(b"x")
    (run,) = document("journal", "status")["journals"][0]["runs"]
    assert (run["state"], run["server_id"], run["files_waiting"]) == ("blocked", None, 1)
    lines = [json.loads(line) for line in holdfast("journal", "export", LOCAL).stdout.splitlines()]
    assert [(line["what"], line["content"]) for line in lines] == [
        ("run", {"run_id": LOCAL}),
        ("metric", ["loss", "Infinity", 1000, 3, None]),
        ("metric", ["loss", 1.0, 5, 6, ["m-1", None, None]]),
        ("param", ["lr", "0.1"]),
        ("update", {"status": "FINISHED", "end_time": 5, "name": None}),
    ]
    end(journal)
    done = holdfast("journal", "drop", LOCAL, "--yes")
    assert "3 records and 1 file that were never delivered" in done.stdout
    assert list((root / "runs").iterdir()) == []


def test_a_refused_run_is_not_dropped_under_its_process(root: Path) -> None:
    begin(root, RUN)
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(root), RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        set_aside(root, "run", {"run_id": RUN})
        assert "still logs to run" in str(holdfast("journal", "drop", RUN, "--yes").exception)
        child.communicate("")
    assert holdfast("journal", "drop", RUN, "--yes").exit_code == 0
    assert not (root / "runs" / RUN).exists()


# --- ids ---------------------------------------------------------------------------------------


def test_a_local_id_is_resolved(root: Path) -> None:
    paths = begin(root, LOCAL).paths
    later = holdfast("runs", "resolve", LOCAL)
    assert getattr(later.exception, "exit_code", 0) == 3
    assert "not on the server yet" in str(later.exception)
    resolve(paths, LOCAL, RUN)
    assert holdfast("runs", "resolve", LOCAL).stdout == f"{RUN}\n"
    assert document("runs", "resolve", LOCAL) == {"local_id": LOCAL, "run_id": RUN}
    unknown = holdfast("runs", "resolve", "local-2")
    assert isinstance(unknown.exception, NotFoundError)


def test_a_run_is_found_by_both_ids_and_in_all_its_folders(root: Path) -> None:
    paths = begin(root, LOCAL).paths
    begin(root, RUN)
    begin(root, "other")
    resolve(paths, LOCAL, RUN)
    journals = places_of(load_settings()).all
    for run_id in (RUN, LOCAL):
        assert {run.run_id for run in find_run(journals, run_id)} == {RUN, LOCAL}
    assert [run.run_id for run in find_run(journals, "other")] == ["other"]


# --- places ------------------------------------------------------------------------------------


def test_a_journal_is_found_from_every_folder(root: Path, tmp_path: Path) -> None:
    begin(root, RUN)
    settings = load_settings()
    for path in (root, root.parent, root.parent.parent):
        assert [journal.root for journal in places_of(settings, path).journals] == [root]
    found = places_of(settings, root / "runs" / RUN)
    assert (found.journals[0].root, found.run_id) == (root, RUN)
    with pytest.raises(NotFoundError, match="There is no journal"):
        places_of(settings, tmp_path)


def test_a_journal_goes_only_where_it_was_meant_to_go(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "copied"
    begin(elsewhere, RUN, "http://u:****@plane:5000")
    settings = load_settings()
    journals = places_of(settings, elsewhere).journals
    with pytest.raises(SettingsError, match="was written for http://u") as refusal:
        targets_of(settings, journals)
    assert f"--to {URI}" in refusal.value.hint
    (target,) = targets_of(settings, journals, is_chosen=True)
    assert (target.root, target.tracking_uri) == (elsewhere, URI)
    begin(root, RUN)
    (target,) = targets_of(settings, [*journals, *places_of(settings).journals], is_chosen=True)
    assert target.root == root


# --- without a server --------------------------------------------------------------------------


def test_verify_and_sync_without_a_server(root: Path) -> None:
    begin(root, LOCAL).writer(LOCAL).metrics({"loss": 1.0})
    started = time.monotonic()
    done = holdfast("sync", "--json")
    assert done.exit_code == 3, done.output
    (found,) = json.loads(done.stdout)["journals"]
    assert [run["result"] for run in found["runs"]] == ["pending"]
    assert "refused" in found["reason"]
    assert time.monotonic() - started < 20
    assert holdfast("verify", LOCAL).exit_code == 3
    assert "stored files are not checked here" in holdfast("verify", LOCAL).stdout
    begin(root, RUN).writer(RUN).metrics({"loss": 1.0})
    assert getattr(holdfast("verify", RUN).exception, "exit_code", 0) == 3


def test_sync_on_a_pipe_says_now_and_then_what_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.cli.sync._LINE_EVERY_S", 0.5)
    begin(root, LOCAL).writer(LOCAL).metrics({"loss": 1.0})
    done = holdfast("sync")
    assert done.exit_code == 3
    lines = [line for line in done.stderr.splitlines() if line.startswith(f"delivering to {URI}: 0 of 1 run, ")]
    assert len(lines) >= 2
    assert "last trouble: " in lines[-1]
    assert "refused" in lines[-1]


def test_sync_with_nothing_to_do(root: Path) -> None:
    done = holdfast("sync")
    assert (done.exit_code, done.stdout) == (0, "There is nothing to deliver.\n")


# --- details -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (math.nan, -math.nan, True),
        (math.inf, 1.7976931348623157e308, True),
        (-math.inf, -1.7976931348623157e308, True),
        (math.inf, -math.inf, False),
        (0.0, -0.0, True),
        (1, 1.0, True),
        (1.0, 1.0000000000000002, False),
    ],
)
def test_values_are_told_apart_as_mlflow_does(one: float, other: float, is_same: bool) -> None:
    assert (pack_point(one, 1, 2) == pack_point(other, 1, 2)) == is_same
    assert pack_point(one, 1, 2) != pack_point(one, 1, 3)


def test_a_run_with_files_that_wait_is_never_deleted(root: Path) -> None:
    paths = begin(root, LOCAL).paths
    resolve(paths, LOCAL, RUN)
    deliver_all(paths, LOCAL)
    folder = paths.run(LOCAL).folder
    (folder / "artifacts" / "plots").mkdir(parents=True)
    (folder / "artifacts" / "plots" / "roc.png").write_bytes(b"x")
    assert (retire(paths, older_than_s=0.0), retire(paths, needed_bytes=1 << 40)) == (0, 0)
    (run,) = document("journal", "status")["journals"][0]["runs"]
    assert (run["state"], run["files_waiting"]) == ("pending", 1)
    os.replace(folder / "artifacts", folder / "artifacts.sent")
    assert retire(paths, older_than_s=0.0) > 0
    assert not folder.exists()
