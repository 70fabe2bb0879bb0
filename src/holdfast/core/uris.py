"""URIs of trackers, artifacts and models: one normal form each, and no secret shown.

Normalising mends what has one meaning (a doubled slash, `runs://ID/path`); the rest is
refused with the right form, because MLflow would read it as something else: it takes
`models://name/production` for a model *id*, and `runs://ID/model` for a run called "model".

Masking prefers hiding too much: a password that was not percent-encoded may hold `@`, `/`
or `?`, so everything from the first colon to the last `@` is taken for it.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from holdfast.errors import InvalidInputError

MASK = "****"
_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*):(?P<slashes>/*)(?P<rest>.*)", re.DOTALL)
# A URI in running text ends at white space, or at a quote with which JSON or a repr goes on.
_URI_IN_TEXT = re.compile(r"""[A-Za-z][A-Za-z0-9+.\-]*://(?:(?!["'`>](?:[\s,;:}\])]|$))\S)+""")
_SECRET_IN_QUERY = re.compile(
    r"(?P<key>[?&;#][^=&;#\s]*(?:pass|pwd|secret|token|key|sig|cred|auth|odbc_connect|dsn)[^=&;\s]*=)[^&]*",
    re.IGNORECASE,
)
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_DATABRICKS = ("databricks", "databricks-uc", "uc")
_CONTAINER_STORES = ("wasb", "wasbs", "abfs", "abfss")  # container@account is an address, no login
_ARTIFACT_STORES = ("s3", "gs", "r2", "dbfs", "hdfs", "viewfs", "ftp", "sftp", "mlflow-artifacts", *_CONTAINER_STORES)
_WITHOUT_LOGIN = ("models", "runs")
_SHOWS_LONE_USER = (*_DATABASES, *_CONTAINER_STORES, "postgres")
_SHOWS_PATH = (*_ARTIFACT_STORES, *_DATABRICKS, "http", "https", "file")
_LIKE_A_HOST = re.compile(r"(localhost|[\w\-]+(\.[\w\-]+)+)/")
_RUN_ID = re.compile(r"[0-9a-zA-Z][0-9a-zA-Z_\-]*")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{1,253}[A-Za-z0-9]")  # as botocore has it: old buckets have capitals
_SERVED = "/mlflow-artifacts/artifacts"  # where an MLflow server has the files that it keeps for others
_STAGES = {"none": "None", "staging": "Staging", "production": "Production", "archived": "Archived"}
_ENCODE = "percent-encode @ : / ? # in user names and passwords"


def mask_uri(uri: str) -> str:
    """Return `uri` with its password, and secrets in its query, replaced by `****`."""
    match = _URI.fullmatch(uri)
    if match is None:
        login, at, address = uri.rpartition("@")
        masked = f"{MASK}@{address}" if at and ":" in login and login[0] not in "./~" else uri
    else:
        login, at, address = match["rest"].rpartition("@")
        shown = _masked_login(scheme_of(uri), login) if at else ""
        masked = f"{match['scheme']}:{match['slashes']}{shown}{at}{address}"
    return _SECRET_IN_QUERY.sub(rf"\g<key>{MASK}", masked)


def _masked_login(scheme: str, login: str) -> str:
    user, colon, password = login.partition(":")
    if scheme in _WITHOUT_LOGIN:
        return login
    if scheme not in (*_SHOWS_LONE_USER, *_SHOWS_PATH):
        return MASK  # user:password@host, the scheme forgotten: what looks like a scheme is the user
    if colon:
        # https://TOKEN:@host is how a token is given to HTTP's basic authentication.
        return f"{user}:{MASK}" if password else MASK
    if scheme in _SHOWS_LONE_USER:
        return login
    # https://host/page@2 has its "@" in the path; https://TOK/EN@host is a token, for no host's name is like that.
    is_path = "/" in login and (scheme not in ("http", "https") or _LIKE_A_HOST.match(login))
    return login if is_path and scheme in _SHOWS_PATH else MASK


