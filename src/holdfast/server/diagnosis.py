"""From what a server or a database driver wrote to one error with the command that mends it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from holdfast.core.uris import mask_uri
from holdfast.errors import ServerError


@dataclass(frozen=True)
class Backend:
    """The parts of a database URI that messages name; never its password."""

    uri: str
    host: str
    port: int
    user: str
    database: str

    @classmethod
    def of(cls, uri: str) -> Backend:
        """Return the parts of `uri`, with libpq's defaults where it has none."""
        parts = urlsplit(uri)
        try:
            port = parts.port or 5432
        except ValueError:
            port = 5432
        database = unquote(parts.path.lstrip("/"))
        return cls(mask_uri(uri), parts.hostname or "localhost", port, unquote(parts.username or ""), database)

    @property
    def psql_options(self) -> str:
        """Host, port and user as PostgreSQL's commands take them."""
        user = f" -U {shlex.quote(self.user)}" if self.user else ""
        return f"-h {self.host} -p {self.port}{user}"


@dataclass(frozen=True)
class _Cause:
    pattern: str
    message: Callable[[Backend, re.Match[str]], str]
    hint: Callable[[Backend, re.Match[str]], str]
    is_passing: bool = False


# In order: the first that fits holds. The wording is that of PostgreSQL, SQLite, SQLAlchemy, alembic and MLflow.
_CAUSES = (
    _Cause(
        r"password authentication failed|no password supplied|Access denied for user",
        lambda b, _: f"The database {b.uri} refuses the user {b.user!r}: wrong or missing password.",
        lambda b, _: (
            "correct user and password in MLFLOW_BACKEND_STORE_URI (special characters as %XX); "
            f"try them with `psql {b.psql_options} {b.database}`"
        ),
    ),
    _Cause(
        r'database "(?P<name>[^"]+)" does not exist|Unknown database',
        lambda b, _: f"The server at {b.host}:{b.port} has no database {b.database!r}.",
        lambda b, _: f"make it: `createdb {b.psql_options} {shlex.quote(b.database)}`",
    ),
    _Cause(
        r"permission denied for (schema|database|table) (?P<name>\S+)",
        lambda b, m: f"The user {b.user!r} may not make tables in {b.uri} ({m[0]}).",
        lambda b, _: (
            f"as the database's owner: `GRANT CREATE, USAGE ON SCHEMA public TO {b.user}`, "
            f"or `ALTER DATABASE {b.database} OWNER TO {b.user}`"
        ),
    ),
    _Cause(
        r"Can't locate revision identified by '(?P<revision>\w+)'",
        lambda b, m: f"The database {b.uri} was made by a newer MLflow (its schema is {m['revision']}).",
        lambda *_: "install at least that version: `pip install --upgrade mlflow`",
    ),
    _Cause(
        r"out-of-date database schema(?P<versions> \([^)]*\))?",
        lambda b, m: f"The schema of {b.uri} is not that of the installed MLflow{m['versions'] or ''}.",
        lambda b, _: (
            f"make a backup, then run `mlflow db upgrade '{b.uri}'` (with the password in place of ****); where that "
            'says "Can\'t locate revision", the database is the newer one: `pip install --upgrade mlflow`'
        ),
    ),
    _Cause(
        r"No module named '(?P<name>psycopg2|psycopg|MySQLdb|pymysql|mysqlclient|pyodbc)'",
        lambda b, m: f"The driver {m['name']} for {b.uri} is not installed.",
        lambda _, m: (
            "write the URI as postgresql+psycopg://…, or `pip install psycopg2-binary`"
            if m["name"] == "psycopg2"
            else "`pip install 'holdfast[server]'` brings psycopg; other databases need their driver: "
            f"`pip install {m['name']}`"
        ),
    ),
    _Cause(
        r"Can't load plugin: sqlalchemy\.dialects:(?P<name>\S+)",
        lambda b, m: f"SQLAlchemy knows no database {m['name']!r} ({b.uri}).",
        lambda *_: "use postgresql+psycopg://user@host/database or sqlite:///mlflow.db",
    ),
    _Cause(
        r"file is not a database|file is encrypted",
        lambda b, _: f"{b.uri} is a file, but no SQLite database.",
        lambda *_: "name another file in MLFLOW_BACKEND_STORE_URI, or bring this one back from a backup",
    ),
    _Cause(
        r"unable to open database file|attempt to write a readonly database",
        lambda b, _: f"The SQLite database {b.uri} cannot be opened for writing.",
        lambda b, _: f"see `ls -l '/{b.database.lstrip('/')}'`: file and folder must be writable for this user",
    ),
    _Cause(
        r"database is locked",
        lambda b, _: f"Another process is writing to {b.uri}.",
        lambda *_: "end the other server on this file, or move to PostgreSQL",
        is_passing=True,
    ),
    _Cause(
        r"[Aa]ddress already in use|Connection in use",
        lambda *_: "The port of the MLflow server was taken by another process.",
        lambda *_: "choose another one with --port (--port 0 finds a free one)",
        is_passing=True,
    ),
    _Cause(
        r"could not translate host name|Name or service not known|failed to resolve host|nodename nor servname",
        lambda b, _: f"The host name {b.host!r} of the database {b.uri} is not known.",
        lambda *_: "correct the host in MLFLOW_BACKEND_STORE_URI",
        is_passing=True,
    ),
    _Cause(
        r"the database system is (starting up|shutting down|in recovery mode)",
        lambda b, _: f"The database at {b.host}:{b.port} is not ready yet.",
        lambda b, _: f"wait until `pg_isready -h {b.host} -p {b.port}` agrees, then start again",
        is_passing=True,
    ),
    _Cause(
        r"too many clients already|remaining connection slots are reserved",
        lambda b, _: f"The database at {b.host}:{b.port} has no connection left.",
        lambda *_: "end other clients, or raise max_connections",
        is_passing=True,
    ),
    _Cause(
        r"Connection refused|[Cc]onnection timed out|connection timeout expired|could not connect to server"
        r"|No route to host|Network is unreachable|Can't connect to MySQL|server closed the connection unexpectedly",
        lambda b, _: f"The database {b.uri} cannot be reached at {b.host}:{b.port}.",
        lambda b, _: (
            f"start it, or correct host and port in MLFLOW_BACKEND_STORE_URI (`pg_isready -h {b.host} -p {b.port}`)"
        ),
        is_passing=True,
    ),
)


def diagnose(text: str, backend_store_uri: str) -> ServerError | None:
    """Return the error for the cause that `text` (a log, an exception's text) tells of, or None."""
    backend = Backend.of(backend_store_uri)
    for cause in _CAUSES:
        match = re.search(cause.pattern, text)
        if match:
            return ServerError(cause.message(backend, match), cause.hint(backend, match), cause.is_passing)
    return None


def last_lines(text: str, count: int = 15) -> str:
    """Return the last `count` lines that are not blank."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-count:])
