"""`holdfast doctor` as a person and as a program meets it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import holdfast
from holdfast.cli.app import app
from holdfast.errors import InvalidInputError
from holdfast.server.ports import free_port
from holdfast.testing import FaultProxy, S3Access

LOCAL = "env,boto3,credentials,config.settings,config.root"


@pytest.fixture
def project() -> Path:
    """A healthy project: in git, `.env` ignored and private, everything on this machine."""
    folder = Path.cwd()
    subprocess.run(["git", "init", "-q"], check=True)
    (folder / "pyproject.toml").write_text("")
    (folder / ".gitignore").write_text(".env\n.holdfast/\n")
    (folder / ".env").write_text("HOLDFAST_DELIVERY=direct\n")
    (folder / ".env").chmod(0o600)
    return folder


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments])


def document(*arguments: str) -> Any:
    done = invoke(*arguments, "--json")
    return json.loads(done.stdout)


def test_a_healthy_project_has_no_warning(project: Path) -> None:
    done = invoke("--strict")
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    assert " FAILED " not in done.stdout
    assert "warning" not in done.stdout
    lines = done.stdout.splitlines()
    assert [line for line in lines if line[0] != " "][:-1] == [
        "env",
        "boto3",
        "credentials",
        "s3",
        "config",
        "server",
        "journal",
    ]
    assert " skipped in " in lines[-1]
    assert sorted(path.name for path in project.iterdir()) == [".env", ".git", ".gitignore", "pyproject.toml"]


def test_the_six_checks_of_the_seeds_are_there(project: Path) -> None:
    names = "env,boto3,credentials,s3,config,server"
    together, apart = (
        document("--only", names),
        document(*(part for name in names.split(",") for part in ("--only", name))),
    )
    assert [entry["name"] for entry in together["checks"]] == [entry["name"] for entry in apart["checks"]]
    assert {entry["name"].partition(".")[0] for entry in together["checks"]} == set(names.split(","))


def test_a_document_for_programs(project: Path) -> None:
    (project / ".env").chmod(0o644)
    found = document("--only", LOCAL)
    assert (found["status"], found["counts"]["failed"], found["left_behind"], found["fixed"]) == ("warning", 0, [], [])
    (entry,) = [entry for entry in found["checks"] if entry["name"] == "env.dotenv_private"]
    assert entry["status"] == "warning"
    assert entry["remedy"] == f"chmod 600 {project}/.env"
    assert (entry["can_fix"], entry["evidence"], entry["retryable"]) == (True, "told", False)
    assert entry["asks"].endswith("?")


def test_exit_codes(project: Path) -> None:
    assert invoke("--only", LOCAL).exit_code == 0
    (project / ".env").chmod(0o644)
    assert (invoke("--only", LOCAL).exit_code, invoke("--only", LOCAL, "--strict").exit_code) == (0, 1)
    (project / ".env").write_text("MLFLOW_ARTIFACT_ROOT=pyproject.toml/files\n")
    assert invoke("--only", LOCAL).exit_code == 1
    (project / ".env").write_text("MLFLOW_TRACKING_URI=s3://bucket/x\n")
    assert invoke("--only", "server").exit_code == 2
    (project / ".env").write_text(
        "MLFLOW_ARTIFACT_ROOT=s3://bucket/x\nMLFLOW_AWS_ACCESS_KEY_ID=AKIDEXAMPLE12345\n"
        f"MLFLOW_AWS_SECRET_ACCESS_KEY=secret-key\nMLFLOW_S3_ENDPOINT_URL=http://127.0.0.1:{free_port()}\n"
    )
    assert invoke("--only", "credentials").exit_code == 3


def test_a_failure_cannot_be_overlooked(project: Path) -> None:
    (project / ".env").write_text("MLFLOW_TRACKING_URI=s3://bucket/x\n")
    done = invoke("--only", "config")
    *_, last = done.stdout.splitlines()
    assert last.startswith("1 FAILED (config.settings), ")
    assert "  FAILED  config.settings " in done.stdout
    assert "-> set MLFLOW_ARTIFACT_ROOT=s3://bucket/x for the files" in done.stdout


def test_names_that_mean_nothing_are_refused(project: Path) -> None:
    done = invoke("--only", "sever")
    assert isinstance(done.exception, InvalidInputError)
    assert "did you mean 'server'?" in done.exception.hint
    assert done.exception.exit_code == 2


def test_fixes_are_listed_asked_for_applied_and_looked_at_again(project: Path) -> None:
    (project / ".env").chmod(0o644)
    (project / ".gitignore").write_text("")
    planned = invoke("--only", "env", "--fix", "--dry-run")
    assert f"to mend env.dotenv_private: make {project}/.env readable for its owner alone" in planned.stdout
    assert (project / ".env").stat().st_mode & 0o777 == 0o644
    done = invoke("--only", "env", "--fix", "--yes")
    assert done.exit_code == 0
    assert f"mended env.dotenv_private: {project}/.env: mode 0600" in done.stdout
    assert "  ok      env.git_ignored" in done.stdout.partition("mended")[2]
    assert ".env" in (project / ".gitignore").read_text().splitlines()
    again = invoke("--only", "env", "--fix", "--yes", "--strict")
    assert again.exit_code == 0
    assert "There is nothing that can be mended without you." in again.stdout


def test_fixes_in_a_document(project: Path) -> None:
    (project / ".env").chmod(0o644)
    found = document("--only", "env", "--fix", "--yes")
    assert found["status"] == "ok"
    assert [(item["check"], item["error"]) for item in found["fixed"]] == [("env.dotenv_private", None)]


@pytest.mark.parametrize("arguments", [["--fix"], ["--fix", "--json"], ["--yes"], ["--dry-run"]])
def test_what_would_hang_or_mean_nothing_is_refused(arguments: list[str], project: Path) -> None:
    done = invoke("--only", "env", *arguments)
    assert isinstance(done.exception, InvalidInputError)
    assert (done.stdout, done.exception.exit_code) == ("", 2)


def test_no_secret_is_ever_shown(
    project: Path, s3_server: S3Access, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every place that may hold one, with a traceback to come along."""
    monkeypatch.setenv("HOLDFAST_DEBUG", "1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDGLOBAL123456")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"{canary}-global")
    (project / ".env").write_text(
        f"MLFLOW_AWS_ACCESS_KEY_ID=AKIDEXAMPLE12345\nMLFLOW_AWS_SECRET_ACCESS_KEY={canary}-key\n"
        f"MLFLOW_AWS_SESSION_TOKEN={canary}-token\nMLFLOW_ARTIFACT_ROOT=s3://bucket/x\n"
        f"MLFLOW_TRACKING_URI=postgresql://me:{canary}-password@127.0.0.1:{free_port()}/db\n"
        f"MLFLOW_S3_ENDPOINT_URL={s3_server.endpoint_url}\n"
    )
    for arguments in ([], ["--json"]):
        done = invoke("--timeout", "6", *arguments)
        assert done.exit_code == 1, done.output
        assert canary not in done.output
        assert "AKIDEXAMPLE12345" not in done.output
        assert "AKIDGLOBAL123456" not in done.output
    (project / ".env").write_text(
        f"MLFLOW_TRACKING_URI=nonsense://me:{canary}@host\nMLFLOW_TRACKING_PASSWORD={canary}\n"
    )
    assert canary not in invoke("--json").output


