"""`setup_mlflow` and `get_mlflow_config`: plain MLflow code on the project's stores, and a block that is true."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast import get_mlflow_config, setup_mlflow


def test_plain_mlflow_code_goes_to_the_projects_experiment(
    sqlite_uri: str, unique: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import boto3
    import mlflow

    Path(".env").write_text(f"MLFLOW_TRACKING_URI={sqlite_uri}\nMLFLOW_EXPERIMENT_NAME={unique}\n")
    Path(".env").chmod(0o600)
    before = dict(os.environ)
    config = setup_mlflow()
    with mlflow.start_run() as run:
        mlflow.log_metric("x", 1.0)
    assert mlflow.get_experiment(run.info.experiment_id).name == unique
    assert mlflow.get_tracking_uri() == sqlite_uri == config.tracking_uri
    assert capsys.readouterr().out.startswith(f"MLflow Configuration:\n  Tracking URI: {sqlite_uri}\n")
    assert dict(os.environ) == before
    assert boto3.DEFAULT_SESSION is None


def test_quiet(sqlite_uri: str, unique: str, capsys: pytest.CaptureFixture[str]) -> None:
    setup_mlflow(verbose=False, tracking_uri=sqlite_uri, experiment_name=unique)
    assert capsys.readouterr().out == ""


def test_the_printed_block(canary: str) -> None:
    config = get_mlflow_config(
        artifact_uri="s3://bucket/runs",
        s3_endpoint_url="http://127.0.0.1:1",
        s3_access_key_id="AKIDEXAMPLE",
        s3_secret_access_key=canary,
        region="eu-south-1",
    )
    assert str(config).splitlines() == [
        "MLflow Configuration:",
        f"  Tracking URI: sqlite:///{Path.cwd()}/mlflow.db",
        "  Storage Type: S3 (Remote)",
        "  Artifact Root: s3://bucket/runs",
        "  S3 Endpoint: http://127.0.0.1:1",
        f"  AWS Credentials: {config.settings.credentials.origin}",
        "  AWS Region: eu-south-1",
    ]
    assert config.use_s3
    assert config.aws_access_key_id == "AKIDEXAMPLE"
    assert config.aws_secret_access_key.get_secret_value() == canary
    assert canary not in repr(config) + str(config) + repr(config.aws_secret_access_key)
    assert list(Path.cwd().iterdir()) == []  # asking creates no database


def test_a_store_that_does_not_answer_is_said(canary: str) -> None:
    from holdfast.testing import free_port

    for uri in (
        f"http://user:{canary}@127.0.0.1:{free_port()}",
        f"postgresql://user:{canary}@127.0.0.1:{free_port()}/x",
    ):
        text = str(get_mlflow_config(tracking_uri=uri))
        assert "the experiment's storage could not be asked" in text
        assert "user:****@127.0.0.1" in text
        assert canary not in text


def test_the_servers_choice_is_shown(tracking_uri: str, unique: str) -> None:
    from holdfast import MLflowTracker

    MLflowTracker(tracking_uri=tracking_uri, experiment_name=unique)
    text = str(get_mlflow_config(tracking_uri=tracking_uri, experiment_name=unique))
    expected = "Proxied by the tracking server" if tracking_uri.startswith("http") else "Local"
    assert f"  Storage Type: {expected}" in text
