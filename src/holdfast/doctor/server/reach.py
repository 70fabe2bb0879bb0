"""The checks of whether the tracking store answers, which release it is, and how fast."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.backend.installed import check_installed
from holdfast.backend.reach import check_listening
from holdfast.core.uris import is_database, mask_uri, scheme_of
from holdfast.doctor.check import Check, Evidence, Finding, failed, ok, skipped, warning
from holdfast.doctor.context import Context
from holdfast.doctor.journal.disk import existing, why_not_writable
from holdfast.doctor.machine.env import numbers_of, pip_install, version_of
from holdfast.doctor.machine.proxy import CUT_OFF, is_cut_off
from holdfast.doctor.server.tracking_store import (
    DATABASE_S,
    database_errors,
    is_server,
    missing_file,
    server_probe,
    setting_of_database,
)

_SUPPORTED, _TOO_NEW = (3,), (4,)
# Below, MLflow compares numbers with texts, which only the older driver of PostgreSQL takes.
_NEWER_DRIVER = (3, 2)
_REQUESTS, _LONG_ENOUGH_S = 5, 1.5
_SLOW_MS = 500.0
AT_FIRST_RUN = "the database is made at the first run"


# -- reachable ------------------------------------------------------------------------------


def _reachable(context: Context) -> Finding:
    uri = context.settings.tracking_uri
    if is_server(uri):
        if is_cut_off(context, uri):
            return skipped(CUT_OFF)
        probe = server_probe(context)
        took_s = probe.query()
        return ok(f"{probe.shown} answers a query of its database", Evidence.TRIED, took_s=round(took_s, 3))
    if not is_database(uri):
        return skipped(f"{scheme_of(uri) or uri} is asked by MLflow's own client only")
    with database_errors(context, "open the database", uri):
        check_installed(uri)
    missing = missing_file(context)
    return _can_be_made(missing) if missing is not None else _opens(context, uri)


def _opens(context: Context, uri: str) -> Finding:
    from holdfast.backend.database import check_opens

    with database_errors(context, "open the database", uri):
        check_listening(uri, f"start the database, or correct host and port in {setting_of_database(context)}")
        check_opens(uri, DATABASE_S, lock_wait_s=DATABASE_S)
    return ok(f"{mask_uri(uri)} opens", Evidence.TRIED)


def _can_be_made(path: Path) -> Finding:
    """Return whether a SQLite file that is missing, and the folders above it, can be made."""
    above = existing(path.absolute().parent)
    why_not = why_not_writable(above)
    if not why_not:
        return ok(f"{path} is made at the first run", Evidence.INFERRED)
    return failed(
        f"the database {path} is not there, and cannot be made in {above}: {why_not}",
        f"make {above} writable for this user (`ls -ld '{above}'`), or name another file in MLFLOW_TRACKING_URI",
    )


# -- version --------------------------------------------------------------------------------


def _version(context: Context) -> Finding:
    own = version_of("mlflow-skinny") or version_of("mlflow") or ""
    if not is_server(context.settings.tracking_uri):
        return _driver(context.settings.tracking_uri, own)
    theirs = server_probe(context).version()
    context.note("server.version", theirs)
    if not theirs:
        return warning(
            "the server does not say its version (GET /version)",
            "let what stands before the MLflow server pass /version on",
        )
    return _compared(theirs, own)


def _compared(theirs: str, own: str) -> Finding:
    server, client = numbers_of(theirs), numbers_of(own)
    details: dict[str, Any] = {"server": theirs, "client": own}
    found = f"the server runs MLflow {theirs}, this client {own}"
    if server < _SUPPORTED:
        return warning(
            f"{found}; Holdfast is made for servers of MLflow 3",
            "upgrade the server: back its database up, `pip install --upgrade 'mlflow>=3.0,<4'` there, then "
            "`mlflow db upgrade URI`",
            **details,
        )
    if server >= _TOO_NEW:
        return warning(
            f"{found}; Holdfast is made for servers of MLflow 3",
            "upgrade Holdfast (`pip install --upgrade holdfast`), or keep the server at 'mlflow>=3.0,<4'",
            **details,
        )
    if server[:2] < client[:2]:
        return warning(
            f"{found}, which may call what the server does not know yet",
            f"upgrade the server to {own} (`pip install 'mlflow=={own}'` there, `mlflow db upgrade URI`), or match "
            "the client to it: " + pip_install(f"'mlflow=={theirs}'"),
            **details,
        )
    return ok(found, **details)


def _driver(uri: str, own: str) -> Finding:
    """Return whether this MLflow, which opens the database itself, works with the driver of the URI."""
    if "+psycopg:" in uri and numbers_of(own) < _NEWER_DRIVER:
        return failed(
            f"MLflow {own} does not work with psycopg 3, which the tracking URI names",
            f"{pip_install('psycopg2-binary')}, and write postgresql+psycopg2://… in MLFLOW_TRACKING_URI",
        )
    return ok(f"there is no server: MLflow {own} of this environment opens the database", client=own)


# -- latency --------------------------------------------------------------------------------


def _latency(context: Context) -> Finding:
    uri = context.settings.tracking_uri
    if missing_file(context) is not None:
        return skipped(AT_FIRST_RUN)
    times_s = _times_of(server_probe(context).query) if is_server(uri) else _database_times(context, uri)
    median_ms = statistics.median(times_s) * 1000
    found = f"a small request takes {median_ms:.{0 if median_ms >= 10 else 1}f} ms (median of {len(times_s)})"
    details: dict[str, Any] = {"median_ms": round(median_ms, 1), "slowest_ms": round(max(times_s) * 1000, 1)}
    if median_ms < _SLOW_MS:
        return ok(found, Evidence.TRIED, **details)
    return warning(
        f"{found}; what reads from the server, and HOLDFAST_DELIVERY=direct, waits so long at each call",
        "bring client and server closer together, or see what the server's database waits for "
        "(logging through the journal, HOLDFAST_DELIVERY=journal, does not wait)",
        Evidence.TRIED,
        **details,
    )


def _times_of(ask: Callable[[], object]) -> list[float]:
    times_s: list[float] = []
    while len(times_s) < _REQUESTS and sum(times_s) < _LONG_ENOUGH_S:
        began_s = time.monotonic()
        ask()
        times_s.append(time.monotonic() - began_s)
    return times_s


def _database_times(context: Context, uri: str) -> list[float]:
    from sqlalchemy import text

    from holdfast.backend.database import connected

    with database_errors(context, "ask the database", uri), connected(uri, DATABASE_S, DATABASE_S) as connection:
        return _times_of(lambda: connection.execute(text("SELECT 1")).scalar())


CHECKS = (
    Check(
        "server.reachable",
        "Does the tracking store answer a real query?",
        _reachable,
        ("config.settings",),
        8.0,
        ("env.proxy",),
    ),
    Check("server.version", "Do server and client fit together?", _version, ("server.reachable",)),
    Check("server.latency", "How long does a small request take?", _latency, ("server.reachable",)),
)
