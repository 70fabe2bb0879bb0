"""From what a database or its driver says to one error with the command that mends it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from holdfast.core.uris import mask_uri, scheme_of, sqlite_path
from holdfast.errors import (
    BackendError,
    BackendUnavailableError,
    HoldfastError,
    MissingDependencyError,
    NotFoundError,
    PermissionDeniedError,
)

# Drivers whose packages have other names than they themselves.
_PACKAGES = {"MySQLdb": "mysqlclient", "mysql": "mysql-connector-python", "psycopg2": "psycopg2-binary"}
_PORTS = {"mysql": 3306, "mssql": 1433}


@dataclass(frozen=True)
class Database:
    """The parts of a database URI that messages name; never its password."""

    uri: str
    host: str
    port: int
    user: str
    name: str
    file: str
    folder: str
    setting: str

    @classmethod
    def of(cls, uri: str, setting: str) -> Database:
        """Return the parts of `uri`, with the drivers' defaults where it has none; `setting` is where it stands."""
        parts = urlsplit(uri)
        default = _PORTS.get(scheme_of(uri), 5432)
        try:
            port = parts.port or default
        except ValueError:
            port = default
        path = sqlite_path(uri)
        return cls(
            mask_uri(uri),
            parts.hostname or "localhost",
            port,
            unquote(parts.username or ""),
            unquote(parts.path.lstrip("/")),
            shlex.quote(str(path or "")),
            shlex.quote(str(path.parent if path else "")),
            setting,
        )

    @property
    def psql_options(self) -> str:
        """Host, port and user as PostgreSQL's commands take them."""
        user = f" -U {shlex.quote(self.user)}" if self.user else ""
        return f"-h {self.host} -p {self.port}{user}"


@dataclass(frozen=True)
class _Cause:
    pattern: str
    kind: type[HoldfastError]
    message: Callable[[Database, re.Match[str]], str]
    hint: Callable[[Database, re.Match[str]], str]


