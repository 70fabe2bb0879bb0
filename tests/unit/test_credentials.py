"""AWS credentials are chosen whole from one source; half a credential names its missing half."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import CredentialsError, SettingsError
from holdfast.settings import Credentials, Settings, load_settings

KEYS = {"AWS_ACCESS_KEY_ID": "global-id", "AWS_SECRET_ACCESS_KEY": "global-canary"}
OWN = {"MLFLOW_AWS_ACCESS_KEY_ID": "own-id", "MLFLOW_AWS_SECRET_ACCESS_KEY": "own-canary"}


@pytest.fixture(autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


def load(
    root: Path, environ: Mapping[str, str] | None = None, dotenv: Mapping[str, str] | None = None, **arguments: Any
) -> Settings:
    (root / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in (dotenv or {}).items()))
    (root / ".env").chmod(0o600)
    return load_settings(start=root, environ=environ or {}, **arguments)


def parts(credentials: Credentials) -> tuple[str | None, str | None, str | None]:
    secret, token = credentials.secret_access_key, credentials.session_token
    return (
        credentials.access_key_id,
        secret.get_secret_value() if secret else None,
        token.get_secret_value() if token else None,
    )


@pytest.mark.parametrize(
    ("environ", "dotenv", "arguments", "kind", "origin", "expected"),
    [
        ({}, {}, {}, "chain", "boto3's chain", (None, None, None)),
        (KEYS, {}, {}, "global", "global (AWS_*)", ("global-id", "global-canary", None)),
        ({}, KEYS, {}, "global", "global (AWS_*)", ("global-id", "global-canary", None)),
        (KEYS, OWN, {}, "project", "project-specific (MLFLOW_AWS_*)", ("own-id", "own-canary", None)),
        (OWN, KEYS, {}, "project", "project-specific (MLFLOW_AWS_*)", ("own-id", "own-canary", None)),
        (OWN | KEYS | {"AWS_SESSION_TOKEN": "t"}, {}, {}, "project", "project-specific (MLFLOW_AWS_*)", None),
        (KEYS | {"AWS_SESSION_TOKEN": "t"}, {}, {}, "global", "global (AWS_*)", ("global-id", "global-canary", "t")),
        (KEYS | {"AWS_SECURITY_TOKEN": "t"}, {}, {}, "global", "global (AWS_*)", ("global-id", "global-canary", "t")),
        (
            {"MLFLOW_S3_ACCESS_KEY_ID": "i", "MLFLOW_S3_SECRET_ACCESS_KEY": "s"},
            {},
            {},
            "project",
            "project-specific (MLFLOW_S3_*)",
            ("i", "s", None),
        ),
        (
            {"MLFLOW_AWS_ACCESS_KEY_ID": "i", "MLFLOW_S3_SECRET_ACCESS_KEY": "s"},
            {},
            {},
            "project",
            "project-specific (MLFLOW_AWS_*)",
            ("i", "s", None),
        ),
        (OWN, {}, {"access_key_id": "a", "secret_access_key": "b"}, "project", "arguments", ("a", "b", None)),
        (OWN, {}, {"access_key_id": None}, "project", "project-specific (MLFLOW_AWS_*)", None),
        # Empty counts as absent, whole or in part.
        (dict.fromkeys(OWN, "") | KEYS, {}, {}, "global", "global (AWS_*)", None),
        (dict.fromkeys([*OWN, *KEYS], " "), {}, {}, "chain", "boto3's chain", (None, None, None)),
        # Half a set that a stronger whole one makes irrelevant is not looked at.
        (OWN | {"AWS_ACCESS_KEY_ID": "half"}, {}, {}, "project", "project-specific (MLFLOW_AWS_*)", None),
        (OWN, {"MLFLOW_AWS_ACCESS_KEY_ID": "half"}, {}, "project", "project-specific (MLFLOW_AWS_*)", None),
        # Profiles.
        ({"MLFLOW_AWS_PROFILE": "p"}, {}, {}, "profile", "profile p (MLFLOW_AWS_PROFILE)", None),
        ({}, {"MLFLOW_AWS_PROFILE": "p"}, {}, "profile", "profile p (MLFLOW_AWS_PROFILE)", None),
        (KEYS | {"MLFLOW_AWS_PROFILE": "p"}, {}, {}, "global", "global (AWS_*)", None),
        (OWN, {}, {"aws_profile": "p"}, "profile", "profile p (aws_profile)", None),
        ({"AWS_PROFILE": "p"}, {}, {}, "chain", "boto3's chain", None),
        ({}, {"AWS_PROFILE": "p"}, {}, "profile", "profile p (AWS_PROFILE)", None),
        ({"AWS_PROFILE": "q"}, {"AWS_PROFILE": "p"}, {}, "chain", "boto3's chain", None),
        # A token left over from an earlier login.
        ({"AWS_SESSION_TOKEN": "t"}, {}, {}, "chain", "boto3's chain", (None, None, None)),
        ({"AWS_SESSION_TOKEN": "t"}, KEYS, {}, "global", "global (AWS_*)", ("global-id", "global-canary", None)),
    ],
)
def test_choice(
    tmp_path: Path,
    environ: dict[str, str],
    dotenv: dict[str, str],
    arguments: dict[str, Any],
    kind: str,
    origin: str,
    expected: tuple[str | None, str | None, str | None] | None,
) -> None:
    chosen = load(tmp_path, environ, dotenv, **arguments).credentials
    assert (chosen.kind, chosen.origin) == (kind, origin)
    assert expected is None or parts(chosen) == expected
    if kind == "project" and not arguments.get("access_key_id"):
        assert parts(chosen)[2] is None


@pytest.mark.parametrize(
    ("environ", "dotenv", "arguments", "told"),
    [
        (
            {"AWS_ACCESS_KEY_ID": "canary"},
            {},
            {},
            "AWS_ACCESS_KEY_ID is given in the environment, but not AWS_SECRET_ACCESS_KEY",
        ),
        (
            {"AWS_SECRET_ACCESS_KEY": "canary"},
            {},
            {},
            "AWS_SECRET_ACCESS_KEY is given in the environment, but not AWS_ACCESS_KEY_ID",
        ),
        (
            {},
            {"MLFLOW_S3_ACCESS_KEY_ID": "canary"},
            {},
            "MLFLOW_S3_ACCESS_KEY_ID is given in .env, but not MLFLOW_S3_SECRET_ACCESS_KEY",
        ),
        ({"MLFLOW_AWS_SECRET_ACCESS_KEY": "canary"}, {}, {}, "but not MLFLOW_AWS_ACCESS_KEY_ID"),
        (
            {},
            {},
            {"s3_access_key_id": "canary"},
            "s3_access_key_id is given in the arguments, but not s3_secret_access_key",
        ),
        ({}, {}, {"session_token": "canary"}, "but not access_key_id and secret_access_key"),
        (
            {"MLFLOW_AWS_SESSION_TOKEN": "canary"},
            OWN,
            {},
            "but not MLFLOW_AWS_ACCESS_KEY_ID and MLFLOW_AWS_SECRET_ACCESS_KEY. What .env holds was not combined",
        ),
        ({"MLFLOW_AWS_ACCESS_KEY_ID": "canary"}, OWN, {}, "What .env holds was not combined with it."),
        ({"MLFLOW_AWS_ACCESS_KEY_ID": "canary"} | KEYS, {}, {}, "but not MLFLOW_AWS_SECRET_ACCESS_KEY."),
        ({"AWS_ACCESS_KEY_ID": "canary", "MLFLOW_AWS_PROFILE": "p"}, {}, {}, "but not AWS_SECRET_ACCESS_KEY."),
    ],
)
def test_half_a_credential_names_the_missing_half(
    tmp_path: Path, environ: dict[str, str], dotenv: dict[str, str], arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(CredentialsError) as refusal:
        load(tmp_path, environ, dotenv, **arguments)
    assert told in refusal.value.message
    assert refusal.value.hint.startswith("set ")
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("MLFLOW_AWS_ACCESS_KEY_ID", "MLFLOW_S3_ACCESS_KEY_ID"),
        ("MLFLOW_AWS_SECRET_ACCESS_KEY", "MLFLOW_S3_SECRET_ACCESS_KEY"),
    ],
)
def test_aliases_that_disagree_are_refused_unseen(tmp_path: Path, first: str, second: str) -> None:
    with pytest.raises(CredentialsError) as refusal:
        load(tmp_path, OWN | {second: "canary-2"})
    assert first in refusal.value.message
    assert second in refusal.value.message
    assert "canary" not in str(refusal.value)
    assert load(tmp_path, OWN | {second: OWN[first]}).credentials.kind == "project"
    with pytest.raises(CredentialsError):
        load(tmp_path, access_key_id="a", s3_access_key_id="b", secret_access_key="canary")


def test_keys_that_are_no_text_are_refused_unseen(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="printable") as refusal:
        load(tmp_path, OWN | {"MLFLOW_AWS_SECRET_ACCESS_KEY": "canary\ncanary"})
    assert "canary" not in str(refusal.value)
    with pytest.raises(CredentialsError, match="printable"):
        load(tmp_path, access_key_id=3, secret_access_key="canary")
    assert parts(load(tmp_path, OWN | {"MLFLOW_AWS_ACCESS_KEY_ID": " id\n"}).credentials)[0] == "id"


def test_keys_and_profile_as_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="both given"):
        load(tmp_path, access_key_id="a", secret_access_key="canary", aws_profile="p")


def test_what_is_not_used_is_told(tmp_path: Path) -> None:
    (notice,) = load(tmp_path, KEYS, {"MLFLOW_AWS_PROFILE": "p"}).notices
    assert notice == ".env MLFLOW_AWS_PROFILE is not used: global (AWS_*) keys come first."
    (notice,) = load(tmp_path, {"AWS_SESSION_TOKEN": "canary"}).notices
    assert "AWS_SESSION_TOKEN in the environment is ignored" in notice
    assert "canary" not in notice


def test_the_region_of_a_profile(tmp_path: Path) -> None:
    aws = Path.home() / ".aws"
    aws.mkdir()
    (aws / "config").write_text("[default]\nregion = eu-west-1\n[profile p]\nregion = ap-south-1\n[profile q]\n")
    (aws / "credentials").write_text("[q]\nregion = sa-east-1\n")
    assert load(tmp_path).region == "eu-west-1"
    assert load(tmp_path, {"MLFLOW_AWS_PROFILE": "p"}).region == "ap-south-1"
    assert load(tmp_path, {"MLFLOW_AWS_PROFILE": "q"}).region == "sa-east-1"
    assert load(tmp_path, {"AWS_PROFILE": "p"}).region == "ap-south-1"
    assert load(tmp_path, KEYS | {"AWS_PROFILE": "p"}).region == "ap-south-1"
    assert load(tmp_path, OWN | {"MLFLOW_AWS_PROFILE": "p"}).region == "ap-south-1"
    # A project's own keys do not go where another program's profile points.
    assert load(tmp_path, OWN | {"AWS_PROFILE": "p"}).region == "us-east-1"
    assert load(tmp_path, {"MLFLOW_AWS_PROFILE": "p", "AWS_REGION": "eu-north-1"}).region == "eu-north-1"
    found = load(tmp_path, {"MLFLOW_AWS_PROFILE": "p"})
    assert (found.region_origin.kind, found.region_origin.name) == ("profile", "p")
    assert found.credentials.region == "ap-south-1"


def test_a_broken_aws_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("no section\n")
    found = load(tmp_path, {"AWS_CONFIG_FILE": str(tmp_path / "config")})
    assert found.region == "us-east-1"
    assert "cannot be understood" in found.notices[0]


# --- Against an oracle -----------------------------------------------------------------------

_NAMES = {
    "project": (
        ("MLFLOW_AWS_ACCESS_KEY_ID", "MLFLOW_S3_ACCESS_KEY_ID"),
        ("MLFLOW_AWS_SECRET_ACCESS_KEY", "MLFLOW_S3_SECRET_ACCESS_KEY"),
        ("MLFLOW_AWS_SESSION_TOKEN", "MLFLOW_S3_SESSION_TOKEN"),
    ),
    "global": (("AWS_ACCESS_KEY_ID",), ("AWS_SECRET_ACCESS_KEY",), ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")),
}
_ARGUMENTS = (
    ("access_key_id", "s3_access_key_id"),
    ("secret_access_key", "s3_secret_access_key"),
    ("session_token", "s3_session_token"),
)
_ALL = [name for family in _NAMES.values() for names in family for name in names]


def _values(source: str, names: list[str]) -> st.SearchStrategy[dict[str, str]]:
    """Values that tell where they were put: `source/family/number`."""

    def named(states: dict[str, int]) -> dict[str, str]:
        family = {name: "project" if name.startswith("MLFLOW") else "global" for name in names}
        return {
            name: "" if number == 0 else f"{source}/{'argument' if source == 'argument' else family[name]}/{number}"
            for name, number in states.items()
        }

    return st.fixed_dictionaries({}, optional={name: st.sampled_from([0, 1, 1, 1, 1, 2]) for name in names}).map(named)


_SOURCES = st.fixed_dictionaries(
    {
        "argument": st.one_of(st.just({}), _values("argument", [name for names in _ARGUMENTS for name in names])),
        "environment": _values("environment", _ALL),
        "dotenv": _values("dotenv", _ALL),
    }
)


def _oracle(sources: dict[str, dict[str, str]]) -> str:
    """Return the `source/family` that must be chosen, `chain`, or `refused`."""
    steps: list[tuple[str, str, tuple[tuple[str, ...], ...]]] = [("argument", "argument", _ARGUMENTS)]
    steps += [
        (source, family, _NAMES[family]) for family in ("project", "global") for source in ("environment", "dotenv")
    ]
    for source, family, table in steps:
        seen = [{sources[source].get(name, "") for name in aliases} - {""} for aliases in table]
        if any(len(values) > 1 for values in seen):
            return "refused"
        has_key, has_secret, has_token = (bool(values) for values in seen)
        if has_key and has_secret:
            return f"{source}/{family}"
        if has_key or has_secret or (has_token and family != "global"):
            return "refused"
    return "chain"


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@settings(max_examples=500, deadline=None)
@given(sources=_SOURCES)
def test_credentials_are_never_mixed(root: Path, sources: dict[str, dict[str, str]]) -> None:
    wanted, before = _oracle(sources), dict(os.environ)
    if wanted == "refused":
        with pytest.raises(SettingsError) as refusal:
            load(root, sources["environment"], sources["dotenv"], **sources["argument"])
        assert "/1" not in str(refusal.value).replace(str(root), "")
    else:
        chosen = load(root, sources["environment"], sources["dotenv"], **sources["argument"]).credentials
        given_parts = [part for part in parts(chosen) if part is not None]
        assert ({part.rpartition("/")[0] for part in given_parts} or {"chain"}) == {wanted}
        assert len(given_parts) in (0, 2, 3)
    assert dict(os.environ) == before
