"""Shared by the tests of `holdfast gc`: calling it, and a store with runs to be deleted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner, Result

from holdfast.cli.app import app
from holdfast.errors import HoldfastError
from holdfast.testing import S3Access

ALL = ("--older-than", "0s", "--grace", "0s")
EVERYTHING = {"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::*"]}


def gc(*arguments: str, **how: Any) -> Result:
    done = CliRunner().invoke(app, ["gc", *arguments], **how)
    if done.exception is not None and not isinstance(done.exception, SystemExit | HoldfastError):
        raise done.exception
    return done


def store_in(folder: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Return a store, the environment's, whose experiment keeps its files in a folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient(uri)
    client.create_experiment("old", artifact_location=str(folder / "files" / "old"))
    return client


def add_run(client: MlflowClient, name: str = "run", experiment: str = "old", is_deleted: bool = True) -> str:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    run = client.create_run(found.experiment_id, run_name=name)
    client.log_text(run.info.run_id, "content", "a.txt")
    client.set_terminated(run.info.run_id)
    if is_deleted:
        client.delete_run(run.info.run_id)
    return str(run.info.run_id)


def add_production(client: MlflowClient) -> str:
    """Register what a run has, and delete that run."""
    run_id = add_run(client, "champion", is_deleted=False)
    client.create_registered_model("fraud")
    client.create_model_version("fraud", f"{client.get_run(run_id).info.artifact_uri}", run_id)
    client.set_registered_model_alias("fraud", "champion", "1")
    client.delete_run(run_id)
    return run_id


def run_ids(client: MlflowClient) -> set[str]:
    experiments = [found.experiment_id for found in client.search_experiments(view_type=3)]
    return {run.info.run_id for run in client.search_runs(experiments, run_view_type=3)}


def files(tmp_path: Path) -> list[str]:
    return sorted(path.parts[-3] for path in (tmp_path / "files").rglob("*") if path.is_file())


def code(done: Result) -> int:
    """Return the code that the process would end with."""
    return done.exception.exit_code if isinstance(done.exception, HoldfastError) else done.exit_code


def use(server: S3Access, account: str, monkeypatch: pytest.MonkeyPatch, *statements: Mapping[str, Any]) -> None:
    made = server.add_account(account, policy={"Version": "2012-10-17", "Statement": list(statements)})
    monkeypatch.setenv("MLFLOW_AWS_ACCESS_KEY_ID", made.access_key_id)
    monkeypatch.setenv("MLFLOW_AWS_SECRET_ACCESS_KEY", made.secret_access_key)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", server.endpoint_url)