# In order: the first that fits holds. The wording is that of PostgreSQL, SQLite, SQLAlchemy, alembic and MLflow.
_CAUSES = (
    _Cause(
        r"password authentication failed|no password supplied|Access denied for user",
        PermissionDeniedError,
        lambda b, _: f"The database {b.uri} refuses the user {b.user!r}: wrong or missing password.",
        lambda b, _: (
            f"correct user and password in {b.setting} (special characters as %XX); "
            f"try them with `psql {b.psql_options} {b.name}`"
        ),
    ),
    _Cause(
        r'database "(?P<name>[^"]+)" does not exist|Unknown database',
        NotFoundError,
        lambda b, _: f"The server at {b.host}:{b.port} has no database {b.name!r}.",
        lambda b, _: (
            f"make it (`CREATE DATABASE {b.name}`), or correct its name in {b.setting}"
            if "mysql" in b.uri.split(":")[0]
            else f"make it: `createdb {b.psql_options} {shlex.quote(b.name)}`"
        ),
    ),
    _Cause(
        r'role "[^"]+" (does not exist|is not permitted to log in)|(Peer|Ident) authentication failed',
        PermissionDeniedError,
        lambda b, m: f"The database {b.uri} refuses the user {b.user!r} ({m[0]}).",
        lambda b, _: f"correct user and password in {b.setting}, or make the user: `createuser -h {b.host} …`",
    ),
    _Cause(
        r"no pg_hba\.conf entry for [^\n]*",
        PermissionDeniedError,
        lambda b, m: f"The server at {b.host}:{b.port} lets this user or machine in to no database ({m[0].strip()}).",
        lambda b, _: f'add ?sslmode=require to {b.setting} where it says "no encryption", else a line to pg_hba.conf',
    ),
    _Cause(
        r"server does not support SSL, but SSL was required|certificate verify failed|root certificate file [^\n]*"
        r"|server certificate for [^\n]* does not match[^\n]*|SSL error: (?:tlsv1|sslv3|wrong)[^\n]*",
        BackendError,
        lambda b, m: f"The TLS of {b.uri} does not fit: {m[0].strip()}.",
        lambda b, _: (
            f"correct sslmode and sslrootcert in {b.setting} (?sslmode=require needs a server with TLS, "
            "verify-full also its certificate; ?sslmode=prefer takes what there is)"
        ),
    ),
    _Cause(
        r"permission denied for (table|relation|view|sequence) (?P<name>\S+)",
        PermissionDeniedError,
        lambda b, m: f"The user {b.user!r} may not do this in {b.uri} ({m[0]}).",
        lambda b, _: (
            f"as the tables' owner: `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {b.user}` "
            f"and `GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {b.user}`"
        ),
    ),
    _Cause(
        r"permission denied for (schema|database) (?P<name>\S+)",
        PermissionDeniedError,
        lambda b, m: f"The user {b.user!r} may not make tables in {b.uri} ({m[0]}).",
        lambda b, _: (
            f"as the database's owner: `GRANT CREATE, USAGE ON SCHEMA public TO {b.user}`, "
            f"or `ALTER DATABASE {b.name} OWNER TO {b.user}`"
        ),
    ),
    _Cause(
        r"Can't locate revision identified by '(?P<revision>\w+)'",
        BackendError,
        lambda b, m: f"The database {b.uri} was made by a newer MLflow (its schema is {m['revision']}).",
        lambda *_: "install at least that version: `pip install --upgrade mlflow`",
    ),
    _Cause(
        r"out-of-date database schema(?P<versions> \([^)]*\))?",
        BackendError,
        lambda b, m: f"The schema of {b.uri} is not that of the installed MLflow{m['versions'] or ''}.",
        lambda b, _: (
            f"make a backup, then run `mlflow db upgrade '{b.uri}'` (with the password in place of ****); where that "
            'says "Can\'t locate revision", the database is the newer one: `pip install --upgrade mlflow`'
        ),
    ),
    _Cause(
        r"No module named '(?P<name>psycopg2|psycopg|pg8000|MySQLdb|pymysql|mysqlclient|mysql|pyodbc|pymssql)[.']",
        MissingDependencyError,
        lambda b, m: f"The driver {m['name']} for {b.uri} is not installed.",
        lambda _, m: (
            "write the URI as postgresql+psycopg://… (`pip install 'holdfast[server]'` brings that driver), or "
            "`pip install psycopg2-binary`"
            if m["name"] == "psycopg2"
            else "`pip install 'holdfast[server]'` brings psycopg; other databases need their driver: "
            f"`pip install {_PACKAGES.get(m['name'], m['name'])}`"
        ),
    ),
    _Cause(
        r"Can't load plugin: sqlalchemy\.dialects:(?P<name>\S+)",
        BackendError,
        lambda b, m: f"SQLAlchemy knows no database {m['name']!r} ({b.uri}).",
        lambda *_: "use postgresql+psycopg://user@host/database or sqlite:///mlflow.db",
    ),
    _Cause(
        r"file is not a database|file is encrypted",
        BackendError,
        lambda b, _: f"{b.uri} is a file, but no SQLite database.",
        lambda b, _: f"name another file in {b.setting}, or bring this one back from a backup",
    ),
    _Cause(
        r"unable to open database file|attempt to write a readonly database",
        PermissionDeniedError,
        lambda b, _: f"The SQLite database {b.uri} cannot be opened for writing.",
        lambda b, _: (
            f"file and folder must be writable for this user: `chmod u+rw {b.file}; chmod u+rwx {b.folder}`, "
            "or `chown` them if they belong to somebody else"
        ),
    ),
    _Cause(
        r"database is locked",
        BackendUnavailableError,
        lambda b, _: f"Another process is writing to {b.uri}.",
        lambda *_: "try again, end the other process, or use PostgreSQL for many writers",
    ),
    _Cause(
        r"could not translate host name|Name or service not known|failed to resolve host|nodename nor servname",
        BackendUnavailableError,
        lambda b, _: f"The host name {b.host!r} of the database {b.uri} is not known.",
        lambda b, _: f"correct the host in {b.setting}",
    ),
    _Cause(
        r"the database system is (starting up|shutting down|in recovery mode)",
        BackendUnavailableError,
        lambda b, _: f"The database at {b.host}:{b.port} is not ready yet.",
        lambda b, _: f"wait until `pg_isready -h {b.host} -p {b.port}` agrees, then start again",
    ),
    _Cause(
        r"too many clients already|remaining connection slots are reserved",
        BackendUnavailableError,
        lambda b, _: f"The database at {b.host}:{b.port} has no connection left.",
        lambda *_: "end other clients, or raise max_connections",
    ),
    _Cause(
        r"Connection refused|[Cc]onnection timed out|connection timeout expired|could not connect to server"
        r"|No route to host|Network is unreachable|Can't connect to MySQL|server closed the connection unexpectedly",
        BackendUnavailableError,
        lambda b, _: f"The database {b.uri} cannot be reached at {b.host}:{b.port}.",
        lambda b, _: f"start it, or correct host and port in {b.setting} (`pg_isready -h {b.host} -p {b.port}`)",
    ),
)


def diagnose(text: str, uri: str, setting: str = "MLFLOW_TRACKING_URI") -> HoldfastError | None:
    """Return the error for the cause that `text` (a log, an exception's text) tells of, or None.

    Args:
        text: What the database, its driver or MLflow said.
        uri: The database's URI.
        setting: The setting that holds the URI; hints name it.
    """
    database = Database.of(uri, setting)
    for cause in _CAUSES:
        match = re.search(cause.pattern, text)
        if match:
            passes = issubclass(cause.kind, BackendUnavailableError)
            return cause.kind(cause.message(database, match), cause.hint(database, match), passes)
    return None
