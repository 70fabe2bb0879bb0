"""A real `mlflow server`: up, really healthy, in trouble, gone."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.errors import ServerError
from holdfast.server import MlflowServer, ServerOptions
from holdfast.server.health import why_not_healthy
from holdfast.testing import LocalMlflowServer, PostgresAccess, PostgresServer
from holdfast.testing.fixtures import make_tables


def members(group_id: int) -> list[int]:
    """The living processes of a group; a zombie that nobody reaped is not one."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,pid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(pid) for pgid, pid, state in rows if int(pgid) == group_id and not state.startswith("Z")]


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def fake_mlflow(folder: Path, code: str) -> dict[str, str]:
    """An environment in which `python -m mlflow` runs `code`."""
    package = folder / "fake" / "mlflow"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(code)
    return {"PYTHONPATH": str(package.parent)}


def sqlite_options(tmp_path: Path, env: dict[str, str]) -> ServerOptions:
    return ServerOptions(f"sqlite:///{tmp_path}/x.db", port=0, env=env)


class TestUp:
    def test_on_sqlite_it_serves_and_comes_back_after_a_kill(
        self, sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mlflow import MlflowClient

        options = ServerOptions(sqlite_uri, artifacts_destination=str(tmp_path / "files"), port=0)
        with LocalMlflowServer(options) as server:
            url, group_id = server.url, server._server.pid or 0
            monkeypatch.setenv("MLFLOW_TRACKING_URI", url)  # older clients find the server's files only by it
            client = MlflowClient(url)
            run = client.create_run(client.create_experiment("kept"))
            client.log_text(run.info.run_id, "content", "note.txt")
            server.kill()
            assert members(group_id) == []
            server.start()
            assert server.url == url
            assert MlflowClient(url).get_run(run.info.run_id).info.run_id == run.info.run_id
            assert [path.read_text() for path in (tmp_path / "files").rglob("note.txt")] == ["content"]
            group_id = server._server.pid or 0
        assert members(group_id) == []
        assert why_not_healthy(url) == "nothing listens there yet"

    def test_on_postgresql_no_password_shows_and_no_worker_stays(
        self, postgres_uri: str, postgres: PostgresAccess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "somebody's")
        before = dict(os.environ)
        options = ServerOptions(postgres_uri, port=0, workers=2, env={"AWS_ACCESS_KEY_ID": "ours"})
        waited: list[float] = []
        with MlflowServer(options) as server:
            server.wait_healthy(on_wait=waited.append)
            family = members(server.pid or 0)
            assert len(family) >= 4  # lifeline, mlflow, supervisor, workers
            shown = subprocess.run(
                ["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True, check=True
            ).stdout
            assert f"--port {server.port}" in shown
            assert postgres.password not in shown
            assert postgres.password not in server.log_tail(1000) + repr(server)
            if sys.platform == "linux":
                for pid in family:
                    seen = Path(f"/proc/{pid}/environ").read_text().split("\0")
                    assert "AWS_ACCESS_KEY_ID=ours" in seen
                    assert "MLFLOW_TRACKING_URI=http://127.0.0.1:1" not in seen
                    assert not [item for item in seen if item.startswith("AWS_SECRET")]
        assert members(server.pid or 0) == []
        assert not server.is_running
        assert dict(os.environ) == before
        assert waited == sorted(waited)
        assert waited

    def test_it_is_not_healthy_without_its_database(self) -> None:
        with PostgresServer() as database:
            uri = database.create_database()
            make_tables(uri)
            with LocalMlflowServer(ServerOptions(uri, port=0)) as server:
                database.kill()
                with urllib.request.urlopen(f"{server.url}/health", timeout=10) as answer:
                    assert answer.status == 200  # which is why /health is not enough
                assert why_not_healthy(server.url) != ""
                with pytest.raises(ServerError, match="did not work within") as caught:
                    server._server.wait_healthy(timeout_s=0.5)
                assert caught.value.retryable
                assert database.access.password not in str(caught.value)
                database.start()
                server._server.wait_healthy(timeout_s=60)

    def test_it_ends_with_its_parent(self, sqlite_uri: str) -> None:
        code = f"""
import time
from holdfast.server import MlflowServer, ServerOptions
server = MlflowServer(ServerOptions({sqlite_uri!r}, port=0))
server.start()
server.wait_healthy()
print(server.pid, flush=True)
time.sleep(600)
"""
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            group_id = int(parent.stdout.readline())
            assert members(group_id)
            parent.send_signal(signal.SIGKILL)
        wait_until(lambda: members(group_id) == [])

    def test_it_can_be_stopped_while_it_starts(self, tmp_path: Path) -> None:
        server = MlflowServer(ServerOptions(f"sqlite:///{tmp_path}/x.db", port=0))
        server.stop()  # before it started
        with server:
            with pytest.raises(ServerError, match="running already"):
                server.start()
            wait_until(lambda: len(members(server.pid or 0)) >= 2)
        assert members(server.pid or 0) == []
        server.stop()


class TestRefusals:
    def test_port_in_use(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            server = MlflowServer(ServerOptions(f"sqlite:///{tmp_path}/x.db", port=port))
            with pytest.raises(ServerError, match=f"Port {port}") as caught:
                server.start()
        assert "--port" in caught.value.hint
        assert not server.is_running

    def test_folder_of_sqlite_is_missing(self, tmp_path: Path) -> None:
        folder = tmp_path / "not there"
        with pytest.raises(ServerError, match="does not exist") as caught:
            MlflowServer(ServerOptions(f"sqlite:///{folder}/x.db", port=0)).start()
        assert caught.value.hint == f"mkdir -p '{folder}'"

    def test_wrong_password(self, postgres: PostgresAccess, canary: str) -> None:
        uri = postgres.uri("postgres").replace(postgres.password, canary)
        error = self._refused(uri)
        assert "refuses the user 'mlflow'" in error.message
        assert "psql" in error.hint
        assert not error.retryable
        assert canary not in str(error)

    def test_no_such_database(self, postgres: PostgresAccess) -> None:
        error = self._refused(postgres.uri("nothing"))
        assert "no database 'nothing'" in error.message
        assert "createdb" in error.hint
        assert postgres.password not in str(error)

    def test_unreachable_database(self, canary: str) -> None:
        error = self._refused(f"postgresql+psycopg://me:{canary}@127.0.0.1:1/runs")
        assert "cannot be reached at 127.0.0.1:1" in error.message
        assert "pg_isready" in error.hint
        assert error.retryable
        assert canary not in str(error)

    def test_unknown_driver(self, canary: str) -> None:
        error = self._refused(f"postgresql+nope://me:{canary}@127.0.0.1:1/runs")
        assert "postgresql.nope" in error.message
        assert canary not in str(error)

    def test_schema_of_another_version(self, sqlite_uri: str) -> None:
        with sqlite3.connect(sqlite_uri.removeprefix("sqlite:///")) as connection:
            connection.execute("UPDATE alembic_version SET version_num = 'f00f00f00f00'")
        options = ServerOptions(sqlite_uri, port=0)
        with MlflowServer(options) as server, pytest.raises(ServerError, match="f00f00f00f00") as caught:
            server.wait_healthy()
        # MLflow before 3.1 upgrades older schemas by itself, and says so otherwise.
        assert any(text in caught.value.message for text in ("is not that of the installed MLflow", "a newer MLflow"))
        assert "pip install --upgrade mlflow" in caught.value.hint

    def _refused(self, uri: str) -> ServerError:
        start = time.monotonic()
        with pytest.raises(ServerError) as caught:
            MlflowServer(ServerOptions(uri, port=0)).start()
        assert time.monotonic() - start < 20
        return caught.value


class TestDeath:
    def test_a_child_that_dies_tells_its_last_lines_masked(self, tmp_path: Path, canary: str) -> None:
        code = """
import os, sys
print("an earlier line")
print("destination", os.environ["MLFLOW_ARTIFACTS_DESTINATION"], "key", os.environ["AWS_SECRET_ACCESS_KEY"])
sys.exit("the reason of it all")
"""
        env = fake_mlflow(tmp_path, code) | {"AWS_SECRET_ACCESS_KEY": f"{canary}-key"}
        options = ServerOptions(f"sqlite:///{tmp_path}/x.db", f"https://me:{canary}@files/root", port=0, env=env)
        with MlflowServer(options) as server:
            with pytest.raises(ServerError, match="exit code 1") as caught:
                server.wait_healthy(timeout_s=30)
            assert server.wait() == 1
        shown = str(caught.value)
        assert "destination https://me:****@files/root key ****" in shown
        assert "the reason of it all" in shown
        assert canary not in shown

    def test_its_log_is_kept_where_asked(self, tmp_path: Path) -> None:
        log = tmp_path / "logs" / "mlflow.log"
        env = fake_mlflow(tmp_path, "raise SystemExit('why it ended')")
        options = ServerOptions(f"sqlite:///{tmp_path}/x.db", port=0, env=env, log_path=log)
        with MlflowServer(options) as server, pytest.raises(ServerError, match=r"mlflow\.log"):
            server.wait_healthy(timeout_s=30)
        assert "why it ended" in log.read_text()

    def test_a_child_that_never_answers_is_late(self, tmp_path: Path) -> None:
        env = fake_mlflow(tmp_path, "import time; print('I sleep', flush=True); time.sleep(600)")
        with MlflowServer(sqlite_options(tmp_path, env)) as server:
            wait_until(lambda: "I sleep" in server.log_tail())
            with pytest.raises(ServerError, match="nothing listens there yet") as caught:
                server.wait_healthy(timeout_s=0.3)
            assert "I sleep" in str(caught.value)
            assert server.is_running
        assert members(server.pid or 0) == []

    def test_never_started(self, tmp_path: Path) -> None:
        server = MlflowServer(sqlite_options(tmp_path, {}))
        for call in (server.wait_healthy, server.wait):
            with pytest.raises(ServerError, match="never started"):
                call()
