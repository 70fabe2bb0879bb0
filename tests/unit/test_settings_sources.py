"""Which source wins, what aliases do, and what is refused: all of it together, in one error."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import CredentialsError, InvalidInputError, SettingsError
from holdfast.settings import Origin, Settings, load_settings


@pytest.fixture(autouse=True)
def _no_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


def load(root: Path, environ: Mapping[str, str] | None = None, **arguments: Any) -> Settings:
    return load_settings(start=root, environ=environ or {}, **arguments)


def write(root: Path, dotenv: str = "", pyproject: str = "") -> None:
    (root / ".env").write_text(dotenv)
    (root / ".env").chmod(0o600)
    (root / "pyproject.toml").write_text(f"[tool.holdfast]\n{pyproject}\n")


# --- The order of sources, against a table written by hand -----------------------------------

# Each line is the whole order of precedence of one setting: (source, name), strongest first.
# A tuple of names are aliases, of which none is stronger.
_ORDER: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "artifact_root": [
        ("argument", ("artifact_root", "artifact_uri", "default_artifact_root")),
        ("environment", ("MLFLOW_ARTIFACT_ROOT", "MLFLOW_ARTIFACT_URI", "MLFLOW_DEFAULT_ARTIFACT_ROOT")),
        ("dotenv", ("MLFLOW_ARTIFACT_ROOT", "MLFLOW_ARTIFACT_URI", "MLFLOW_DEFAULT_ARTIFACT_ROOT")),
        ("pyproject", ("artifact-root",)),
    ],
    "experiment_name": [
        ("argument", ("experiment_name",)),
        ("environment", ("MLFLOW_EXPERIMENT_NAME",)),
        ("dotenv", ("MLFLOW_EXPERIMENT_NAME",)),
        ("pyproject", ("experiment-name",)),
    ],
    "region": [
        ("argument", ("region", "aws_region", "aws_default_region")),
        ("environment", ("MLFLOW_AWS_DEFAULT_REGION", "MLFLOW_AWS_REGION")),
        ("dotenv", ("MLFLOW_AWS_DEFAULT_REGION", "MLFLOW_AWS_REGION")),
        ("pyproject", ("region",)),
        ("environment", ("AWS_DEFAULT_REGION", "AWS_REGION")),
        ("dotenv", ("AWS_DEFAULT_REGION", "AWS_REGION")),
    ],
    "s3_endpoint_url": [
        ("argument", ("s3_endpoint_url",)),
        ("environment", ("MLFLOW_S3_ENDPOINT_URL",)),
        ("dotenv", ("MLFLOW_S3_ENDPOINT_URL",)),
        ("pyproject", ("s3-endpoint-url",)),
        ("environment", ("AWS_ENDPOINT_URL_S3",)),
        ("dotenv", ("AWS_ENDPOINT_URL_S3",)),
        ("environment", ("AWS_ENDPOINT_URL",)),
        ("dotenv", ("AWS_ENDPOINT_URL",)),
    ],
}
_VALUES = {
    "artifact_root": ("s3://bucket-a/x", "s3://bucket-b/x"),
    "experiment_name": ("first", "second"),
    "region": ("eu-west-1", "us-west-2"),
    "s3_endpoint_url": ("http://a:9000", "https://b"),
}
_DEFAULTS = {"region": "us-east-1", "s3_endpoint_url": None}


@st.composite
def _cases(draw: st.DrawFn) -> tuple[str, dict[str, dict[str, str]]]:
    name = draw(st.sampled_from(sorted(_ORDER)))
    values = st.sampled_from([None, None, "", " ", *_VALUES[name]])
    sources: dict[str, dict[str, str]] = {"argument": {}, "environment": {}, "dotenv": {}, "pyproject": {}}
    for source, aliases in _ORDER[name]:
        sources[source] |= {alias: value for alias in aliases if (value := draw(values)) is not None}
    return name, sources


def _expected(name: str, sources: dict[str, dict[str, str]]) -> tuple[str | None, str]:
    """Return the value and the source that must win; a source of `conflict` where aliases differ."""
    for source, aliases in _ORDER[name]:
        given_values = {sources[source][alias] for alias in aliases if sources[source].get(alias, "").strip()}
        if len(given_values) > 1:
            return None, "conflict"
        if given_values:
            return given_values.pop(), source
    return _DEFAULTS.get(name), "default"


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder).resolve()


@settings(max_examples=400, deadline=None)
@given(case=_cases())
def test_the_strongest_source_wins_and_aliases_agree(root: Path, case: tuple[str, dict[str, dict[str, str]]]) -> None:
    name, sources = case
    dotenv = "".join(f"{key}='{value}'\n" for key, value in sources["dotenv"].items())
    write(root, dotenv, "".join(f'{key} = "{value}"\n' for key, value in sources["pyproject"].items()))
    value, source = _expected(name, sources)
    before = dict(os.environ)
    if source == "conflict":
        with pytest.raises(SettingsError, match="name the same setting but differ"):
            load(root, sources["environment"], **sources["argument"])
    else:
        found = load(root, sources["environment"], **sources["argument"])
        assert found.origin_of(name).kind == source
        by_folder = {"artifact_root": str(root / "mlartifacts"), "experiment_name": root.name}
        assert getattr(found, name) == (by_folder.get(name) if value is None else value)
    assert dict(os.environ) == before


# --- Values ----------------------------------------------------------------------------------


def test_defaults_keep_everything_in_the_project(tmp_path: Path) -> None:
    found = load(tmp_path)
    root = tmp_path.resolve()
    assert found.tracking_uri == f"sqlite:///{root}/mlflow.db"
    assert found.artifact_root == str(root / "mlartifacts")
    assert not found.artifact_root_is_configured
    assert (found.experiment_name, found.region, found.run_name_prefix) == (root.name, "us-east-1", None)
    assert (found.registry_uri, found.backend_store_uri, found.s3_endpoint_url) == (None, None, None)
    assert (found.s3_ignore_tls, dict(found.s3_upload_extra_args), found.s3_addressing_style) == (False, {}, "auto")
    assert found.credentials.kind == "chain"
    assert found.notices == ()
    assert found.origin_of("tracking_uri") == Origin("default")


def test_a_tracking_server_decides_where_files_go(tmp_path: Path) -> None:
    found = load(tmp_path, tracking_uri="http://host:5000")
    assert found.artifact_root is None
    assert "Storage Type: decided by the tracking server" in str(found)


def test_relative_paths_belong_to_the_root_not_to_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    write(tmp_path, "MLFLOW_TRACKING_URI=sqlite:///data/runs.db\nMLFLOW_ARTIFACT_ROOT=files\n")
    found = load(tmp_path / "a" / "b")
    assert found.project_root == tmp_path.resolve()
    assert found.tracking_uri == f"sqlite:///{tmp_path.resolve()}/data/runs.db"
    assert found.artifact_root == str(tmp_path.resolve() / "files")
    assert load(tmp_path, tracking_uri="sqlite:///x.db").tracking_uri == f"sqlite:///{tmp_path.resolve()}/x.db"


def test_every_source_is_told_apart(tmp_path: Path) -> None:
    write(tmp_path, "MLFLOW_ARTIFACT_URI=s3://bucket\n", 'experiment_name = "shared"\nregion = "eu-west-1"')
    found = load(tmp_path, {"MLFLOW_RUN_NAME_PREFIX": "p"}, tracking_uri="http://host")
    root = tmp_path.resolve()
    assert found.origin_of("tracking_uri") == Origin("argument", "tracking_uri")
    assert found.origin_of("run_name_prefix") == Origin("environment", "MLFLOW_RUN_NAME_PREFIX")
    assert found.origin_of("artifact_root") == Origin("dotenv", "MLFLOW_ARTIFACT_URI", root / ".env")
    assert found.origin_of("experiment_name") == Origin("pyproject", "experiment-name", root / "pyproject.toml")
    assert found.region_origin == Origin("pyproject", "region", root / "pyproject.toml")
    assert str(found.origin_of("artifact_root")) == ".env MLFLOW_ARTIFACT_URI"
    with pytest.raises(InvalidInputError):
        found.origin_of("colour")


def test_the_trackers_arguments_are_understood(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        {"AWS_ACCESS_KEY_ID": "other", "AWS_SECRET_ACCESS_KEY": "other"},
        tracking_uri="postgresql://u:p@host/db",
        artifact_uri="s3://bucket",
        backend_store_uri="postgresql://u:p@host/db",
        registry_uri="http://host:5000/",
        s3_endpoint_url="http://minio:9000/",
        s3_access_key_id="id",
        s3_secret_access_key="secret",
        experiment_name=None,
    )
    assert (found.artifact_root, found.registry_uri) == ("s3://bucket", "http://host:5000")
    assert found.s3_endpoint_url == "http://minio:9000"
    assert (found.credentials.access_key_id, found.credentials.origin) == ("id", "arguments")
    assert found.experiment_name == found.project_root.name


def test_typed_values(tmp_path: Path) -> None:
    write(
        tmp_path,
        'MLFLOW_S3_IGNORE_TLS=TRUE\nMLFLOW_S3_UPLOAD_EXTRA_ARGS=\'{"ServerSideEncryption": "AES256"}\'\n',
        's3-addressing-style = "Path"\n[tool.holdfast.promotion]\nmin = { "test/auc" = 0.6 }',
    )
    found = load(tmp_path)
    assert found.s3_ignore_tls is True
    assert dict(found.s3_upload_extra_args) == {"ServerSideEncryption": "AES256"}
    assert found.s3_addressing_style == "path"
    assert dict(found.promotion) == {"min": {"test/auc": 0.6}}
    assert load(tmp_path, s3_ignore_tls=False).s3_ignore_tls is False


def test_upload_arguments_may_be_a_table(tmp_path: Path) -> None:
    write(tmp_path, pyproject='s3-upload-extra-args = { ACL = "private" }')
    assert dict(load(tmp_path).s3_upload_extra_args) == {"ACL": "private"}


# --- What is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MLFLOW_TRACKING_URI", "s3://bucket", "artifact store"),
        ("MLFLOW_BACKEND_STORE_URI", "http://host", "is no database"),
        ("MLFLOW_REGISTRY_URI", "file:///x", "is a folder"),
        ("MLFLOW_ARTIFACT_ROOT", "s3://", "no valid bucket"),
        ("MLFLOW_S3_ENDPOINT_URL", "localhost:9000", "no http(s) URL"),
        ("MLFLOW_S3_ENDPOINT_URL", "http://key:secret@host", "holds more than host, port and path"),
        ("MLFLOW_S3_IGNORE_TLS", "perhaps", "neither true nor false"),
        ("MLFLOW_S3_UPLOAD_EXTRA_ARGS", "[1]", "no JSON object"),
        ("MLFLOW_S3_UPLOAD_EXTRA_ARGS", "{", "no JSON object"),
        ("HOLDFAST_S3_ADDRESSING_STYLE", "sideways", "no addressing style"),
        ("AWS_REGION", "not a region", "is no region"),
        ("MLFLOW_EXPERIMENT_NAME", "two\nlines", "control characters"),
    ],
)
def test_malformed_values_are_refused_by_name(tmp_path: Path, name: str, value: str, told: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load(tmp_path, {name: value})
    assert name in refusal.value.message
    assert told in refusal.value.message
    assert "the environment" in refusal.value.message
    assert refusal.value.hint


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, 'MLFLOW_S3_IGNORE_TLS=x\nBROKEN="\n', 'tracking_url = "x"\naccess-key-id = "x"\nregion = 3')
    with pytest.raises(SettingsError) as refusal:
        load(tmp_path, {"MLFLOW_TRACKING_URI": "s3://b", "AWS_ACCESS_KEY_ID": "x"})
    text = str(refusal.value)
    assert text.startswith("7 settings cannot be used:")
    for part in (
        f"{tmp_path / '.env'}, line 2",
        "unknown key 'tracking_url'.\n     hint: did you mean 'tracking-uri'?",
        "access-key-id is a credential",
        "MLFLOW_TRACKING_URI=s3://b",
        "MLFLOW_S3_IGNORE_TLS is neither",
        "AWS_SECRET_ACCESS_KEY",
        "tool.holdfast.region is no text (int)",
    ):
        assert part in text


@pytest.mark.parametrize("key", ["access-key-id", "secret_access_key", "session-token", "tracking-password"])
def test_credentials_in_pyproject_are_refused(tmp_path: Path, key: str) -> None:
    write(tmp_path, pyproject=f'{key} = "canary"')
    with pytest.raises(CredentialsError) as refusal:
        load(tmp_path)
    assert "pyproject.toml is committed" in refusal.value.message
    assert "move it to .env as MLFLOW_" in refusal.value.hint
    assert "canary" not in str(refusal.value)


def test_a_password_in_a_uri_in_pyproject_is_refused(tmp_path: Path) -> None:
    write(tmp_path, pyproject='tracking-uri = "postgresql://u:canary@h/d"')
    with pytest.raises(SettingsError, match="holds a password") as refusal:
        load(tmp_path)
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[tool.holdfast", "not valid TOML"),
        ("[tool]\nholdfast = 3", "not a table"),
        ('[tool.holdfast]\nregion = "a"\n"region " = "b"', "unknown key 'region '"),
        ("[tool.holdfast]\nexperiment-name = 'a'\nexperiment_name = 'b'", "twice"),
        ("[tool.holdfast]\npromotion = 3", "no table"),
        ("tool = 3", None),
        ("[project]\nname = 'x'", None),
    ],
)
def test_pyproject(tmp_path: Path, content: str, told: str | None) -> None:
    (tmp_path / "pyproject.toml").write_text(content)
    if told is None:
        assert load(tmp_path).region == "us-east-1"
        return
    with pytest.raises(SettingsError) as refusal:
        load(tmp_path)
    assert told in refusal.value.message
    assert str(tmp_path / "pyproject.toml") in refusal.value.message


def test_pyproject_that_is_no_utf8_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe[")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load(tmp_path)


def test_unknown_arguments_name_the_closest(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        load(tmp_path, tracking_url="http://host")
    assert "tracking_url" in refusal.value.message
    assert "tracking_uri" in refusal.value.hint
    with pytest.raises(InvalidInputError, match="the arguments are"):
        load(tmp_path, zzz="x")


def test_region_names_are_compared_only_where_they_count(tmp_path: Path) -> None:
    two = {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-west-2"}
    with pytest.raises(SettingsError, match="AWS_DEFAULT_REGION and AWS_REGION"):
        load(tmp_path, two)
    assert load(tmp_path, two | {"MLFLOW_AWS_DEFAULT_REGION": "eu-central-1"}).region == "eu-central-1"
    assert load(tmp_path, two, region="eu-north-1").region == "eu-north-1"


# --- The tracking server's login -------------------------------------------------------------


def test_a_login_from_the_environment_is_as_mlflow_has_it(tmp_path: Path) -> None:
    found = load(tmp_path, {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "canary"})
    assert found.tracking_username == "me"
    assert found.tracking_password is not None
    assert found.tracking_password.get_secret_value() == "canary"
    assert found.notices == ()


def test_a_login_only_in_dotenv_is_told_to_be_exported(tmp_path: Path) -> None:
    write(tmp_path, "MLFLOW_TRACKING_USERNAME=me\nMLFLOW_TRACKING_PASSWORD=canary\nMLFLOW_TRACKING_TOKEN=canary\n")
    (notice,) = load(tmp_path).notices
    assert "MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_TOKEN" in notice
    assert "export" in notice
    assert "canary" not in notice


def test_half_a_login_is_refused_and_not_completed_from_elsewhere(tmp_path: Path) -> None:
    write(tmp_path, "MLFLOW_TRACKING_USERNAME=me\nMLFLOW_TRACKING_PASSWORD=canary\n")
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_PASSWORD is missing there"):
        load(tmp_path, {"MLFLOW_TRACKING_USERNAME": "you"})


def test_half_a_login_is_left_to_mlflows_own_file(tmp_path: Path) -> None:
    (Path.home() / ".mlflow").mkdir()
    (Path.home() / ".mlflow" / "credentials").touch()
    assert load(tmp_path, {"MLFLOW_TRACKING_USERNAME": "you"}).tracking_username == "you"


def test_a_missing_ca_bundle_is_told(tmp_path: Path) -> None:
    (notice,) = load(tmp_path, {"AWS_CA_BUNDLE": "/no/such.pem"}).notices
    assert "AWS_CA_BUNDLE" in notice
    assert "/no/such.pem" in notice