def mask_passwords_in(text: str) -> str:
    """Return `text` with the password of every URI in it replaced by `****`.

    A password with a white space in it cannot be told from the text: use `mask_uri` on the URI itself.
    """
    return _URI_IN_TEXT.sub(lambda match: mask_uri(match[0]), text)


def holds_password(uri: str) -> bool:
    """Whether a login or a secret stands in the URI, which `mask_uri` would hide."""
    return mask_uri(uri) != uri


def secrets_in(uri: str) -> tuple[str, ...]:
    """Return the password of a URI, or its lone login where that is masked, as it stands and percent-decoded."""
    match = _URI.fullmatch(uri)
    login = match["rest"].rpartition("@")[0] if match else ""
    if match is None or not login or _masked_login(scheme_of(uri), login) == login:
        return ()
    user, _, password = login.partition(":")
    secret = password or user
    return tuple(dict.fromkeys((secret, unquote(secret))))


def scheme_of(uri: str) -> str:
    """Return the scheme in lower case without a driver (`postgresql+psycopg` gives `postgresql`), or `""`.

    A Windows drive letter is no scheme.
    """
    match = _URI.match(uri)
    if match is None or len(match["scheme"]) == 1:
        return ""
    return match["scheme"].lower().split("+")[0]


def is_database(uri: str) -> bool:
    """Whether MLflow keeps its records under this URI in a SQL database."""
    return scheme_of(uri) in _DATABASES


def normalize_tracking_uri(uri: str, setting: str = "MLFLOW_TRACKING_URI") -> str:
    """Return the tracking URI in its normal form.

    Args:
        uri: `http(s)://…`, `sqlite:///…`, `postgresql://…`, `mysql://…`, `mssql://…` or `databricks…`.
        setting: The name to give in an error.

    Raises:
        InvalidInputError: The URI is empty, or names an artifact store (`s3://`), or a folder
            (`file:`, a bare path), which today's MLflow refuses as a tracking store.
    """
    text = uri.strip()
    scheme = scheme_of(text)
    if scheme in ("http", "https"):
        return _normalize_http(text, setting)
    if scheme == "sqlite":
        return _normalize_sqlite(text, setting)
    if scheme in (*_DATABASES, "postgres"):
        return _normalize_database(text, setting)
    if scheme in _DATABRICKS or text in _DATABRICKS:
        return text
    raise InvalidInputError(*_why_no_tracking_uri(text, scheme, setting))


def _why_no_tracking_uri(text: str, scheme: str, setting: str) -> tuple[str, str]:
    shown = mask_uri(text)
    if scheme in _ARTIFACT_STORES:
        return (
            f"{setting}={shown} names an artifact store; runs and metrics cannot be tracked there.",
            f"set MLFLOW_ARTIFACT_ROOT={shown} for the files, and {setting} to sqlite:///mlflow.db, "
            "postgresql://user@host/db or http://host:5000",
        )
    if scheme in ("file", ""):
        what = f"{setting}={shown} is a folder" if text else f"{setting} is empty"
        return (
            f"{what}; MLflow no longer keeps runs in folders.",
            f"set {setting}=sqlite:///mlflow.db (an existing folder moves with `mlflow migrate-filestore`)",
        )
    return (
        f"{setting}={shown} has the unknown scheme {scheme!r}.",
        "use http(s)://host:port, sqlite:///path.db or postgresql://user@host/db",
    )


def _normalize_http(text: str, setting: str) -> str:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or re.search(r"\s", parts.netloc):
        encode = f" ({_ENCODE})" if "@" in text else ""
        raise InvalidInputError(
            f"{setting}={mask_uri(text)} has no valid host and port.", f"write {setting}=http://host:5000{encode}"
        )
    path = re.sub(r"/{2,}", "/", parts.path)
    path = path.rstrip("/") if parts.query else _trim(path)
    return urlunsplit((parts.scheme.lower(), parts.netloc, path, parts.query, ""))


