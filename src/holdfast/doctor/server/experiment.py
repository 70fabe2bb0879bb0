"""The checks of where the configured experiment really keeps its files, and whether client and server agree on it."""

from __future__ import annotations

import posixpath
import shlex
from pathlib import Path
from typing import Any

from holdfast.artifacts.others import check_known
from holdfast.backend.installed import check_installed
from holdfast.backend.reach import check_listening
from holdfast.core.locations import PROBES, lies_below
from holdfast.core.uris import is_database, mask_uri, normalize_artifact_root, scheme_of, sqlite_path
from holdfast.doctor.check import Check, Evidence, Finding, failed, failed_with, ok, warning
from holdfast.doctor.context import Context
from holdfast.doctor.journal.disk import existing, why_not_writable
from holdfast.doctor.machine.asking_keys import wants_code
from holdfast.doctor.machine.config import KNOWN_SCHEMES
from holdfast.doctor.server.places import Place, is_folder, is_own_machine, place_of_files
from holdfast.doctor.server.tracking_store import DATABASE_S, database_errors, database_of, is_server, server_probe
from holdfast.errors import HoldfastError

_OTHER_ROOT = (
    "start the MLflow server with --serve-artifacts and --artifacts-destination, or "
    "--default-artifact-root s3://bucket/prefix; and set another MLFLOW_EXPERIMENT_NAME: this one keeps its place"
)

# -- the experiment -------------------------------------------------------------------------


def _experiment(context: Context) -> Finding:
    name, place = context.settings.experiment_name, place_of_files(context)
    if place.experiment is not None and place.experiment.deleted:
        return failed(
            f"experiment {name!r} is deleted: no run can be begun in it",
            f"mlflow experiments restore --experiment-id {place.experiment.experiment_id}, "
            "or set another MLFLOW_EXPERIMENT_NAME",
            Evidence.TOLD,
        )
    if scheme_of(place.location) not in KNOWN_SCHEMES:
        check_known(place.location, "another MLFLOW_EXPERIMENT_NAME, with MLFLOW_ARTIFACT_ROOT")
    return _folder_fault(context, place) or _root(context, place)


def _folder_fault(context: Context, place: Place) -> Finding | None:
    """Return the finding where files go to a folder that is not the server's, or that cannot be written from here."""
    if not is_folder(place.location):
        return None
    uri = context.settings.tracking_uri
    folder = Path(normalize_artifact_root(place.location))
    if is_server(uri) and not is_own_machine(uri) and not folder.is_dir():
        return failed(
            f"files go to the folder {place.location} of the server's machine, which is not there on this one: they "
            "would end in a folder of that name here, and nobody else would find them",
            _OTHER_ROOT,
            Evidence.INFERRED,
            location=place.location,
        )
    above = existing(folder)
    why_not = why_not_writable(above) if above.is_dir() else "it is a file"
    if why_not:
        return failed(
            f"files go to the folder {place.location}, and this client cannot write to {above}: {why_not}",
            f"make {above} writable for this user (`ls -ld {shlex.quote(str(above))}`), or let files go elsewhere: "
            + (_OTHER_ROOT if is_server(uri) else "set another MLFLOW_EXPERIMENT_NAME, and MLFLOW_ARTIFACT_ROOT"),
            location=place.location,
        )
    if not is_server(uri) or is_own_machine(uri):
        return None
    return warning(
        f"files go to the folder {place.location}, which must be the same here and on the server's machine",
        f"see that it is one and the same mount on both (`findmnt -T {shlex.quote(str(folder))}`); else {_OTHER_ROOT}",
        Evidence.INFERRED,
        location=place.location,
    )


def _root(context: Context, place: Place) -> Finding:
    settings, shown = context.settings, mask_uri(place.location)
    name, root = settings.experiment_name, settings.artifact_root
    details: dict[str, Any] = {"location": shown, "exists": place.experiment is not None}
    if place.experiment is None:
        evidence = Evidence.INFERRED if place.is_guessed else Evidence.TOLD
        whose = "the server puts" if place.is_guessed else "the settings put"
        return ok(f"experiment {name!r} is made at the first run; {whose} its files below {shown}", evidence, **details)
    if root is None or not settings.artifact_root_is_configured or lies_below(place.location, root):
        return ok(f"the files of experiment {name!r} go to {shown}", **details)
    return warning(
        f"the files of experiment {name!r} go to {shown}, where it was created, and not below MLFLOW_ARTIFACT_ROOT="
        f"{mask_uri(root)}",
        "set another MLFLOW_EXPERIMENT_NAME for the new root" + _or_move(context, place.location, root),
        **details,
    )


