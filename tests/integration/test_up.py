"""`holdfast up`, and a client that logs through it with the tracker."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast import MLflowTracker
from holdfast.testing import S3Access


@contextmanager
def up(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the command and wait for its address; whatever happens, nothing is left running."""
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "up", "--port", "0", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    seen = ""
    try:
        for line in process.stdout:
            seen += line
            found = re.search(r"MLflow is up: (\S+)", line)
            if found:
                yield process, found[1]
                return
        raise AssertionError(f"it never came up:\n{seen}")
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def test_up_serves_the_projects_runs_and_ends_on_ctrl_c(sqlite_uri: str, unique: str, tmp_path: Path) -> None:
    with MLflowTracker(tracking_uri=sqlite_uri, experiment_name=unique) as before:
        before.log_metrics({"x": 1})
        run_id = before.run_id
    before.flush()
    with up(MLFLOW_TRACKING_URI=sqlite_uri) as (process, url):
        assert "<title>MLflow" in urllib.request.urlopen(url).read().decode()
        tracker = MLflowTracker(tracking_uri=url, experiment_name=unique)
        assert tracker.get_run_info(run_id)["metrics"] == {"x": 1.0}
        (tmp_path / "f.txt").write_text("through the server")
        through = MLflowTracker(tracking_uri=url, experiment_name=f"{unique}-proxied")
        with through.run() as proxied:
            through.log_artifact(tmp_path / "f.txt", "")
        through.flush()  # the file goes up in another process
        assert through.get_run_info(proxied)["artifact_uri"].startswith("mlflow-artifacts:/")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    port = int(url.rsplit(":", 1)[1])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert [path.name for path in Path("mlartifacts").rglob("f.txt")] == ["f.txt"]


def test_up_tells_that_its_server_died(sqlite_uri: str, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "server.log"
    with up("--log", str(log), MLFLOW_TRACKING_URI=sqlite_uri) as (process, _):
        assert process.stdout is not None
        assert "Uvicorn running" in log.read_text()
        assert log.stat().st_mode & 0o777 == 0o600
        _kill_server_of(process.pid)
        assert process.wait(timeout=60) == 1
        said = process.stdout.read()
    assert "error: The MLflow server ended by itself: it was killed by signal 9." in said
    assert str(log) in said
    assert "Uvicorn running" in said


def _kill_server_of(pid: int) -> None:
    """SIGKILL MLflow's process: the child of the small process between `holdfast up` and it."""
    between = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
    server = Path(f"/proc/{between}/task/{between}/children").read_text().split()[0]
    os.kill(int(server), signal.SIGKILL)


def test_up_keeps_files_in_the_projects_bucket(
    s3_server: S3Access, sqlite_uri: str, unique: str, tmp_path: Path
) -> None:
    bucket = f"up-{unique[-8:]}"
    account = s3_server.add_account(unique, [bucket])
    settings = {
        "MLFLOW_TRACKING_URI": sqlite_uri,
        "MLFLOW_ARTIFACT_ROOT": f"s3://{bucket}/runs",
        "MLFLOW_S3_ENDPOINT_URL": s3_server.endpoint_url,
        "MLFLOW_AWS_ACCESS_KEY_ID": account.access_key_id,
        "MLFLOW_AWS_SECRET_ACCESS_KEY": account.secret_access_key,
        "AWS_ACCESS_KEY_ID": "AKIASTRANGER",
        "AWS_SECRET_ACCESS_KEY": "stranger",
    }
    (tmp_path / "f.txt").write_text("x")
    with up(**settings) as (process, url):
        tracker = MLflowTracker(tracking_uri=url, experiment_name=unique)
        with tracker.run() as run_id:
            tracker.log_artifact(tmp_path / "f.txt", "")  # this client has no keys at all
        tracker.flush()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    keys = [item["Key"] for item in s3_server.client().list_objects_v2(Bucket=bucket)["Contents"]]
    assert len(keys) == 1
    assert keys[0].endswith(f"{run_id}/artifacts/f.txt")


def test_up_needs_a_database(unique: str) -> None:
    command = [sys.executable, "-m", "holdfast", "up"]
    done = subprocess.run(
        command,
        env={**os.environ, "MLFLOW_TRACKING_URI": "https://mlflow.example.com"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "MLFLOW_BACKEND_STORE_URI" in done.stderr
