"""Plain `mlflow.log_artifact` while its store is missing: into the journal, and from there to where it belongs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from journaling import until
from mlflow.exceptions import MlflowException
from mlflow.tracking import fluent

from holdfast.backend.rest_sender import RestSender
from holdfast.delivery.delivery import close_deliveries
from holdfast.plugins import fallback
from holdfast.testing import Account, FaultProxy, S3Access
from holdfast.testing.fixtures import RunningMlflow


def bucket_of(unique: str) -> str:
    return unique.replace("_", "-")[-40:].strip("-")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HOLDFAST_TRANSFER_DEADLINE", "2")
    monkeypatch.setattr(fluent, "_active_experiment_id", None)
    yield
    fallback._missing.clear()
    mlflow.set_tracking_uri(None)


@pytest.fixture
def account(s3_server: S3Access, unique: str) -> Account:
    return s3_server.add_account(unique, [bucket_of(unique)])


@pytest.fixture
def proxy(s3_server: S3Access, account: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    monkeypatch.setenv("MLFLOW_AWS_ACCESS_KEY_ID", account.access_key_id)
    monkeypatch.setenv("MLFLOW_AWS_SECRET_ACCESS_KEY", account.secret_access_key)
    with FaultProxy(s3_server.endpoint_url) as made:
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", made.url)
        yield made


def keys(server: S3Access, unique: str) -> dict[str, int]:
    found = server.client().list_objects_v2(Bucket=bucket_of(unique)).get("Contents", [])
    return {item["Key"].rpartition("/artifacts/")[2]: item["Size"] for item in found}


def test_a_missing_bucket_server_is_no_error_and_the_second_call_does_not_wait(
    s3_server: S3Access,
    proxy: FaultProxy,
    unique: str,
    sqlite_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOLDFAST_DELIVERY", "journal")
    mlflow.set_tracking_uri(sqlite_uri)
    experiment = mlflow.create_experiment(unique, artifact_location=f"s3://{bucket_of(unique)}/root")
    file = tmp_path / "weights.pt"
    file.write_bytes(b"first")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("a")
    proxy.refuse()
    with mlflow.start_run(experiment_id=experiment):
        mlflow.log_artifact(str(file))
        file.write_bytes(b"overwritten")
        before = time.monotonic()
        mlflow.log_artifacts(str(tmp_path / "folder"), "folder")
        waited_s = time.monotonic() - before
    file.unlink()
    assert keys(s3_server, unique) == {}
    proxy.pass_on()
    until(lambda: keys(s3_server, unique) == {"weights.pt": 5, "folder/a.txt": 1})
    assert waited_s < 2.0  # the deadline that the first call waited for


def test_without_the_journal_it_is_an_error(proxy: FaultProxy, unique: str, sqlite_uri: str, tmp_path: Path) -> None:
    mlflow.set_tracking_uri(sqlite_uri)
    experiment = mlflow.create_experiment(unique, artifact_location=f"s3://{bucket_of(unique)}/root")
    (tmp_path / "f.txt").write_text("x")
    proxy.refuse()
    with mlflow.start_run(experiment_id=experiment), pytest.raises(MlflowException, match="start the S3 server"):
        mlflow.log_artifact(str(tmp_path / "f.txt"))


def test_refused_keys_are_an_error_at_once(
    proxy: FaultProxy,
    unique: str,
    sqlite_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The journal is for stores that are missing; who gave wrong keys is to hear of it."""
    monkeypatch.setenv("HOLDFAST_DELIVERY", "journal")
    monkeypatch.setenv("MLFLOW_AWS_SECRET_ACCESS_KEY", "wrong-secret-wrong-secret")
    mlflow.set_tracking_uri(sqlite_uri)
    experiment = mlflow.create_experiment(unique, artifact_location=f"s3://{bucket_of(unique)}/root")
    (tmp_path / "f.txt").write_text("x")
    with mlflow.start_run(experiment_id=experiment), pytest.raises(MlflowException, match="SignatureDoesNotMatch"):
        mlflow.log_artifact(str(tmp_path / "f.txt"))


def test_files_that_go_through_a_server_wait_for_it(
    mlflow_server: RunningMlflow, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_DELIVERY", "journal")
    file = tmp_path / "weights.pt"
    file.write_bytes(b"first")
    with FaultProxy(mlflow_server.url) as proxy:
        mlflow.set_tracking_uri(proxy.url)
        mlflow.set_experiment(unique)
        with mlflow.start_run() as run:
            proxy.refuse()
            mlflow.log_artifact(str(file), "checkpoints")
            file.write_bytes(b"overwritten")
            proxy.pass_on()
        pattern = f"*/{run.info.run_id}/artifacts/checkpoints/weights.pt"
        until(lambda: [path.read_bytes() for path in Path(mlflow_server.artifacts).glob(pattern)] == [b"first"])


def test_files_of_a_plain_run_begun_offline_follow_it(
    mlflow_server: RunningMlflow, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_DELIVERY", "journal")
    (tmp_path / "weights.pt").write_bytes(b"w")
    with FaultProxy(mlflow_server.url) as proxy:
        proxy.refuse()
        mlflow.set_tracking_uri(proxy.url)
        mlflow.set_experiment(unique)
        with mlflow.start_run():
            mlflow.log_artifact(str(tmp_path / "weights.pt"), "deep")
        proxy.pass_on()
        close_deliveries()  # as the end of the process does: nobody is left who could log another file
        experiment = until(lambda: _experiment_id(mlflow_server.url, unique))
        pattern = f"{experiment}/*/artifacts/deep/weights.pt"
        until(lambda: [path.read_bytes() for path in Path(mlflow_server.artifacts).glob(pattern)] == [b"w"])


def _experiment_id(url: str, name: str) -> str | None:
    found = RestSender(url).find_experiment(name)
    return None if found is None else found.experiment_id