def test_nothing_answers_anywhere_and_the_command_ends_all_the_same(
    project: Path, s3_server: S3Access, canary: str
) -> None:
    with FaultProxy(s3_server.endpoint_url) as proxy:
        proxy.black_hole()
        (project / ".env").write_text(
            f"MLFLOW_TRACKING_URI={proxy.url}\nMLFLOW_ARTIFACT_ROOT=s3://bucket/x\nMLFLOW_S3_ENDPOINT_URL={proxy.url}\n"
            f"MLFLOW_AWS_ACCESS_KEY_ID=AKIDEXAMPLE12345\nMLFLOW_AWS_SECRET_ACCESS_KEY={canary}\n"
        )
        began_at = time.monotonic()
        command = [sys.executable, "-m", "holdfast", "doctor", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        took_s = time.monotonic() - began_at
    assert took_s < 25.0  # 15 on a machine that does nothing else
    assert done.returncode == 3, done.stdout
    assert canary not in done.stdout + done.stderr
    found = {entry["name"]: entry["status"] for entry in json.loads(done.stdout)["checks"]}
    assert (found["config.settings"], found["s3.endpoint"], found["server.reachable"]) == ("ok", "failed", "failed")


def test_in_a_notebook(project: Path) -> None:
    report = holdfast.examine(only=["env"])
    assert report.is_spotless
    assert str(report).startswith("env\n  ok      env.python ")
