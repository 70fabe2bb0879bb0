"""How the checks reach the tracking store: with the project's login, and the patience of an examination."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from holdfast.backend.errors import translated
from holdfast.backend.run_probe import ProbeSender
from holdfast.backend.server_probe import ServerProbe
from holdfast.core.sending import ExperimentRef, Refused, Unavailable
from holdfast.core.uris import is_database, mask_uri, scheme_of, sqlite_path
from holdfast.delivery.target import login_of
from holdfast.doctor.context import REQUEST_S, Context
from holdfast.errors import BackendError, BackendUnavailableError, HoldfastError, PermissionDeniedError

# Drivers count whole seconds.
DATABASE_S = 3
_T = TypeVar("_T")


def is_server(uri: str) -> bool:
    """Whether a tracking or registry URI is that of a server."""
    return scheme_of(uri) in ("http", "https")


def server_probe(context: Context, uri: str | None = None, setting: str = "MLFLOW_TRACKING_URI") -> ServerProbe:
    """Return what asks a server small questions, the tracking server by default."""
    settings = context.settings
    return ServerProbe(uri or settings.tracking_uri, login_of(settings, context.environ), REQUEST_S, setting)


def sender(context: Context) -> ProbeSender:
    """Return a way to the tracking server, for one thread: the one by which what was logged is delivered."""
    settings = context.settings
    return ProbeSender(settings.tracking_uri, login_of(settings, context.environ), REQUEST_S, context.redact)


def database_of(context: Context) -> str | None:
    """Return the database behind the tracking store, where it is known and can be reached from here.

    That is the tracking URI itself, or MLFLOW_BACKEND_STORE_URI beside a server. A SQLite file that is missing here
    is one of another machine, or made at the first run.
    """
    settings = context.settings
    uri = settings.tracking_uri if is_database(settings.tracking_uri) else settings.backend_store_uri
    if uri is None or not is_database(uri):
        return None
    path = sqlite_path(uri)
    return uri if path is None or path.exists() else None


def setting_of_database(context: Context) -> str:
    """Return the setting that holds what `database_of` returns."""
    return "MLFLOW_TRACKING_URI" if is_database(context.settings.tracking_uri) else "MLFLOW_BACKEND_STORE_URI"


def missing_file(context: Context) -> Path | None:
    """Return the SQLite file of the tracking URI where it does not exist yet."""
    path = sqlite_path(context.settings.tracking_uri)
    return path if path is not None and not path.exists() else None


@contextmanager
def database_errors(context: Context, doing: str, uri: str) -> Iterator[None]:
    """Translate what a database driver raises; the hints are those of `holdfast.backend.diagnosis`."""
    try:
        with translated(doing, uri, context.redact):
            yield
    except HoldfastError as error:
        hint = error.hint.replace("MLFLOW_TRACKING_URI", _setting_of(context, uri))
        raise type(error)(error.message, hint, error.retryable) from None


def _setting_of(context: Context, uri: str) -> str:
    settings = context.settings
    if uri == settings.tracking_uri:
        return "MLFLOW_TRACKING_URI"
    return "MLFLOW_BACKEND_STORE_URI" if uri == settings.backend_store_uri else "MLFLOW_REGISTRY_URI"


def asked(context: Context, doing: str, call: Callable[[], _T]) -> _T:
    """Return what the server answers.

    Args:
        context: The project.
        doing: What is asked, for people.
        call: Asks it by `sender`.

    Raises:
        HoldfastError: It refuses, or does not answer any more.
    """
    where = mask_uri(context.settings.tracking_uri)
    try:
        return call()
    except Refused as error:
        raise BackendError(
            f"{where} refuses to {doing}: {error.reason}.", "see `holdfast doctor --only server.version`"
        ) from None
    except Unavailable as error:
        raise _unavailable(f"{where} cannot {doing}: {error.reason}.", error.needs_people) from None


def _unavailable(message: str, needs_people: bool) -> HoldfastError:
    if needs_people:
        hint = "correct MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or give this login the right to do so"
        return PermissionDeniedError(message, hint)
    return BackendUnavailableError(message, "see the server's log, and try again", retryable=True)


def find_experiment(context: Context) -> ExperimentRef | None:
    """Return the experiment of the settings, deleted or not; None where it is not created yet.

    Raises:
        HoldfastError: The store does not answer.
    """
    name = context.settings.experiment_name
    if is_server(context.settings.tracking_uri):
        return asked(context, f"look up experiment {name!r}", lambda: sender(context).find_experiment(name))
    uri = database_of(context)
    return None if uri is None else _experiment_in(context, uri, name)


def _experiment_in(context: Context, uri: str, name: str) -> ExperimentRef | None:
    from holdfast.backend.probe import experiment_in

    with database_errors(context, f"look up experiment {name!r}", uri):
        return experiment_in(uri, name, DATABASE_S)
