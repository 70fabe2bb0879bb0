"""Many processes at once open a database that has no tables yet."""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast import MLflowTracker, open_project
from holdfast.backend import first_opening
from holdfast.backend.first_opening import opened_alone
from holdfast.errors import BackendUnavailableError
from holdfast.testing.fixtures import PostgresAccess

PROCESSES = 4
# Forked from one that has done the imports, which take seconds; they begin together, when the pipe is closed.
TOGETHER = """
import os
import sys
import mlflow.store.tracking.sqlalchemy_store
from holdfast import MLflowTracker, open_project

waits, goes = os.pipe()
for _ in range(int(sys.argv[2])):
    if os.fork() == 0:
        os.close(goes)
        os.read(waits, 1)
        break
else:
    os.close(goes)
    codes = [os.wait()[1] for _ in range(int(sys.argv[2]))]
    os._exit(any(codes))
"""
OPENS = """
project = open_project(tracking_uri=sys.argv[1])
print(project.experiment().experiment_id, project.models.models())
"""
LOGS = """
with MLflowTracker(sys.argv[1], experiment_name="many") as tracker:
    tracker.log_metrics({"x": 1.0}, step=0)
tracker.flush(60)
print("1 []")
"""


def open_together(program: str, uri: str) -> None:
    line = [sys.executable, "-c", TOGETHER + program, uri, str(PROCESSES)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [told.split()[-1] for told in done.stdout.splitlines()] == ["[]"] * PROCESSES


@pytest.mark.parametrize("program", [OPENS, LOGS], ids=["opens", "logs"])
def test_sqlite(program: str, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    open_together(program, uri)
    project = open_project(tracking_uri=uri)
    if program is LOGS:
        with MLflowTracker(uri, experiment_name="many") as tracker:
            assert len(tracker.client.search_runs([tracker.experiment_id])) == PROCESSES
    assert project.models.models() == []
    assert [path.name for path in (tmp_path / "new").iterdir() if "holdfast" in path.name] == []


def test_postgres(postgres: PostgresAccess) -> None:
    name = f"new_{secrets.token_hex(6)}"
    uri = postgres.create_database(name)
    try:
        open_together(OPENS, uri)
        assert open_project(tracking_uri=uri).models.models() == []
    finally:
        postgres.drop_database(name)


def test_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process that hangs while it opens a database is told of, and not waited for without end."""
    monkeypatch.setattr(first_opening, "_WAIT_S", 0.1)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    program = f"""
import sys
from holdfast.backend.first_opening import opened_alone
with opened_alone({uri!r}), opened_alone({uri!r}):
    print("held", flush=True)
    sys.stdin.read()
"""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], text=True, **pipes) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(BackendUnavailableError, match="Another process has been opening sqlite"), opened_alone(uri):
            pass
        child.kill()
    with opened_alone(uri):
        pass