def _normalize_sqlite(text: str, setting: str) -> str:
    match = re.fullmatch(r"(?i:(sqlite(?:\+\w+)?)):(/*)(.*)", text, flags=re.DOTALL)
    if match is None or not match[3] or match[3].startswith((":memory:", "?")):
        raise InvalidInputError(
            f"{setting}={mask_uri(text)} names no database file.",
            f"write {setting}=sqlite:///mlflow.db (relative) or sqlite:////absolute/path/mlflow.db",
        )
    slashes = len(match[2])
    # sqlite:/x.db and sqlite://x.db are common slips; three slashes are relative, four absolute.
    if slashes in (1, 2):
        path = mask_uri(text).split(":", 1)[1].lstrip("/")
        raise InvalidInputError(
            f"{setting}={mask_uri(text)} has {slashes} slash{'es' if slashes > 1 else ''} after 'sqlite:', "
            "which could mean a relative or an absolute path.",
            f"write sqlite:///{path} (relative) or sqlite:////{path} (absolute)",
        )
    path, mark, query = match[3].partition("?")
    path = re.sub(r"/{2,}", "/", path)
    return f"{match[1].lower()}:{'////' if slashes >= 4 else '///'}{path}{mark}{query}"


def _normalize_database(text: str, setting: str) -> str:
    head, _, rest = text.partition(":")
    head = re.sub(r"^postgres(?=\+|$)", "postgresql", head.lower())  # what some hosts hand out; SQLAlchemy refuses it
    if not rest.startswith("//") or not rest.strip("/"):
        raise InvalidInputError(
            f"{setting}={mask_uri(text)} names no database.", f"write {setting}={head}://user@host:5432/database"
        )
    # Only what follows the login is mended: a password may hold slashes.
    login, at, address = rest[2:].rpartition("@")
    host, slash, path = address.partition("/")
    _check_host(host.partition("?")[0], setting, text)
    return f"{head}://{login}{at}{host}{slash}{path.lstrip('/')}"


def _check_host(host: str, setting: str, text: str) -> None:
    name, _, port = host.rpartition("]") if "[" in host else ("", "", host.partition(":")[2])
    if not re.fullmatch(r":?\d*", port) or ("[" in host and not re.fullmatch(r"\[[\da-fA-F:.%]+", name)):
        raise InvalidInputError(
            f"{setting}={mask_uri(text)} has no host and port that can be read: {host!r}.",
            "write host:5432, or [::1]:5432 for an address of IPv6",
        )


def resolve_sqlite_uri(uri: str, base: Path) -> str:
    """Return a `sqlite:///relative.db` URI with the path made absolute against `base`; others unchanged."""
    match = re.fullmatch(r"(sqlite(?:\+\w+)?):///([^/].*)", uri, flags=re.DOTALL)
    if match is None or match[2].startswith("file:") or re.match(r"[A-Za-z]:[\\/]", match[2]):
        return uri
    path, mark, query = match[2].partition("?")
    return f"{match[1]}:///{_absolute(path, base).as_posix()}{mark}{query}"


def sqlite_path(uri: str) -> Path | None:
    """Return the file of a normalised `sqlite:///…` URI, or None for other URIs."""
    if scheme_of(uri) != "sqlite" or ":///" not in uri:
        return None
    return Path(uri.split(":///", 1)[1].partition("?")[0])


