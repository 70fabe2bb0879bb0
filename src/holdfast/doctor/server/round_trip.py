"""The checks that log a run, and send a file through the tracking server, as a project does."""

from __future__ import annotations

import re
import secrets
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.artifacts.transfer import Item
from holdfast.core.uris import file_uri, join_uri, mask_uri, scheme_of
from holdfast.delivery.target import login_of
from holdfast.doctor.check import Check, Evidence, Finding, failed, ok, skipped
from holdfast.doctor.context import REQUEST_S, Context
from holdfast.doctor.server.places import place_of_files
from holdfast.doctor.server.reach import AT_FIRST_RUN
from holdfast.doctor.server.tracking_store import (
    DATABASE_S,
    database_errors,
    database_of,
    is_server,
    sender,
)
from holdfast.errors import ArtifactError, HoldfastError

if TYPE_CHECKING:
    from holdfast.artifacts.proxied import ProxiedFiles
    from holdfast.backend.run_probe import ProbedRun

_PROBE_BYTES = 64 << 10
# What S3 says of keys, and MLflow never: the server passes it on with a status that looks like one of a login.
_OF_S3 = re.compile(
    r"\b(InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|ExpiredToken|InvalidToken|AllAccessDisabled)\b"
    r"|Unable to locate credentials"
)
_KEYS_OF_SERVER = (
    "the login is not at fault, but the server's own keys ({}): correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in "
    "the environment of the MLflow server, which need read, write and list rights in its --artifacts-destination"
)


# -- a run ----------------------------------------------------------------------------------


def _run(context: Context) -> Finding:
    if is_server(context.settings.tracking_uri):
        return _run_on_server(context)
    uri = database_of(context)
    why = AT_FIRST_RUN if uri is None else _why_not_rehearsed(context, uri)
    if uri is None or why:
        return skipped(why)
    from holdfast.backend.rehearsal import rehearse_run

    with database_errors(context, "log a run", uri):
        rehearse_run(uri, DATABASE_S)
    return ok("a run was begun, logged to, read back and ended in one transaction, and that taken back", Evidence.TRIED)


def _why_not_rehearsed(context: Context, uri: str) -> str:
    from holdfast.backend.schema import schema_of

    with database_errors(context, "read the database's schema", uri):
        schema = schema_of(uri, DATABASE_S)
    if not schema.has_tables and not schema.found:
        return AT_FIRST_RUN
    is_whole = schema.is_current and not schema.missing
    return "" if is_whole or not schema.wanted else "MLflow does not open these tables: see server.schema"


def _run_on_server(context: Context) -> Finding:
    from holdfast.backend.run_probe import RunProbe

    probe = RunProbe(sender(context), context.settings.tracking_username)
    what = f"a run in experiment {probe.experiment!r} of {mask_uri(context.settings.tracking_uri)}"
    context.leaves(what, RunProbe(sender(context), context.settings.tracking_username).clean)
    began_s = time.monotonic()
    done = probe.run()
    context.cleaned(what)
    took_s = time.monotonic() - began_s
    found = f"a run was begun, logged to, read back, ended and deleted in {took_s:.1f} s"
    details: dict[str, Any] = {"run_id": done.run_id, "experiment": done.experiment, "took_s": round(took_s, 3)}
    if _is_purged(context, done):
        return ok(f"{found}; nothing of it is left", Evidence.TRIED, **details, left="nothing")
    return ok(
        f"{found}; it stays in the server's trash, and is used again the next time",
        Evidence.TRIED,
        **details,
        left=f"deleted run {done.run_id} in deleted experiment {done.experiment!r}",
        purge=f"mlflow gc --backend-store-uri URI --experiment-ids {done.experiment_id}",
    )


def _is_purged(context: Context, done: ProbedRun) -> bool:
    """Delete it for good where the database can be reached; where that fails, it stays in the trash."""
    from holdfast.backend.rehearsal import purge_run

    uri = database_of(context)
    if uri is None:
        return False
    with suppress(HoldfastError), database_errors(context, "purge the run", uri):
        return purge_run(uri, done.run_id, done.experiment, DATABASE_S).run
    return False


# -- files through the server ---------------------------------------------------------------


def _artifacts(context: Context) -> Finding:
    if not is_server(context.settings.tracking_uri):
        return skipped("there is no server: files go where MLFLOW_ARTIFACT_ROOT says")
    place = place_of_files(context).location
    if scheme_of(place) != "mlflow-artifacts":
        return skipped(f"files do not go through the server, but to {mask_uri(place)}")
    from holdfast.artifacts.proxied import ProxiedFiles

    settings = context.settings
    store = ProxiedFiles(settings.tracking_uri, login_of(settings, context.environ), REQUEST_S, threads=1)
    folder = join_uri(place, f".holdfast-doctor-{int(time.time())}-{secrets.token_hex(4)}")
    context.leaves(folder, lambda: store.delete(folder))
    try:
        return _sent_and_fetched(store, folder)
    except _NotStoredError as error:
        context.cleaned(folder)
        return _failure(error.cause)
    except ArtifactError as error:
        return _failure(error)
    finally:
        with suppress(HoldfastError):  # else it is tried again at the end, and reported as left behind
            store.delete(folder)
            context.cleaned(folder)


class _NotStoredError(Exception):
    """The server has refused to store a file, so that there is none to be deleted."""

    def __init__(self, cause: ArtifactError) -> None:
        super().__init__(cause.message)
        self.cause = cause


def _failure(error: ArtifactError) -> Finding:
    found, refused = error.message.rstrip("."), _OF_S3.search(error.message)
    hint = _KEYS_OF_SERVER.format(refused[0]) if refused else error.hint or _hint_for(error)
    return failed(found, hint, retryable=error.retryable, code=error.code)


def _hint_for(error: ArtifactError) -> str:
    if error.code == "HTTP 404":
        return "start the MLflow server with --serve-artifacts, or give the experiment an s3:// root"
    return "see the server's log: its own store (--artifacts-destination) may refuse what it passes on"


def _store(store: ProxiedFiles, item: Item) -> None:
    try:
        store.upload([item])
    except ArtifactError as error:
        if error.retryable:  # it may have got there all the same
            raise
        raise _NotStoredError(error) from None


def _sent_and_fetched(store: ProxiedFiles, folder: str) -> Finding:
    content = secrets.token_bytes(_PROBE_BYTES)
    with tempfile.TemporaryDirectory(prefix="holdfast-doctor-") as made:
        local = Path(made) / "probe"
        local.write_bytes(content)
        began_s = time.monotonic()
        _store(store, Item(local, file_uri(folder, "probe")))
        listed = [(file.path, file.size_bytes) for file in store.list_files(folder)]
        fetched = store.download(folder, "probe", Path(made) / "fetched").read_bytes()
        store.delete(folder)
        took_s = time.monotonic() - began_s
    left = store.list_files(folder)
    if listed != [("probe", len(content))] or fetched != content or left:
        return failed(
            f"a file that went through the server came back otherwise (listed {listed}, left {len(left)})",
            "see what stands before the server (a cache, a proxy), and the server's own store",
        )
    return ok(
        f"a file went through the server and back in {took_s:.1f} s", Evidence.TRIED, place=folder.rpartition("/")[0]
    )


CHECKS = (
    Check("server.run", "Can a run be logged, read back and deleted?", _run, ("server.reachable",), 10.0),
    Check("server.artifacts", "Do files get through the server and back?", _artifacts, ("server.reachable",), 8.0),
)
