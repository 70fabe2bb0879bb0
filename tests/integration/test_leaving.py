"""What a process does at its end, and what it says: found by people who tried it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from holdfast.testing import free_port

_HEAD = """
import mlflow, os, sys
"""


def _start(code: str, **environ: str) -> subprocess.Popen[str]:
    script = textwrap.dedent(_HEAD) + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    process = _start(code, **environ)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def dead() -> str:
    """The address of a server that is not there."""
    return f"http://127.0.0.1:{free_port()}"


def test_an_unlimited_wait_waits(sqlite_uri: str) -> None:
    code = """
    with mlflow.start_run():
        for i in range(3000):
            mlflow.log_metric("a", 1, step=i)
    """
    where = {"MLFLOW_TRACKING_URI": sqlite_uri, "HOLDFAST_DELIVERY": "journal", "HOLDFAST_SHIPPER": "none"}
    done = _run(code, HOLDFAST_EXIT_WAIT="unlimited", **where)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "not delivered" not in done.stderr
    import mlflow

    client = mlflow.MlflowClient(sqlite_uri)
    (run,) = client.search_runs(["0"])
    assert len(client.get_metric_history(run.info.run_id, "a")) == 3000


def test_a_call_that_waits_for_room_ends_by_one_signal(dead: str) -> None:
    code = """
    with mlflow.start_run():
        print("begun", flush=True)
        for i in range(100000):
            mlflow.set_tag("t", "x" * 3000 + str(i))
    """
    process = _start(
        code,
        MLFLOW_TRACKING_URI=dead,
        HOLDFAST_DELIVERY="journal",
        HOLDFAST_JOURNAL_LIMIT="1MiB",
        HOLDFAST_JOURNAL_FULL="block",
        HOLDFAST_SHIPPER="none",
        HOLDFAST_EXIT_WAIT="1",
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().strip() == "begun"
    for line in process.stderr:
        if "is full" in line:
            break
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - started < 30
    assert process.returncode == 143, errors
    assert "holdfast sync" in errors


def test_the_exit_names_what_was_set_aside_and_what_sync_uploads(mlflow_server: object, dead: str) -> None:
    url = mlflow_server.url  # type: ignore[attr-defined]
    refused = _run('mlflow.MlflowClient().log_metric("f" * 32, "a", 1)', MLFLOW_TRACKING_URI=url, **_JOURNAL)
    assert "was set aside: holdfast journal status ffff" in refused.stderr
    assert "holdfast sync" not in refused.stderr
    files = _run('mlflow.start_run(); mlflow.log_text("x", "x.txt")', MLFLOW_TRACKING_URI=dead, **_JOURNAL)
    assert "begun offline are uploaded once it is on the server, or by: holdfast sync" in files.stderr


_JOURNAL = {"HOLDFAST_DELIVERY": "journal", "HOLDFAST_SHIPPER": "none", "HOLDFAST_EXIT_WAIT": "5"}


@pytest.mark.parametrize("source", [".env", "pyproject.toml"])
def test_a_plain_script_goes_where_the_project_says(source: str, sqlite_uri: str) -> None:
    texts = {
        ".env": f"MLFLOW_TRACKING_URI={sqlite_uri}\nHOLDFAST_DELIVERY=journal\n",
        "pyproject.toml": f'[tool.holdfast]\ntracking-uri = "{sqlite_uri}"\ndelivery = "journal"\n',
    }
    Path(source).write_text(texts[source])
    code = """
    with mlflow.start_run():
        mlflow.log_metric("a", 1)
    print(mlflow.get_tracking_uri())
    """
    done = _run(code, HOLDFAST_SHIPPER="none")
    assert done.stdout.splitlines()[-1] == sqlite_uri, done.stderr
    assert not Path("mlflow.db").exists()
    # What the environment or the script says goes first.
    other = f"sqlite:///{Path('other.db').absolute()}"
    assert _run(code, MLFLOW_TRACKING_URI=other).stdout.splitlines()[-1] == other


def test_half_of_a_surrogate_pair_is_refused_at_the_call(sqlite_uri: str) -> None:
    code = """
    with mlflow.start_run():
        for call in (mlflow.set_tag, mlflow.log_param):
            try:
                call("sur", chr(0xD800))
            except mlflow.exceptions.MlflowException as error:
                print(error)
    """
    done = _run(code, MLFLOW_TRACKING_URI=sqlite_uri, **_JOURNAL)
    assert done.stdout.count("surrogate") == 2, done.stderr


def test_a_file_where_the_journal_should_be_is_said(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    for command in (["journal", "status"], ["sync"], ["sync", str(path)]):
        done = subprocess.run(
            [sys.executable, "-m", "holdfast", *command],
            env={**os.environ, "HOLDFAST_JOURNAL": str(path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "unexpected" not in done.stderr, done.stderr


def test_a_shipper_leaves_when_somebody_else_has_delivered(sqlite_uri: str, dead: str) -> None:
    from holdfast.delivery.run import RunDelivery
    from holdfast.delivery.shipper import Shipper
    from holdfast.delivery.target import Target
    from holdfast.journal.layout import JournalPaths

    done = _run(
        'with mlflow.start_run(): mlflow.log_metric("a", 1)',
        MLFLOW_TRACKING_URI=dead,
        HOLDFAST_JOURNAL="journal",
        **_JOURNAL,
    )
    assert done.returncode == 0, done.stderr
    (root,) = Path("journal").absolute().iterdir()
    paths = JournalPaths(root)
    (run_id,) = [folder.name for folder in paths.runs.iterdir()]
    assert RunDelivery(paths, run_id).deliver(Target(sqlite_uri, root).sender()).is_complete
    started = time.monotonic()
    Shipper(Target(dead, root)).run()
    assert time.monotonic() - started < 60