def normalize_artifact_root(uri: str, setting: str = "MLFLOW_ARTIFACT_ROOT", base: Path | None = None) -> str:
    """Return the artifact root in its normal form: no trailing or doubled slash, local paths absolute.

    Args:
        uri: `s3://bucket/prefix`, `mlflow-artifacts:/…`, another cloud's URI, `file:///…` or a path.
        setting: The name to give in an error.
        base: What a relative path is taken from; the working directory by default.

    Raises:
        InvalidInputError: The URI is empty, names no bucket, is a tracking store, or a run or model.
    """
    text = uri.strip()
    scheme = scheme_of(text)
    if not text:
        raise InvalidInputError(f"{setting} is empty.", f"set {setting}=s3://bucket/prefix or a folder")
    if scheme in (*_DATABASES, "postgres", *_WITHOUT_LOGIN) or (
        scheme in ("http", "https") and not text.rstrip("/").endswith("/artifacts")
    ):
        raise InvalidInputError(*_why_no_artifact_root(text, scheme, setting))
    if scheme in ("", "file"):
        return _local_root(text, scheme, base or Path.cwd(), setting)
    if scheme == "s3":
        return _normalize_s3(text, f"{setting}={mask_uri(text)}")
    head, _, rest = text.partition(":")
    if not _trim(rest) and scheme != "mlflow-artifacts":
        raise InvalidInputError(f"{setting}={text} names no place.", f"write {setting}={head.lower()}://bucket/prefix")
    place = _squeeze(rest)
    # Three slashes leave the host out, which MLflow writes with one.
    return f"{head.lower()}:{place[2:] if scheme == 'mlflow-artifacts' and place.startswith('///') else place}"


def _why_no_artifact_root(text: str, scheme: str, setting: str) -> tuple[str, str]:
    if scheme in _WITHOUT_LOGIN:
        return (
            f"{setting}={text} names a {scheme[:-1]}, no place for files.",
            f"set {setting}=s3://bucket/prefix or a folder",
        )
    return (
        f"{setting}={mask_uri(text)} is a tracking store; files cannot be kept there.",
        f"set {setting}=s3://bucket/prefix or a folder, and MLFLOW_TRACKING_URI={mask_uri(text)}",
    )


def _squeeze(rest: str) -> str:
    path = rest.lstrip("/")
    slashes = "/" * min(3, len(rest) - len(path))
    return slashes + re.sub(r"/{2,}", "/", _trim(path))


def _trim(text: str) -> str:
    """Return `text` without slashes and blanks at its end."""
    return re.sub(r"[/\s]+$", "", text)


def _local_root(text: str, scheme: str, base: Path, setting: str) -> str:
    path = text
    if scheme:
        rest = text.partition(":")[2]
        host = rest[2:].partition("/")[0] if rest.startswith("//") else ""
        if host not in ("", "localhost"):
            raise InvalidInputError(
                f"{setting}={mask_uri(text)} names the host {mask_uri(rest[2:]).partition('/')[0]!r}.",
                f"write file:///absolute/path, or {setting}=a/relative/path",
            )
        path = unquote(rest[2 + len(host) :] if rest.startswith("//") else rest)
    if "\0" in path:
        raise InvalidInputError(f"{setting} holds a NUL character.", f"set {setting}=s3://bucket/prefix or a folder")
    return _trim(str(_absolute(path, base))) or "/"


def _absolute(path: str, base: Path) -> Path:
    joined = base / expand_home(path or ".")
    try:
        return joined.resolve()
    except (RuntimeError, OSError):  # a loop of links
        return joined.absolute()


