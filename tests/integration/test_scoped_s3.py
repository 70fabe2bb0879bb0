"""Plain MLflow, and MLflow's server, on S3 with the keys of the project, whatever else the process holds."""

from __future__ import annotations

import concurrent.futures
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from holdfast import MLflowTracker
from holdfast.server import ServerOptions
from holdfast.testing import Account, LocalMlflowServer, S3Access, SwiftAccess


class _Half(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return [value / 2 for value in model_input]


def bucket_of(unique: str) -> str:
    return unique.replace("_", "-")[-40:].strip("-")


@pytest.fixture
def account(s3_server: S3Access, unique: str) -> Account:
    return s3_server.add_account(unique, [bucket_of(unique)])


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Somebody else's keys in the environment, which must be the same afterwards, as boto3's default session must."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASTRANGER00000001")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "stranger")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "left-over")
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    yield aws
    assert {name: value for name, value in os.environ.items() if name.startswith("AWS_")} == aws
    assert boto3.DEFAULT_SESSION is None


def write_settings(server: S3Access, account: Account) -> None:
    Path(".env").write_text(
        f"MLFLOW_AWS_ACCESS_KEY_ID={account.access_key_id}\nMLFLOW_AWS_SECRET_ACCESS_KEY={account.secret_access_key}\n"
        f"MLFLOW_S3_ENDPOINT_URL={server.endpoint_url}\n"
    )


@pytest.fixture
def experiment(sqlite_uri: str, unique: str) -> Iterator[str]:
    mlflow.set_tracking_uri(sqlite_uri)
    yield mlflow.create_experiment(unique, artifact_location=f"s3://{bucket_of(unique)}/root")
    mlflow.set_tracking_uri(None)


def test_files_and_models_of_plain_mlflow(
    s3_server: S3Access, account: Account, unique: str, experiment: str, strangers: dict[str, str], tmp_path: Path
) -> None:
    write_settings(s3_server, account)
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "a.txt").write_text("a")
    (tmp_path / "folder" / "deep" / "b.txt").write_text("b")
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_artifact(str(tmp_path / "folder" / "a.txt"))
        mlflow.log_artifacts(str(tmp_path / "folder"), "all")
        mlflow.log_dict({"x": 1}, "conf/x.json")
        logged = mlflow.pyfunc.log_model(name="half", python_model=_Half())
    client = mlflow.MlflowClient()
    listed = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"a.txt", "all", "conf"} <= listed
    fetched = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="all"))
    assert (fetched / "deep" / "b.txt").read_text() == "b"
    assert mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/conf/x.json") == {"x": 1}
    assert mlflow.pyfunc.load_model(logged.model_uri).predict([4.0]) == [2.0]
    keys = [item["Key"] for item in s3_server.client().list_objects_v2(Bucket=bucket_of(unique))["Contents"]]
    assert any(key.endswith("MLmodel") for key in keys)


def test_wrong_keys_are_said_with_their_origin_and_remedy(
    s3_server: S3Access, account: Account, unique: str, experiment: str, tmp_path: Path, canary: str
) -> None:
    write_settings(s3_server, Account("x", account.access_key_id, canary))
    (tmp_path / "f.txt").write_text("x")
    with mlflow.start_run(experiment_id=experiment), pytest.raises(MlflowException) as raised:
        mlflow.log_artifact(str(tmp_path / "f.txt"))
    text = str(raised.value)
    assert "SignatureDoesNotMatch" in text
    assert bucket_of(unique) in text
    assert "MLFLOW_AWS_SECRET_ACCESS_KEY" in text
    assert canary not in text
    assert account.access_key_id not in text


def test_another_setting_counts_at_once(
    s3_server: S3Access, account: Account, unique: str, experiment: str, tmp_path: Path
) -> None:
    """As after a key was rotated: no restart, and no client that was kept for minutes."""
    (tmp_path / "f.txt").write_text("x")
    write_settings(s3_server, Account("x", account.access_key_id, "wrong-secret-wrong-secret"))
    with mlflow.start_run(experiment_id=experiment) as run:
        with pytest.raises(MlflowException):
            mlflow.log_artifact(str(tmp_path / "f.txt"))
        write_settings(s3_server, account)
        mlflow.log_artifact(str(tmp_path / "f.txt"))
        assert [item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id)] == ["f.txt"]


def test_two_projects_at_the_same_time_in_threads(
    s3_server: S3Access, sqlite_uri: str, unique: str, tmp_path: Path, strangers: dict[str, str]
) -> None:
    """Each tracker's runs take its own keys, also through plain `mlflow.*` inside its run, interleaved."""
    (tmp_path / "f.txt").write_text("x")
    names = [f"{unique}-{i}" for i in (1, 2)]
    accounts = {name: s3_server.add_account(name, [bucket_of(name)]) for name in names}

    def work(name: str) -> int:
        account = accounts[name]
        tracker = MLflowTracker(
            tracking_uri=sqlite_uri,
            artifact_uri=f"s3://{bucket_of(name)}/runs",
            s3_endpoint_url=s3_server.endpoint_url,
            s3_access_key_id=account.access_key_id,
            s3_secret_access_key=account.secret_access_key,
            experiment_name=name,
        )
        with tracker.run() as run_id:
            repository = get_artifact_repository(tracker.get_run_info(run_id)["artifact_uri"])
            for i in range(25):
                repository.log_artifact(str(tmp_path / "f.txt"), f"plain/{i}")
                tracker.log_artifact(tmp_path / "f.txt", f"ours/{i}", wait=True)
        return len(repository.list_artifacts("plain")) + len(repository.list_artifacts("ours"))

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, names)) == [50, 50]
    for name in names:
        assert s3_server.client().list_objects_v2(Bucket=bucket_of(name))["KeyCount"] == 50


