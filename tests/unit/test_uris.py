"""URIs: one normal form each, what is ambiguous is refused with the right form, and no password is shown."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.uris import (
    MASK,
    holds_password,
    is_database,
    join_uri,
    mask_passwords_in,
    mask_uri,
    normalize_artifact_root,
    normalize_model_uri,
    normalize_tracking_uri,
    resolve_sqlite_uri,
    scheme_of,
    secrets_in,
    slug,
    sqlite_path,
)
from holdfast.errors import InvalidInputError

RUN = "0123456789abcdef0123456789abcdef"
_SCHEMES = [
    "http",
    "HTTPS",
    "sqlite",
    "postgresql",
    "postgres",
    "mysql+pymysql",
    "s3",
    "file",
    "models",
    "runs",
    "gs",
    "",
]
_MESS = st.text(alphabet="ab:/@.?#%=& \\~-_1S3", max_size=24)
_URIS = st.builds(
    lambda scheme, slashes, rest: f"{scheme}:{slashes}{rest}" if scheme else rest,
    st.sampled_from(_SCHEMES),
    st.sampled_from(["", "/", "//", "///", "////", "/////"]),
    _MESS,
)


@pytest.mark.parametrize(
    ("given_uri", "normal"),
    [
        ("http://host:5000", "http://host:5000"),
        (" HTTP://host:5000/ ", "http://host:5000"),
        ("https://host//mlflow//", "https://host/mlflow"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("sqlite:mlflow.db", "sqlite:///mlflow.db"),
        ("SQLite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("sqlite://///data//mlflow.db", "sqlite:////data/mlflow.db"),
        ("postgresql://u:p@host:5432//db", "postgresql://u:p@host:5432/db"),
        ("postgres://u@host/db", "postgresql://u@host/db"),
        ("postgresql+psycopg://u@host/db", "postgresql+psycopg://u@host/db"),
        ("postgresql://u:a//b@host/db", "postgresql://u:a//b@host/db"),
        ("mssql+pyodbc:///?odbc_connect=x", "mssql+pyodbc:///?odbc_connect=x"),
        ("databricks", "databricks"),
        ("databricks://profile", "databricks://profile"),
    ],
)
def test_tracking_uris_have_one_normal_form(given_uri: str, normal: str) -> None:
    assert normalize_tracking_uri(given_uri) == normal


@pytest.mark.parametrize(
    ("uri", "in_message", "in_hint"),
    [
        ("s3://bucket/x", "artifact store", "MLFLOW_ARTIFACT_ROOT=s3://bucket/x"),
        ("gs://bucket/x", "artifact store", "MLFLOW_ARTIFACT_ROOT=gs://bucket/x"),
        ("file:///tmp/mlruns", "is a folder", "sqlite:///mlflow.db"),
        ("./mlruns", "is a folder", "sqlite:///mlflow.db"),
        ("", "is empty", "sqlite:///mlflow.db"),
        ("ftp2://host", "unknown scheme 'ftp2'", "http(s)://host:port"),
        ("localhost:5000", "unknown scheme", "http(s)://host:port"),
        ("http:///path", "no valid host", "http://host:5000"),
        ("http://host:port", "no valid host", "http://host:5000"),
        ("http://u:p#w@host", "no valid host", "percent-encode"),
        ("sqlite://", "no database file", "sqlite:///mlflow.db"),
        ("sqlite:///:memory:", "no database file", "sqlite:///mlflow.db"),
        ("sqlite://mlflow.db", "2 slashes", "sqlite:///mlflow.db (relative)"),
        ("sqlite:/data/mlflow.db", "1 slash ", "sqlite:////data/mlflow.db (absolute)"),
        ("postgresql:u:p@host/db", "names no database", "postgresql://user@host:5432/database"),
        ("postgresql://", "names no database", "postgresql://user@host:5432/database"),
        ("postgresql://u:p@[::1:5432/db", "no host and port that can be read: '[::1:5432'", "[::1]:5432"),
        ("postgresql://u:p@h:db", "no host and port that can be read: 'h:db'", "host:5432"),
    ],
)
def test_other_tracking_uris_are_refused_with_the_right_form(uri: str, in_message: str, in_hint: str) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        normalize_tracking_uri(uri, "MLFLOW_TRACKING_URI")
    assert "MLFLOW_TRACKING_URI" in refusal.value.message
    assert in_message in refusal.value.message
    assert in_hint in refusal.value.hint


@pytest.mark.parametrize(
    ("given_uri", "normal"),
    [
        ("s3://bucket/prefix/", "s3://bucket/prefix"),
        ("s3://bucket//a//b", "s3://bucket/a/b"),
        ("s3://s3://bucket/a", "s3://bucket/a"),
        ("S3:/bucket", "s3://bucket"),
        ("mlflow-artifacts:/", "mlflow-artifacts:/"),
        ("mlflow-artifacts:/a//b/", "mlflow-artifacts:/a/b"),
        ("mlflow-artifacts:///a/b", "mlflow-artifacts:/a/b"),
        ("mlflow-artifacts://host/a", "mlflow-artifacts://host/a"),
        ("hdfs:///user/a/", "hdfs:///user/a"),
        ("GS://bucket//a", "gs://bucket/a"),
        ("wasbs://box@account.blob.core.windows.net/a", "wasbs://box@account.blob.core.windows.net/a"),
        ("file:///data//x", "/data/x"),
        ("file://localhost/data/x", "/data/x"),
        ("file:/data/a%20b", "/data/a b"),
        ("file:artifacts", "/project/artifacts"),
        ("artifacts/", "/project/artifacts"),
        ("../x", "/x"),
        (".", "/project"),
        ("http://host/api/2.0/mlflow-artifacts/artifacts", "http://host/api/2.0/mlflow-artifacts/artifacts"),
    ],
)
def test_artifact_roots_have_one_normal_form(given_uri: str, normal: str) -> None:
    assert normalize_artifact_root(given_uri, base=Path("/project")) == normal


@pytest.mark.parametrize(
    ("uri", "in_message", "in_hint"),
    [
        ("", "is empty", "s3://bucket/prefix"),
        ("s3://", "no valid bucket", "s3://bucket/prefix"),
        ("s3://a b", "no valid bucket", "s3://bucket/prefix"),
        ("s3://key:secret@bucket/x", "no valid bucket", "MLFLOW_AWS_ACCESS_KEY_ID"),
        ("postgresql://u@h/db", "tracking store", "MLFLOW_TRACKING_URI=postgresql://u@h/db"),
        ("sqlite:///x.db", "tracking store", "MLFLOW_TRACKING_URI=sqlite:///x.db"),
        ("http://host:5000", "tracking store", "MLFLOW_TRACKING_URI=http://host:5000"),
        ("file://data/x", "names the host 'data'", "file:///absolute/path"),
        (f"runs:/{RUN}/model", "names a run", "s3://bucket/prefix"),
        ("models:/m/1", "names a model", "s3://bucket/prefix"),
        ("file:///a%00b", "NUL", "s3://bucket/prefix"),
    ],
)
def test_other_artifact_roots_are_refused_with_the_right_form(uri: str, in_message: str, in_hint: str) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        normalize_artifact_root(uri, "MLFLOW_ARTIFACT_ROOT")
    assert in_message in refusal.value.message
    assert in_hint in refusal.value.hint
    assert "secret" not in refusal.value.message


@pytest.mark.parametrize(
    ("given_uri", "normal"),
    [
        (f"runs://{RUN}/model", f"runs:/{RUN}/model"),
        (f"runs:/{RUN}//a//b/", f"runs:/{RUN}/a/b"),
        ("models://name/production", "models:/name/Production"),
        ("models:/name/003", "models:/name/3"),
        ("models:/my model/Staging", "models:/my model/Staging"),
        ("models:/name/LATEST", "models:/name/latest"),
        ("models://name@champion", "models:/name@champion"),
        ("models:/m-" + RUN, "models:/m-" + RUN),
        ("s3://s3://bucket//model", "s3://bucket/model"),
        ("file:///data/model", "file:///data/model"),
    ],
)
def test_model_uris_have_one_normal_form(given_uri: str, normal: str) -> None:
    assert normalize_model_uri(given_uri) == normal


@pytest.mark.parametrize(
    ("uri", "in_hint"),
    [
        ("", "runs:/RUN_ID/model"),
        (f"runs:/{RUN}", "runs:/RUN_ID/model"),
        (f"runs:/{RUN}/../x", "runs:/RUN_ID/model"),
        ("runs:///", "runs:/RUN_ID/model"),
        ("models:/name", "models:/NAME/Production"),
        ("models:/name/0", "models:/NAME/3"),
        ("models:/name/newest", "models:/NAME/latest"),
        ("models:/name/1/extra", "models:/NAME/3"),
        ("models:/name@a@b", "models:/NAME@production"),
        ("models:/models:/name/1", "models:/NAME/3"),
        ("foo:/x", "runs:/RUN_ID/model"),
    ],
)
def test_other_model_uris_are_refused_with_the_right_form(uri: str, in_hint: str) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        normalize_model_uri(uri)
    assert in_hint in refusal.value.hint


@pytest.mark.parametrize("normalize", [normalize_tracking_uri, normalize_artifact_root, normalize_model_uri])
@given(uri=_URIS)
def test_normalising_twice_is_normalising_once(normalize: Callable[[str], str], uri: str) -> None:
    try:
        once = normalize(uri)
    except InvalidInputError:
        return
    assert normalize(once) == once


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://u:p@host/db", "postgresql://u:****@host/db"),
        ("postgresql://u@host/db", "postgresql://u@host/db"),
        ("https://TOKEN@host", "https://****@host"),
        ("https://TOKEN:@host", "https://****@host"),
        ("http://host:5000/x", "http://host:5000/x"),
        ("models:/name@alias", "models:/name@alias"),
        ("s3://bucket/icon@2x.png", "s3://bucket/icon@2x.png"),
        ("http://host.org/icon@2x.png", "http://host.org/icon@2x.png"),
        ("http://localhost/icon@2x.png", "http://localhost/icon@2x.png"),
        ("http://SECRET/x@host", "http://****@host"),
        ("wasbs://box@account/x", "wasbs://box@account/x"),
        ("s3://key:secret@bucket", "s3://key:****@bucket"),
        ("postgresql:u:p@host", "postgresql:u:****@host"),
        ("u:pa/ss@host", "u:****@host"),
        ("user:pa:ss@host", "user:****@host"),
        ("u_1:pa/ss@host", "****@host"),
        ("postgresql://h/db?user=u&password=p&sslmode=on", "postgresql://h/db?user=u&password=****&sslmode=on"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3Dp", "mssql+pyodbc:///?odbc_connect=****"),
        ("https://b.s3.aws.com/k?X-Amz-Signature=f00", "https://b.s3.aws.com/k?X-Amz-Signature=****"),
        ("/data/a:b@c", "/data/a:b@c"),
    ],
)
def test_masking_keeps_what_is_no_secret(uri: str, shown: str) -> None:
    assert mask_uri(uri) == shown
    assert mask_uri(shown) == shown
    assert holds_password(uri) == (uri != shown)


# No character of a password may be met elsewhere in the URI, so that finding one is finding a leak.
_LETTERS = set("ξψζ")
_PASSWORDS = st.text(alphabet="ξψζ@:/%?#&=;,'\"$+!*()[]{}|\\", min_size=1, max_size=16).filter(
    lambda text: set(text) & _LETTERS
)


@given(
    scheme=st.sampled_from(["http", "https", "postgresql", "mysql+pymysql", "s3", "sqlite", "odd"]), password=_PASSWORDS
)
def test_a_password_is_never_shown(scheme: str, password: str) -> None:
    for written in (password, quote(password, safe="")):
        uri = f"{scheme}://user:{written}@host:5432/database"
        assert not _LETTERS & set(mask_uri(uri))
        assert "%C" not in mask_uri(uri)
        assert mask_uri(mask_uri(uri)) == mask_uri(uri)


@given(password=_PASSWORDS)
def test_no_error_shows_a_password(password: str) -> None:
    for normalize in (normalize_tracking_uri, normalize_artifact_root, normalize_model_uri):
        for scheme in ("http://", "https:", "postgresql:", "s3://", "file://", "sqlite://", "sqlite:/", "odd://", ""):
            assert not _LETTERS & set(_refusal(normalize, f"{scheme}user:{password}@host/database"))


def _refusal(normalize: Callable[[str], str], uri: str) -> str:
    try:
        normalize(uri)
    except InvalidInputError as error:
        return str(error)
    return ""


@given(password=st.text(alphabet="ξψζ@:/%?#&=;$+!*", min_size=1, max_size=16).filter(lambda t: set(t) & _LETTERS))
def test_passwords_in_running_text_are_masked(password: str) -> None:
    uri = f"postgresql://user:{password}@host/db"
    for text in (f"cannot reach {uri}: refused", f'{{"uri": "{uri}", "mail": "a@b"}}', f"Settings(uri='{uri}')", uri):
        masked = mask_passwords_in(text)
        assert not _LETTERS & set(masked)
        assert "host/db" in masked


def test_text_after_a_quoted_uri_stays() -> None:
    text = '{"uri":"http://host:1/x","mail":"a@b"} and more'
    assert mask_passwords_in(text) == text


@pytest.mark.parametrize(
    ("uri", "secrets"),
    [
        ("postgresql://u:p%40ss@h/db", ("p%40ss", "p@ss")),
        ("postgresql://u@h/db", ()),
        ("https://TOKEN@h", ("TOKEN",)),
        ("https://TOKEN:@h", ("TOKEN",)),
        ("models:/n@a", ()),
        ("no uri", ()),
    ],
)
def test_secrets_of_a_uri_are_what_masking_hides(uri: str, secrets: tuple[str, ...]) -> None:
    assert secrets_in(uri) == secrets


def test_schemes_and_databases() -> None:
    assert scheme_of("PostgreSQL+psycopg://h/d") == "postgresql"
    assert scheme_of("C:/data") == scheme_of("data") == ""
    assert is_database("sqlite:///x.db")
    assert not is_database("http://h")


def test_relative_sqlite_paths_are_resolved_against_the_base(tmp_path: Path) -> None:
    base = tmp_path.resolve()
    assert resolve_sqlite_uri("sqlite:///a/../x.db?mode=ro", base) == f"sqlite:///{base}/x.db?mode=ro"
    for unchanged in ("sqlite:////x.db", "postgresql://h/d", "sqlite:///file:x.db?uri=true", "sqlite:///C:/x.db"):
        assert resolve_sqlite_uri(unchanged, base) == unchanged
    assert sqlite_path("sqlite:////x.db?mode=ro") == Path("/x.db")
    assert sqlite_path("http://h") is None
    assert sqlite_path("sqlite://") is None


@pytest.mark.parametrize(
    ("root", "parts", "joined"),
    [
        ("s3://b/", ("/a/", "", "b"), "s3://b/a/b"),
        ("/data", (), "/data"),
        ("mlflow-artifacts:/", ("a",), "mlflow-artifacts:/a"),
    ],
)
def test_joining_doubles_no_slash(root: str, parts: tuple[str, ...], joined: str) -> None:
    assert join_uri(root, *parts) == joined


@given(name=st.text(max_size=200))
def test_a_slug_is_one_safe_path_segment(name: str) -> None:
    segment = slug(name)
    assert 0 < len(segment) <= 120
    assert set(segment) <= set(string.ascii_letters + string.digits + "._-%")
    assert segment not in (".", "..")
    assert MASK not in segment