def expand_home(path: str | Path) -> Path:
    """Return the path with a `~` at its beginning replaced, or as it is where nobody knows that home.

    Containers run processes under user ids without a name, and without HOME.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _normalize_s3(text: str, shown: str) -> str:
    rest = re.sub(r"^[sS]3:/*", "", _trim(text))
    if re.match(r"[sS]3:", rest):  # s3://s3://bucket has one meaning
        return _normalize_s3(rest, shown)
    parts = [part for part in rest.split("/") if part]
    if not parts or not _BUCKET.fullmatch(parts[0]):
        keys = "; keys belong in MLFLOW_AWS_ACCESS_KEY_ID and MLFLOW_AWS_SECRET_ACCESS_KEY" if "@" in rest else ""
        raise InvalidInputError(
            f"{shown} names no valid bucket.",
            f"write s3://bucket/prefix; a bucket has 3 to 63 letters, digits, dots and hyphens{keys}",
        )
    return "s3://" + "/".join(parts)


def normalize_model_uri(uri: object) -> str:
    """Return a model URI in the form MLflow reads as it was meant.

    `runs://ID/path` becomes `runs:/ID/path`; `models://name/3` and `models://name/production`
    become `models:/name/3` and `models:/name/Production`; doubled slashes are squeezed.

    Raises:
        InvalidInputError: The URI is no text, has no run id, path, name or version, or an unknown scheme, or is a page
            of the web.
    """
    if not isinstance(uri, str):
        raise InvalidInputError(
            f"The model URI {uri!r} is no text.", "write runs:/RUN_ID/model or models:/NAME/VERSION"
        )
    text = uri.strip()
    scheme = scheme_of(text)
    rest = _trim(re.sub(r"/{2,}", "/", text.partition(":")[2])).lstrip("/")
    if not text:
        raise InvalidInputError("The model URI is empty.", "write runs:/RUN_ID/model or models:/NAME/VERSION")
    if scheme == "runs":
        return _runs_uri(text, rest)
    if scheme == "models":
        return _models_uri(text, rest)
    if scheme == "s3":
        return _normalize_s3(text, f"The model URI {mask_uri(text)}")
    if scheme in ("http", "https") and _SERVED not in text:
        raise InvalidInputError(
            f"The model URI {mask_uri(text)} is no address of an MLflow server's files.",
            "write runs:/RUN_ID/model, models:/NAME/VERSION, or fetch it and give the folder",
        )
    if scheme in ("", "file", "http", "https", *_ARTIFACT_STORES):
        return text
    raise InvalidInputError(
        f"The model URI {mask_uri(text)} has the unknown scheme {scheme!r}.",
        "write runs:/RUN_ID/model, models:/NAME/VERSION, models:/NAME@ALIAS or s3://bucket/path",
    )


def _runs_uri(text: str, rest: str) -> str:
    run_id, _, path = rest.partition("/")
    if not _RUN_ID.fullmatch(run_id) or not path or ".." in path.split("/"):
        raise InvalidInputError(
            f"{text} does not name a run and a path in it.", "write runs:/RUN_ID/model, the path as it was logged"
        )
    return f"runs:/{run_id}/{path}"


def _models_uri(text: str, rest: str) -> str:
    name, _, version = rest.partition("/")
    if "@" in rest:
        name, _, alias = rest.partition("@")
        if name and alias and not re.search(r"[/:@]", name + alias):
            return f"models:/{name}@{alias}"
    elif name and ":" not in name and (number := _version(version)):
        return f"models:/{name}/{number}"
    elif re.fullmatch(r"m-[0-9a-f]{32}", rest):
        return f"models:/{rest}"
    raise InvalidInputError(
        f"{text} does not name a model version.",
        "write models:/NAME/3, models:/NAME/Production, models:/NAME@production or models:/NAME/latest",
    )


def _version(text: str) -> str:
    """Return a version's number, stage or `latest` as MLflow writes it; an empty text for anything else."""
    if re.fullmatch(r"[0-9]{1,18}", text) and int(text) > 0:
        return str(int(text))
    return _STAGES.get(text.lower(), "latest" if text.lower() == "latest" else "")


def join_uri(root: str, *parts: str) -> str:
    """Join path parts to a root, quoting nothing and doubling no slash."""
    tail = "/".join(part.strip("/") for part in parts if part.strip("/"))
    return f"{root.rstrip('/')}/{tail}" if tail else root


def file_uri(root_uri: str, path: str) -> str:
    """Return where a file goes among a run's artifacts; below a folder of this machine as a plain path, unescaped."""
    return join_uri(normalize_artifact_root(root_uri) if scheme_of(root_uri) == "file" else root_uri, path)


def slug(name: str) -> str:
    """Return `name` as one path segment of at most 120 characters, safe in S3 keys and on every file system.

    Different names may give the same slug.
    """
    quoted = quote(re.sub(r"[^\w.\-]+", "-", name).strip("-.") or "unnamed", safe="")
    return re.sub(r"%[0-9A-F]?$", "", quoted[:120])
