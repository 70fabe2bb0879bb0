"""The checks of where the configured experiment really keeps its files, and whether client and server agree on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.backend.reach import check_listening
from holdfast.core.locations import lies_below
from holdfast.core.uris import is_database, mask_uri, normalize_artifact_root, scheme_of, sqlite_path
from holdfast.doctor.check import Check, Evidence, Finding, failed, failed_with, ok, warning
from holdfast.doctor.context import Context
from holdfast.doctor.server.places import Place, is_folder, is_own_machine, place_of_files
from holdfast.doctor.server.tracking_store import DATABASE_S, database_errors, is_server, server_probe
from holdfast.errors import HoldfastError

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
    return _unreachable_folder(context, place) or _root(context, place)


def _unreachable_folder(context: Context, place: Place) -> Finding | None:
    """Return the finding where files would silently go to a folder of this machine in place of the server's."""
    uri = context.settings.tracking_uri
    if not is_server(uri) or not is_folder(place.location) or is_own_machine(uri):
        return None
    remedy = (
        "start the MLflow server with --serve-artifacts and --artifacts-destination, or "
        "--default-artifact-root s3://bucket/prefix; and set another MLFLOW_EXPERIMENT_NAME: this one keeps its place"
    )
    if Path(normalize_artifact_root(place.location)).is_dir():
        return warning(
            f"files go to the folder {place.location}, which must be the same here and on the server's machine",
            f"see that it is one and the same mount on both (`findmnt -T '{place.location}'`); else {remedy}",
            Evidence.INFERRED,
            location=place.location,
        )
    return failed(
        f"files go to the folder {place.location} of the server's machine, which is not there on this one: they would "
        "end in a folder of that name here, and nobody else would find them",
        remedy,
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
        f"set another MLFLOW_EXPERIMENT_NAME for the new root, or move what is there: "
        f"`holdfast s3 migrate --to {mask_uri(root)}`",
        **details,
    )


# -- client and server ----------------------------------------------------------------------


def _agreement(context: Context) -> Finding:
    place = place_of_files(context)
    return _registry(context) or _files_reach(context, place) or _both_roots(context, place)


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
    if not is_database(uri) or (path is not None and not path.exists()):
        return
    from holdfast.backend.database import check_opens

    with database_errors(context, "open the registry", uri):
        check_listening(uri, "correct host and port in MLFLOW_REGISTRY_URI")
        check_opens(uri, DATABASE_S, DATABASE_S)


def _files_reach(context: Context, place: Place) -> Finding | None:
    """Return the finding where this client cannot reach the bucket that the experiment's files go to."""
    if scheme_of(place.location) != "s3":
        return None
    known = context.bucket
    if known is not None and lies_below(place.location, f"s3://{known.name}"):
        return None  # the checks of the bucket tell more
    from holdfast.artifacts.s3.files import S3Files

    try:
        # A folder that is empty as a rule: the experiment's own may hold any number of runs.
        S3Files(context.access).list_files(place.location, ".holdfast-doctor")
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
    ways = {"s3": "straight to the bucket", "mlflow-artifacts": "through the server", "file": "to a shared folder"}
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
