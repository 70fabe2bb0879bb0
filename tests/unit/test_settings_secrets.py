"""A canary in every secret: it never comes out of anything that is shown, logged, dumped or pickled."""

from __future__ import annotations

import io
import logging
import os
import pickle
import pprint
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from holdfast.errors import HoldfastError, SettingsError
from holdfast.settings import Settings, load_settings

CANARY = "cAnArY7f3e"
SECRETS = {
    "MLFLOW_AWS_ACCESS_KEY_ID": f"id-{CANARY}",
    "MLFLOW_AWS_SECRET_ACCESS_KEY": f"secret-{CANARY}",
    "MLFLOW_AWS_SESSION_TOKEN": f"token-{CANARY}",
    "MLFLOW_TRACKING_USERNAME": f"user-{CANARY}",
    "MLFLOW_TRACKING_PASSWORD": f"password-{CANARY}",
    "MLFLOW_TRACKING_TOKEN": f"bearer-{CANARY}",
    "MLFLOW_TRACKING_URI": f"postgresql://u:a@b/{CANARY}@host/db",
    "MLFLOW_BACKEND_STORE_URI": f"postgresql://u:{CANARY}@host/db?password={CANARY}",
    "MLFLOW_REGISTRY_URI": f"https://{CANARY}@host",
    "MLFLOW_ARTIFACT_ROOT": f"sftp://u:{CANARY}@host/x",
    "MLFLOW_ARTIFACTS_DESTINATION": f"sftp://u:{CANARY}@host/x",
    "MLFLOW_S3_UPLOAD_EXTRA_ARGS": f'{{"SSECustomerKey": "{CANARY}", "Metadata": {{"api-token": "{CANARY}"}}}}',
}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(params=["environment", "dotenv"])
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "environment":
        return load_settings(start=tmp_path, environ=SECRETS)
    (tmp_path / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in SECRETS.items()))
    return load_settings(start=tmp_path, environ={})


def rich_print(found: Settings) -> str:
    console = Console(file=io.StringIO(), width=300)
    console.print(found)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        rich_print,
        pprint.pformat,
        Settings.model_dump_json,
        lambda found: repr(found.model_dump()),
        lambda found: repr(found.describe()),
        lambda found: repr(found.notices),
        lambda found: repr(found.origins),
        lambda found: f"{found.credentials} {found.credentials!r} {vars(found.credentials)['secret_access_key']!r}",
        lambda found: repr(found.credentials.session()),
        lambda found: repr((found.tracking_password, found.tracking_token)),
    ],
)
def test_nothing_that_is_shown_holds_a_secret(loaded: Settings, show: Callable[[Settings], str]) -> None:
    text = show(loaded)
    assert CANARY not in text
    assert text


def test_the_attributes_hold_the_real_values(loaded: Settings) -> None:
    assert loaded.credentials.access_key_id == SECRETS["MLFLOW_AWS_ACCESS_KEY_ID"]
    assert loaded.tracking_uri == SECRETS["MLFLOW_TRACKING_URI"]
    secrets = loaded.secrets()
    for name in ("SECRET_ACCESS_KEY", "SESSION_TOKEN"):
        assert SECRETS[f"MLFLOW_AWS_{name}"] in secrets
    for secret in (SECRETS["MLFLOW_TRACKING_PASSWORD"], SECRETS["MLFLOW_TRACKING_TOKEN"], CANARY, f"a@b/{CANARY}"):
        assert secret in secrets


def test_describe_says_that_a_secret_is_set_and_where(loaded: Settings) -> None:
    rows = {row.field: row for row in loaded.describe()}
    assert rows["secret_access_key"].shown == "****"
    assert rows["secret_access_key"].origin.name == "MLFLOW_AWS_*"
    assert rows["tracking_uri"].shown == "postgresql://u:****@host/db"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_is_refused(loaded: Settings, protocol: int) -> None:
    for thing in (loaded, loaded.credentials, {"nested": [loaded]}):
        with pytest.raises(SettingsError, match="not pickled") as refusal:
            pickle.dumps(thing, protocol)
        assert CANARY not in str(refusal.value)
        assert "load_settings()" in refusal.value.hint


def test_logs_hold_no_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / ".env").write_text(f"MLFLOW_AWS_SECRET_ACCESS_KEY='{CANARY}\n")
    with pytest.raises(SettingsError):
        load_settings(start=tmp_path, environ=SECRETS)
    found = load_settings(start=tmp_path / "..", environ=SECRETS)
    found.credentials.session().client("s3", region_name="us-east-1")
    logging.getLogger("test").warning("%s %r", found, found)
    assert CANARY not in caplog.text


# Each value is wrong in its own way and holds the canary where a secret stands.
_WRONG = {
    "MLFLOW_TRACKING_URI": [
        f"s3://u:{CANARY}@b",
        f"postgresql:u:{CANARY}@h",
        f"http://u:{CANARY}#@h",
        f"u:{CANARY}@h/d",
    ],
    "MLFLOW_BACKEND_STORE_URI": [f"http://u:{CANARY}@h", f"odd://u:{CANARY}@h", f"sqlite://u:{CANARY}@h/x"],
    "MLFLOW_ARTIFACT_ROOT": [f"s3://u:{CANARY}@bucket/x", f"file://u:{CANARY}@h/x", f"http://u:{CANARY}@h"],
    "MLFLOW_S3_ENDPOINT_URL": [f"http://u:{CANARY}@h:9000", f"ftp://u:{CANARY}@h", f"http://h?token={CANARY}"],
    "MLFLOW_S3_UPLOAD_EXTRA_ARGS": [f'["{CANARY}"]', f'{{"SSECustomerKey": {CANARY}'],
    "MLFLOW_AWS_ACCESS_KEY_ID": [f"{CANARY}", ""],
    "MLFLOW_AWS_SECRET_ACCESS_KEY": [f"{CANARY}", f"{CANARY}\n{CANARY}", ""],
    "MLFLOW_S3_SECRET_ACCESS_KEY": [f"{CANARY}2", f"{CANARY}"],
    "MLFLOW_AWS_SESSION_TOKEN": [f"{CANARY}", f"{CANARY}\x07"],
    "MLFLOW_TRACKING_PASSWORD": [f"{CANARY}"],
}


@settings(max_examples=150, deadline=None)
@given(
    case=st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in _WRONG.items()}),
    is_dotenv=st.booleans(),
)
def test_errors_and_their_tracebacks_hold_no_secret(
    tmp_path_factory: pytest.TempPathFactory, case: dict[str, str], is_dotenv: bool
) -> None:
    root = tmp_path_factory.mktemp("project")
    before = dict(os.environ)
    if is_dotenv:
        (root / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in case.items()))
    shown = _error_of(root, {} if is_dotenv else case)
    assert CANARY not in shown
    assert dict(os.environ) == before


def _error_of(root: Path, environ: Mapping[str, str], **arguments: object) -> str:
    """Return the error and its traceback with the variables of every frame, but for this one."""
    try:
        load_settings(start=root, environ=environ, **arguments)
    except HoldfastError as error:
        frames = error.__traceback__.tb_next if error.__traceback__ else None
        details = traceback.TracebackException(type(error), error, frames, capture_locals=True)
        return f"{error!r} {error} {error.__dict__} {''.join(details.format())}"
    return ""


def test_arguments_are_not_kept_in_the_frames_of_an_error(tmp_path: Path) -> None:
    text = _error_of(tmp_path, {}, secret_access_key=CANARY, tracking_uri=f"s3://u:{CANARY}@b")
    assert "access_key_id" in text
    assert CANARY not in text
