"""Where the files of the configured experiment really go: what its checks, and those of the server, start from."""

from __future__ import annotations

import ipaddress
import posixpath
from dataclasses import dataclass
from urllib.parse import urlsplit

from holdfast.core.sending import ExperimentRef
from holdfast.core.uris import scheme_of
from holdfast.doctor.context import Context
from holdfast.doctor.server.tracking_store import asked, find_experiment, is_server, sender


@dataclass(frozen=True)
class Place:
    """Where the files of the configured experiment go.

    Attributes:
        location: The artifact location.
        experiment: The experiment; None where it does not exist yet, and the location is where it will keep its files.
        is_guessed: Whether the location is only inferred, from where the server's first experiment keeps its own.
    """

    location: str
    experiment: ExperimentRef | None
    is_guessed: bool = False


def place_of_files(context: Context) -> Place:
    """Return where the files of the configured experiment go, as a rule asked once for all checks.

    Raises:
        HoldfastError: The store does not answer.
    """
    known = context.noted("place of files")  # not `once`: nobody else should wait while a server is asked
    if not isinstance(known, Place):
        known = _find_place(context)
        context.note("place of files", known)
    return known


def _find_place(context: Context) -> Place:
    settings = context.settings
    found = find_experiment(context)
    if found is not None:
        return Place(found.artifact_location, found)
    configured = context.project.artifact_location(settings.experiment_name)
    if configured is not None or not is_server(settings.tracking_uri):
        return Place(configured or "", None)
    first = asked(context, "look up experiment 0", lambda: sender(context).get_experiment("0"))
    if first is None:
        return Place("mlflow-artifacts:/", None, is_guessed=True)
    # The others lie beside it, unless the server was started with another root since.
    return Place(posixpath.dirname(first.artifact_location.rstrip("/")), None, is_guessed=True)


def is_own_machine(uri: str) -> bool:
    """Whether a server's address is the loopback: its folders are this machine's."""
    host = urlsplit(uri).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_folder(location: str) -> bool:
    """Whether an artifact location is a folder of whichever machine reads it."""
    return scheme_of(location) in ("", "file")