def _or_move(context: Context, location: str, root: str) -> str:
    """Return the command that moves an experiment's files, where they can be: between folders and buckets."""
    if not all(scheme_of(place) in ("", "file", "s3") for place in (location, root)):
        return ""
    old = normalize_artifact_root(location)
    above = posixpath.dirname(old)
    # What lies below the old root keeps its path below the new one; a bucket and `/` are above nothing of it.
    source = old if above in ("/", "s3:/") else above
    words = ["holdfast", "s3", "migrate", "--from", source, "--to", root]
    command = shlex.join([*words, "--experiment", context.settings.experiment_name])
    needs = "" if database_of(context) else ", with MLFLOW_BACKEND_STORE_URI set to the server's database"
    return f", or move what is there: `{command}`{needs}"


# -- client and server ----------------------------------------------------------------------


def _agreement(context: Context) -> Finding:
    place = place_of_files(context)
    fault = _folder_fault(context, place) if is_server(context.settings.tracking_uri) else None
    return _registry(context) or fault or _files_reach(context, place) or _both_roots(context, place)


def _registry(context: Context) -> Finding | None:
    """Return the finding where models are registered elsewhere than runs are tracked."""
    settings = context.settings
    registry = settings.registry_uri
    if registry is None or registry == settings.tracking_uri:
        return None
    try:
        _look_at_registry(context, registry)
    except HoldfastError as error:
        return failed_with(error)
    return warning(
        f"models are registered at {mask_uri(registry)}, and runs tracked at {mask_uri(settings.tracking_uri)}: a "
        "version's run is not found where it is registered",
        "unset MLFLOW_REGISTRY_URI, unless a registry of its own is meant",
        registry=mask_uri(registry),
        tracking=mask_uri(settings.tracking_uri),
    )


def _look_at_registry(context: Context, uri: str) -> None:
    if is_server(uri):
        server_probe(context, uri, "MLFLOW_REGISTRY_URI").query_models()
        return
    path = sqlite_path(uri)
    if not is_database(uri):
        return
    from holdfast.backend.database import check_opens

    with database_errors(context, "open the registry", uri):
        check_installed(uri)
        if path is not None and not path.exists():
            return
        check_listening(uri, "correct host and port in MLFLOW_REGISTRY_URI")
        check_opens(uri, DATABASE_S, DATABASE_S)


def _files_reach(context: Context, place: Place) -> Finding | None:
    """Return the finding where this client cannot reach the bucket that the experiment's files go to."""
    if scheme_of(place.location) != "s3":
        return None
    known = context.bucket
    if known is not None and lies_below(place.location, f"s3://{known.name}"):
        return None  # the checks of the bucket tell more
    fault = wants_code(context.once("credentials.session", context.settings.credentials.session))
    if fault is not None:
        return fault
    from holdfast.artifacts.s3.files import S3Files

    try:
        # A folder that is empty as a rule: the experiment's own may hold any number of runs.
        S3Files(context.access).list_files(place.location, PROBES)
    except HoldfastError as error:
        shown = mask_uri(place.location)
        return failed(
            f"the files go to {shown}, straight from this client, whose keys do not get there: "
            f"{error.message.rstrip('.')}",
            f"set MLFLOW_AWS_ACCESS_KEY_ID and MLFLOW_AWS_SECRET_ACCESS_KEY for that bucket ({error.hint}), or let the "
            "server pass files on: --artifacts-destination in place of --default-artifact-root",
        )
    return None


def _both_roots(context: Context, place: Place) -> Finding:
    settings = context.settings
    if not is_server(settings.tracking_uri):
        return ok("there is no server that could see it otherwise", Evidence.INFERRED)
    scheme, shown = scheme_of(place.location) or "file", mask_uri(place.location)
    root = settings.artifact_root if settings.artifact_root_is_configured else None
    ways = {
        "s3": "straight to the bucket",
        "mlflow-artifacts": "through the server",
        "file": "to a folder of this machine",
    }
    found = f"files go {ways.get(scheme, f'to {scheme}')}: {shown}"
    if root is None or (scheme_of(root) or "file") == scheme:
        return ok(found, Evidence.TOLD, location=shown)
    return warning(
        f"{found}, while the settings say MLFLOW_ARTIFACT_ROOT={mask_uri(root)}",
        "set another MLFLOW_EXPERIMENT_NAME for the configured root, or remove MLFLOW_ARTIFACT_ROOT",
        Evidence.TOLD,
        location=shown,
        configured=mask_uri(root),
    )


CHECKS = (
    Check("config.experiment", "Where do the experiment's files really go?", _experiment, ("server.reachable",), 8.0),
    Check("config.agreement", "Do client and server agree on that?", _agreement, ("server.reachable",), 8.0),
)
