"""boto3 sessions carry the chosen credentials and nothing of the process's others."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from holdfast.errors import CredentialsError
from holdfast.settings import Credentials, load_settings

OTHERS = {
    "AWS_ACCESS_KEY_ID": "other-id",
    "AWS_SECRET_ACCESS_KEY": "other-secret",
    "AWS_SESSION_TOKEN": "other-token",
    "AWS_DEFAULT_REGION": "ap-south-1",
    "AWS_PROFILE": "no-such-profile",
}


@pytest.fixture(autouse=True)
def _process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process with other AWS credentials; whatever a test does, it must look the same afterwards."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in [name for name in os.environ if name.startswith(("AWS_CONFIG", "AWS_SHARED", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    for name, value in OTHERS.items():
        monkeypatch.setenv(name, value)
    before, default = environ(), boto3.DEFAULT_SESSION
    yield
    assert environ() == before
    assert boto3.DEFAULT_SESSION is default


def environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


def frozen(credentials: Credentials) -> tuple[str | None, str | None, str | None]:
    found = credentials.session().get_credentials()
    assert found is not None
    keys = found.get_frozen_credentials()
    return keys.access_key, keys.secret_key, keys.token


def aws_files(tmp_path: Path) -> None:
    folder = tmp_path / "home" / ".aws"
    folder.mkdir(parents=True)
    (folder / "config").write_text("[profile own]\nregion = eu-west-1\n")
    (folder / "credentials").write_text(
        "[own]\naws_access_key_id = profile-id\naws_secret_access_key = profile-secret\n"
    )


def test_a_projects_keys_are_used_whole_beside_others(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MLFLOW_AWS_ACCESS_KEY_ID=own-id\nMLFLOW_AWS_SECRET_ACCESS_KEY=own-secret\n")
    found = load_settings(start=tmp_path)
    session = found.credentials.session()
    assert frozen(found.credentials) == ("own-id", "own-secret", None)
    assert session.region_name == found.region == "ap-south-1"
    assert session is not found.credentials.session()
    assert session is not boto3.DEFAULT_SESSION
    # The other program's profile does not exist here; a client can be made all the same.
    assert session.client("s3").meta.region_name == "ap-south-1"


def test_a_session_token_travels_with_its_keys(tmp_path: Path) -> None:
    found = load_settings(
        start=tmp_path, access_key_id="a", secret_access_key="b", session_token="c", region="eu-west-1"
    )
    assert frozen(found.credentials) == ("a", "b", "c")
    assert found.credentials.session().region_name == "eu-west-1"


def test_global_keys_come_from_the_environment_as_they_are(tmp_path: Path) -> None:
    assert frozen(load_settings(start=tmp_path).credentials) == ("other-id", "other-secret", "other-token")


def test_two_projects_live_side_by_side(tmp_path: Path) -> None:
    pairs = [("one", "1"), ("two", "2")]
    chosen = [load_settings(start=tmp_path, access_key_id=k, secret_access_key=s).credentials for k, s in pairs]
    assert [frozen(credentials)[:2] for credentials in chosen] == pairs


def test_a_profile_wins_over_the_environments_keys(tmp_path: Path) -> None:
    aws_files(tmp_path)
    found = load_settings(start=tmp_path, aws_profile="own")
    assert frozen(found.credentials) == ("profile-id", "profile-secret", None)
    # AWS_DEFAULT_REGION is stronger than the profile's region.
    assert found.credentials.session().region_name == "ap-south-1"


def test_a_profile_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    found = load_settings(start=tmp_path, aws_profile="missing")
    with pytest.raises(CredentialsError) as refusal:
        found.credentials.session()
    assert "missing" in refusal.value.message
    assert "there are no profiles yet: `aws configure --profile missing`" in refusal.value.hint
    aws_files(tmp_path)
    with pytest.raises(CredentialsError) as refusal:
        found.credentials.session()
    assert re.search(r"one of those in ~/.aws/config: .*\bown\b", refusal.value.hint)


def test_the_chain_is_boto3s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aws_files(tmp_path)
    found = load_settings(start=tmp_path, environ={"AWS_PROFILE": "own"})
    assert (found.credentials.kind, found.region) == ("chain", "eu-west-1")
    with monkeypatch.context() as patch:
        for name in OTHERS:
            patch.delenv(name)
        assert found.credentials.session().get_credentials() is None
        patch.setenv("AWS_PROFILE", "own")
        assert frozen(found.credentials) == ("profile-id", "profile-secret", None)


def test_credentials_are_immutable_and_copied_by_reference(tmp_path: Path) -> None:
    credentials = load_settings(start=tmp_path).credentials
    assert copy.copy(credentials) is copy.deepcopy(credentials) is credentials
    with pytest.raises(AttributeError):
        credentials.kind = "chain"  # type: ignore[misc]


def test_loading_settings_imports_neither_boto3_nor_mlflow(tmp_path: Path) -> None:
    script = (
        "import sys; from holdfast.settings import load_settings; load_settings(); "
        "print([name for name in ('boto3', 'botocore', 'mlflow', 'typer') if name in sys.modules])"
    )
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=clean, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
