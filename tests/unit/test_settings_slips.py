"""Settings that are nearly right: aliases in two spellings, names with a slip, an endpoint with a login."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from holdfast.errors import SettingsError
from holdfast.settings import Settings, load_settings


def _load(dotenv: str = "", **environ: str) -> Settings:
    Path("pyproject.toml").touch()
    Path(".env").write_text(dotenv)
    Path(".env").chmod(0o600)
    return load_settings(environ=environ)


def test_aliases_that_mean_the_same_agree() -> None:
    settings = _load(MLFLOW_ARTIFACT_ROOT="s3://bbb/x", MLFLOW_ARTIFACT_URI="s3://bbb//x/")
    assert settings.artifact_root == "s3://bbb/x"
    keywords = load_settings(environ={}, artifact_root="s3://bbb/x/", artifact_uri="s3://bbb/x")
    assert keywords.artifact_root == "s3://bbb/x"


def test_aliases_that_differ_or_cannot_be_read_are_refused() -> None:
    with pytest.raises(SettingsError, match="differ"):
        _load(MLFLOW_ARTIFACT_ROOT="s3://bbb/x", MLFLOW_ARTIFACT_URI="s3://bbb/y")
    with pytest.raises(SettingsError, match="differ"):
        _load(MLFLOW_ARTIFACT_ROOT="s3://bbb/x", MLFLOW_ARTIFACT_URI="s3://")


@pytest.mark.parametrize("url", ["http://u:p/w@host:9000", "http://u:p@host:9000", "http://host:x", "ftp://host"])
def test_an_endpoint_gets_the_endpoints_own_hint(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        _load(MLFLOW_S3_ENDPOINT_URL=url)
    assert caught.value.hint == "write MLFLOW_S3_ENDPOINT_URL=http://host:9000 or https://host"


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("MLFLOW_TRACKNG_URI", "MLFLOW_TRACKING_URI"),
        ("mlflow_tracking_uri", "MLFLOW_TRACKING_URI"),
        ("MLFLOW_EXPERIMENT_NAMES", "MLFLOW_EXPERIMENT_NAME"),
        ("AWS_ACESS_KEY_ID", "AWS_ACCESS_KEY_ID"),
        ("aws_region", "AWS_REGION"),
    ],
)
def test_a_slip_in_a_name_is_told(slip: str, meant: str) -> None:
    assert f"{slip} is no setting; {meant} is." in _load(f"{slip}=x\n").notices[0]


@pytest.mark.parametrize(
    "name",
    [
        *("MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_NAME", "MLFLOW_REGISTRY_STORE_URI"),
        *("AWS_ENDPOINT_URL_STS", "AWS_PROFILE", "AWS_CONFIG_FILE", "MY_TRACKING_URI", "TRACKING_URI"),
    ],
)
def test_names_of_others_are_left_alone(name: str) -> None:
    assert [notice for notice in _load(f"{name}=x\n").notices if "no setting" in notice] == []


def test_customer_keys_in_lists_are_masked(canary: str) -> None:
    extra = {"Rules": [{"SSECustomerKey": canary, "Name": "a"}, ["b", {"token": canary}]]}
    settings = _load(MLFLOW_S3_UPLOAD_EXTRA_ARGS=json.dumps(extra))
    shown = next(row.shown for row in settings.describe() if row.field == "s3_upload_extra_args")
    assert json.loads(shown) == {"Rules": [{"SSECustomerKey": "****", "Name": "a"}, ["b", {"token": "****"}]]}
    assert canary not in repr(settings) + settings.model_dump_json()