def test_explicit_keys_count_in_place_of_the_projects(
    s3_server: S3Access, account: Account, unique: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry as registry

    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", s3_server.endpoint_url)
    (tmp_path / "f.txt").write_text("x")
    make = registry.get_registered_artifact_repositories()["s3"]
    repository = make(
        f"s3://{bucket_of(unique)}/x",
        access_key_id=account.access_key_id,
        secret_access_key=account.secret_access_key,
        session_token=None,
    )
    repository.log_artifact(str(tmp_path / "f.txt"))
    assert [item.path for item in repository.list_artifacts()] == ["f.txt"]


# -- a server that passes files on ----------------------------------------------------


def _server_env(server: S3Access, account: Account) -> dict[str, str]:
    return {
        "MLFLOW_AWS_ACCESS_KEY_ID": account.access_key_id,
        "MLFLOW_AWS_SECRET_ACCESS_KEY": account.secret_access_key,
        "MLFLOW_S3_ENDPOINT_URL": server.endpoint_url,
        "AWS_ACCESS_KEY_ID": "AKIASTRANGER00000001",
        "AWS_SECRET_ACCESS_KEY": "stranger",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def test_the_server_uses_the_projects_keys(
    swift_server: SwiftAccess, unique: str, sqlite_uri: str, tmp_path: Path
) -> None:
    """On Swift, for it checks presigned addresses, which clients download from."""
    account = swift_server.add_account(unique, [bucket_of(unique)])
    options = ServerOptions(
        sqlite_uri,
        artifacts_destination=f"s3://{bucket_of(unique)}/proxied",
        port=0,
        env=_server_env(swift_server, account),
    )
    (tmp_path / "f.txt").write_text("hello")
    with LocalMlflowServer(options) as server:
        mlflow.set_tracking_uri(server.url)
        try:
            mlflow.set_experiment(unique)
            with mlflow.start_run() as run:
                mlflow.log_artifact(str(tmp_path / "f.txt"), "deep")
                logged = mlflow.pyfunc.log_model(name="half", python_model=_Half())
            back = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="deep/f.txt")
            assert Path(back).read_text() == "hello"
            assert mlflow.pyfunc.load_model(logged.model_uri).predict([4.0]) == [2.0]
            get_artifact_repository(run.info.artifact_uri).delete_artifacts("deep")
            assert mlflow.MlflowClient().list_artifacts(run.info.run_id, "deep") == []
        finally:
            mlflow.set_tracking_uri(None)
    keys = [item["Key"] for item in swift_server.client(account).list_objects_v2(Bucket=bucket_of(unique))["Contents"]]
    assert keys
    assert all(key.startswith("proxied/") for key in keys)


def test_each_workspace_has_its_own_keys_on_one_server(
    s3_server: S3Access, unique: str, sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow.utils.workspace_context", reason="this MLflow has no workspaces")
    bucket = bucket_of(unique)
    s3_server.client().create_bucket(Bucket=bucket)
    iam = boto3.session.Session(
        s3_server.admin.access_key_id, s3_server.admin.secret_access_key, region_name="us-east-1"
    ).client("iam", endpoint_url=s3_server.endpoint_url)
    lines = []
    for team in ("red", "blue"):
        account = s3_server.add_account(f"{unique}-{team}")
        here = [f"arn:aws:s3:::{bucket}/workspaces/{team}/*"]
        allow = [
            {"Effect": "Allow", "Action": "s3:*", "Resource": here},
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": [f"arn:aws:s3:::{bucket}"]},
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": allow})
        iam.put_user_policy(UserName=account.name, PolicyName="own-buckets", PolicyDocument=policy)
        Path(team).mkdir()
        (Path(team) / ".env").write_text(
            f"MLFLOW_AWS_ACCESS_KEY_ID={account.access_key_id}\n"
            f"MLFLOW_AWS_SECRET_ACCESS_KEY={account.secret_access_key}\n"
        )
        lines.append(f"[tool.holdfast.workspaces.{team}]\nenv-file = '{team}/.env'\n")
    Path("pyproject.toml").write_text("".join(lines))
    (tmp_path / "f.txt").write_text("x")
    env = {
        "MLFLOW_S3_ENDPOINT_URL": s3_server.endpoint_url,
        "MLFLOW_ENABLE_WORKSPACES": "true",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    options = ServerOptions(sqlite_uri, artifacts_destination=f"s3://{bucket}", port=0, env=env)
    with LocalMlflowServer(options) as server:
        mlflow.set_tracking_uri(server.url)
        try:
            for team in ("red", "blue"):
                mlflow.create_workspace(team)
            for team in ("red", "blue", "red"):
                mlflow.set_workspace(team)
                mlflow.set_experiment(f"{unique}-{team}")
                with mlflow.start_run():
                    mlflow.log_artifact(str(tmp_path / "f.txt"))
        finally:
            mlflow.set_workspace(None)
            mlflow.set_tracking_uri(None)
    keys = [item["Key"] for item in s3_server.client().list_objects_v2(Bucket=bucket)["Contents"]]
    assert sorted({key.split("/")[1] for key in keys}) == ["blue", "red"]
    assert len(keys) == 3
