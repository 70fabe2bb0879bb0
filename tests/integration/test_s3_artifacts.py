"""Files in S3 with the project's own keys, on a server that checks them."""

from __future__ import annotations

import logging
import os
import pickle
import traceback
from pathlib import Path

import pytest

from holdfast import MLflowTracker, get_mlflow_config
from holdfast.errors import ArtifactError, SettingsError
from holdfast.testing import Account, S3Access


@pytest.fixture
def account(s3_server: S3Access, unique: str) -> Account:
    return s3_server.add_account(unique, [_bucket(unique)])


def _bucket(unique: str) -> str:
    return unique.replace("_", "-")[-40:].strip("-")


def make(sqlite_uri: str, server: S3Access, account: Account, unique: str, secret: str | None = None) -> MLflowTracker:
    return MLflowTracker(
        tracking_uri=sqlite_uri,
        artifact_uri=f"s3://{_bucket(unique)}/runs",
        s3_endpoint_url=server.endpoint_url,
        s3_access_key_id=account.access_key_id,
        s3_secret_access_key=secret or account.secret_access_key,
        experiment_name=unique,
    )


def test_files_go_to_the_projects_bucket_while_the_environment_holds_other_keys(
    s3_server: S3Access, account: Account, sqlite_uri: str, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    # A stranger's keys and a left-over token: neither may be used, together or mixed.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASTRANGER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "stranger")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "left-over")
    before = dict(os.environ)
    tracker = make(sqlite_uri, s3_server, account, unique)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.bin").write_bytes(b"a" * 100_000)
    (tmp_path / "weights.pt").write_bytes(b"w")
    with tracker.run() as run_id:
        tracker.log_artifact(tmp_path / "weights.pt", "checkpoints")
        tracker.log_artifacts_dir(tmp_path / "folder", "folder")
    tracker.flush()
    root = tracker.get_run_info(run_id)["artifact_uri"]
    assert root == f"s3://{_bucket(unique)}/runs/{unique}/{run_id}/artifacts"
    objects = s3_server.client().list_objects_v2(Bucket=_bucket(unique))["Contents"]
    key = f"runs/{unique}/{run_id}/artifacts"
    assert {item["Key"] for item in objects} == {f"{key}/checkpoints/weights.pt", f"{key}/folder/a.bin"}
    fetched = tracker._project.artifacts.download(root, "folder/a.bin", tmp_path / "back")
    assert fetched.read_bytes() == b"a" * 100_000
    assert dict(os.environ) == before
    assert boto3.DEFAULT_SESSION is None


def test_two_projects_in_one_process(s3_server: S3Access, sqlite_uri: str, unique: str, tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("x")
    trackers = {}
    for name in (f"{unique}-1", f"{unique}-2"):
        trackers[name] = make(sqlite_uri, s3_server, s3_server.add_account(name, [_bucket(name)]), name)
    for name, tracker in trackers.items():
        with tracker.run():
            tracker.log_artifact(tmp_path / "f.txt")
        tracker.flush()
        assert s3_server.client().list_objects_v2(Bucket=_bucket(name))["KeyCount"] == 1


def test_what_is_wrong_is_said_with_its_remedy(
    s3_server: S3Access,
    account: Account,
    sqlite_uri: str,
    unique: str,
    tmp_path: Path,
    canary: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="holdfast")
    (tmp_path / "f.txt").write_text("x")
    wrong_secret = make(sqlite_uri, s3_server, account, unique, secret=canary)
    with pytest.raises(ArtifactError, match="SignatureDoesNotMatch") as caught, wrong_secret.run():
        wrong_secret.log_artifact(tmp_path / "f.txt", wait=True)
    assert "MLFLOW_AWS_SECRET_ACCESS_KEY" in caught.value.hint
    shown = "".join(traceback.format_exception(caught.value)) + repr(wrong_secret) + caplog.text
    assert canary not in shown
    with pytest.raises((SettingsError, TypeError)):
        pickle.dumps(wrong_secret)

    other = s3_server.add_account(f"{unique}-other", [f"other-{_bucket(unique)[-30:]}"])
    denied = make(sqlite_uri, s3_server, other, unique)
    with pytest.raises(ArtifactError, match="AccessDenied") as refused, denied.run() as run_id:
        denied.log_artifact(tmp_path / "f.txt", wait=True)
    assert "key" in refused.value.hint
    assert denied.get_run_info(run_id)["status"] == "FAILED"

    stranger = Account("stranger", "AKIANOBODY", "nothing-at-all")
    unknown = make(sqlite_uri, s3_server, stranger, unique)
    with pytest.raises(ArtifactError, match="InvalidAccessKeyId"), unknown.run():
        unknown.log_artifact(tmp_path / "f.txt", wait=True)


def test_the_configuration_tells_where_the_experiments_files_really_go(
    s3_server: S3Access,
    account: Account,
    sqlite_uri: str,
    unique: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = {"tracking_uri": sqlite_uri, "experiment_name": unique}
    fresh = str(get_mlflow_config(**settings, artifact_uri="s3://new-bucket/x"))
    assert "Storage Type: S3 (Remote)" in fresh
    assert "Note" not in fresh  # nothing is created yet, so nothing can differ
    MLflowTracker(**settings, artifact_uri=str(tmp_path / "local"))
    assert "keeps its files elsewhere" not in caplog.text
    MLflowTracker(**settings, artifact_uri="s3://new-bucket/x")
    assert "keeps its files elsewhere" in caplog.text
    config = get_mlflow_config(**settings, artifact_uri="s3://new-bucket/x")
    assert not config.use_s3
    text = str(config)
    assert "Storage Type: Local" in text
    assert "Artifact Root: s3://new-bucket/x" in text
    assert f"keeps its files in {tmp_path / 'local'}" in text
