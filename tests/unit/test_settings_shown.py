"""What settings show of themselves, and that they stay as they are."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from holdfast.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _no_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


def load(root: Path, **arguments: Any) -> Settings:
    return load_settings(start=root, environ={}, **arguments)


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    found: Any = load(tmp_path, promotion={"min": {}}, s3_upload_extra_args={"ACL": "private"})
    with pytest.raises(ValidationError):
        found.region = "x"
    for table in (found.promotion, found.s3_upload_extra_args, found.origins):
        with pytest.raises(TypeError):
            table["x"] = 1
    assert copy.deepcopy(found) is copy.copy(found) is found
    other = found.model_copy(update={"region": "eu-west-1"})
    assert (other.region, found.region) == ("eu-west-1", "us-east-1")
    assert other.promotion == found.promotion
    assert other.origins == found.origins


def test_the_printed_block(tmp_path: Path) -> None:
    (tmp_path / ".env").touch(0o600)
    (tmp_path / ".env").write_text(
        "MLFLOW_TRACKING_URI=http://localhost:5000\nMLFLOW_ARTIFACT_ROOT=s3://bucket/mlflow\n"
        "MLFLOW_S3_ENDPOINT_URL=http://minio:9000\n"
        "MLFLOW_AWS_ACCESS_KEY_ID=id\nMLFLOW_AWS_SECRET_ACCESS_KEY=secret\n"
    )
    assert str(load(tmp_path)).splitlines() == [
        "MLflow Configuration:",
        "  Tracking URI: http://localhost:5000",
        "  Storage Type: S3 (Remote)",
        "  Artifact Root: s3://bucket/mlflow",
        "  S3 Endpoint: http://minio:9000",
        "  AWS Credentials: project-specific (MLFLOW_AWS_*)",
        "  AWS Region: us-east-1",
    ]


@pytest.mark.parametrize(
    ("root_uri", "kind"),
    [
        ("s3://b-1", "S3 (Remote)"),
        ("gs://b", "gs (Remote)"),
        ("files", "Local"),
        ("mlflow-artifacts:/", "through the tracking server"),
    ],
)
def test_storage_types(tmp_path: Path, root_uri: str, kind: str) -> None:
    found = load(tmp_path, artifact_root=root_uri)
    assert found.storage_type == kind
    assert found.uses_s3 == (kind == "S3 (Remote)")


def test_describe_names_every_setting_once(tmp_path: Path) -> None:
    rows = load(tmp_path, promotion={"max": {"test/passes": 1}}, s3_ignore_tls=True).describe()
    names = [row.field for row in rows]
    assert len(names) == len(set(names))
    shown = {row.field: row.shown for row in rows}
    missing = set(Settings.model_fields) - set(names) - {"artifact_root_is_configured", "notices", "origins"}
    assert not missing
    assert shown["promotion"] == '{"max": {"test/passes": 1}}'
    assert (shown["s3_ignore_tls"], shown["registry_uri"]) == ("true", "")
