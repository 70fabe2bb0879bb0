"""Roles, S3 options and workspaces in the settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from holdfast.artifacts.access import S3Access, access_of
from holdfast.errors import CredentialsError, SettingsError
from holdfast.settings import Settings, credentials_of_workspace, load_settings

ROLE = "arn:aws:iam::123456789012:role/mlflow"
KEYS = {"MLFLOW_AWS_ACCESS_KEY_ID": "AKIAPROJECT00001"}


@pytest.fixture
def keys(canary: str) -> dict[str, str]:
    return KEYS | {"MLFLOW_AWS_SECRET_ACCESS_KEY": canary}


def test_a_role_stands_over_the_chosen_keys(keys: dict[str, str]) -> None:
    found = load_settings(environ=keys | {"MLFLOW_AWS_ROLE_ARN": ROLE, "MLFLOW_AWS_EXTERNAL_ID": "ours"})
    role = found.credentials.role
    assert role is not None
    assert (role.arn, role.external_id) == (ROLE, "ours")
    assert role.session_name.startswith("holdfast")
    assert ROLE in found.credentials.origin
    assert found.credentials.access_key_id == "AKIAPROJECT00001"


@pytest.mark.parametrize("name", ["MLFLOW_AWS_EXTERNAL_ID", "MLFLOW_AWS_WEB_IDENTITY_TOKEN_FILE"])
def test_what_belongs_to_a_role_is_refused_without_one(name: str) -> None:
    with pytest.raises(CredentialsError, match=name) as raised:
        load_settings(environ={name: "something"})
    assert "MLFLOW_AWS_ROLE_ARN" in raised.value.hint


def test_a_token_file_and_keys_are_one_too_many(keys: dict[str, str]) -> None:
    both = keys | {"MLFLOW_AWS_ROLE_ARN": ROLE, "MLFLOW_AWS_WEB_IDENTITY_TOKEN_FILE": "/token"}
    with pytest.raises(CredentialsError, match="WEB_IDENTITY"):
        load_settings(environ=both)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_AWS_ROLE_ARN", "mlflow"),
        ("MLFLOW_S3_EXPECTED_BUCKET_OWNER", "12345"),
        ("HOLDFAST_S3_ENCRYPTION", "rot13"),
        ("HOLDFAST_S3_TAGGING", "no tags at all"),
        ("HOLDFAST_TRANSFER_THREADS", "0"),
        ("HOLDFAST_UPLOAD_RATE", "fast"),
        ("HOLDFAST_S3_CHECKSUMS", "sometimes"),
        ("HOLDFAST_TRANSFER_DEADLINE", "-1"),
    ],
)
def test_bad_values_are_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_settings(environ={name: value})


def test_options_of_an_upload_come_together_and_the_json_wins() -> None:
    found = load_settings(
        environ={
            "HOLDFAST_S3_ENCRYPTION": "AES256",
            "HOLDFAST_S3_STORAGE_CLASS": "STANDARD_IA",
            "HOLDFAST_S3_TAGGING": "team=vision&cost=42",
            "MLFLOW_S3_UPLOAD_EXTRA_ARGS": json.dumps({"StorageClass": "ONEZONE_IA", "ACL": "private"}),
        }
    )
    assert found.s3_put_arguments == {
        "ServerSideEncryption": "AES256",
        "StorageClass": "ONEZONE_IA",
        "Tagging": "team=vision&cost=42",
        "ACL": "private",
    }


def test_a_kms_key_alone_means_kms() -> None:
    found = load_settings(environ={"HOLDFAST_S3_KMS_KEY_ID": "alias/mlflow"})
    assert found.s3_put_arguments == {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/mlflow"}


def test_tags_may_be_a_table(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.holdfast.s3-tagging]\nteam = 'a b'\ncost = 4\n")
    assert load_settings(start=tmp_path, environ={}).s3_tagging == "team=a+b&cost=4"


def test_an_access_travels_whole_and_shows_nothing(keys: dict[str, str], canary: str) -> None:
    access = access_of(load_settings(environ=keys | {"MLFLOW_AWS_ROLE_ARN": ROLE, "HOLDFAST_S3_ACL": "private"}))
    there = S3Access.from_json(access.to_json())
    assert there.to_json() == access.to_json()
    assert there.fingerprint == access.fingerprint
    assert there.credentials.secret_access_key is not None
    assert there.credentials.secret_access_key.get_secret_value() == canary
    assert canary not in f"{access!r} {access} {access.fingerprint} {access.account}"
    assert "AKIA…0001" in access.account


def test_another_secret_is_another_access(keys: dict[str, str]) -> None:
    other = keys | {"MLFLOW_AWS_SECRET_ACCESS_KEY": keys["MLFLOW_AWS_SECRET_ACCESS_KEY"] + "x"}
    assert access_of(load_settings(environ=keys)).fingerprint != access_of(load_settings(environ=other)).fingerprint


# -- workspaces -----------------------------------------------------------------------


def _with_workspaces(tmp_path: Path, text: str, environ: dict[str, str]) -> Settings:
    (tmp_path / "pyproject.toml").write_text(text)
    return load_settings(start=tmp_path, environ=environ)


def test_without_a_table_every_workspace_uses_the_projects(keys: dict[str, str]) -> None:
    settings = load_settings(environ=keys)
    assert credentials_of_workspace(settings, "anything") is settings.credentials


def test_each_workspace_has_its_own(tmp_path: Path, keys: dict[str, str], canary: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".env").write_text(
        f"MLFLOW_AWS_ACCESS_KEY_ID=AKIATEAMA0000001\nMLFLOW_AWS_SECRET_ACCESS_KEY={canary}-a\n"
    )
    entries = ["a = {env-file='a/.env'}", "b = {aws-profile='team-b'}", f"c = {{role-arn='{ROLE}'}}"]
    text = "\n".join(["[tool.holdfast.workspaces]", *entries])
    settings = _with_workspaces(tmp_path, text, keys)
    a, b, c = (credentials_of_workspace(settings, name) for name in "abc")
    assert a.access_key_id == "AKIATEAMA0000001"
    assert (b.kind, b.profile, b.access_key_id) == ("profile", "team-b", None)
    assert c.access_key_id == "AKIAPROJECT00001"
    assert c.role is not None
    assert c.role.arn == ROLE
    assert credentials_of_workspace(settings, None) is settings.credentials
    with pytest.raises(CredentialsError, match="Workspace d"):
        credentials_of_workspace(settings, "d")
    # A file that changes is another credential at once.
    (tmp_path / "a" / ".env").write_text(f"AWS_ACCESS_KEY_ID=AKIATEAMA0000002\nAWS_SECRET_ACCESS_KEY={canary}-b\n")
    assert credentials_of_workspace(settings, "a").access_key_id == "AKIATEAMA0000002"


@pytest.mark.parametrize("content", ["", "MLFLOW_AWS_ACCESS_KEY_ID=AKIATEAMA0000001\n", None])
def test_a_file_without_whole_keys_is_refused(tmp_path: Path, keys: dict[str, str], content: str | None) -> None:
    if content is not None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / ".env").write_text(content)
    settings = _with_workspaces(tmp_path, "[tool.holdfast.workspaces.a]\nenv-file = 'a/.env'\n", keys)
    with pytest.raises(CredentialsError, match="Workspace a"):
        credentials_of_workspace(settings, "a")


@pytest.mark.parametrize("entry", ["access-key-id = 'x'", "aws-profile = 3", "profile = 'x'"])
def test_a_workspace_holds_no_keys_in_pyproject(tmp_path: Path, entry: str) -> None:
    with pytest.raises(SettingsError, match="workspaces"):
        _with_workspaces(tmp_path, f"[tool.holdfast.workspaces.a]\n{entry}\n", {})
