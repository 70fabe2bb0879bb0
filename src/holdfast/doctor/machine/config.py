"""The checks of the settings themselves: whether they can be used, and whether they fit together."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from holdfast.artifacts.others import check_known
from holdfast.core.uris import holds_password, is_database, mask_uri, scheme_of
from holdfast.delivery.target import target_of
from holdfast.doctor.check import Check, Evidence, Finding, failed, failed_with, ok, warning
from holdfast.doctor.context import Context
from holdfast.doctor.journal.disk import existing, why_not_writable
from holdfast.doctor.machine.notices import faults_in, in_one_text, remedies_for
from holdfast.doctor.machine.overrides import overrides_in
from holdfast.doctor.wording import counted
from holdfast.errors import HoldfastError
from holdfast.settings import Settings

# Those that Holdfast itself stores files in, and a server's; the others are MLflow's.
KNOWN_SCHEMES = ("", "file", "s3", "mlflow-artifacts", "http", "https")
_NEEDS = ("config.settings",)
_FILES = {"dotenv": ".env", "pyproject": "pyproject.toml"}
_LIST_MENDS = "mend them one by one; `holdfast config show` shows the settings as soon as they can be used"


def _settings(context: Context) -> Finding:
    error = context.settings_error
    if error is not None:
        return failed(error.message.rstrip("."), error.hint or _LIST_MENDS, retryable=error.retryable)
    # The row that says whose credentials these are is no setting of its own.
    rows = [row for row in context.settings.describe() if row.origin.kind != "default" and row.field != "credentials"]
    sources = dict.fromkeys(_FILES.get(row.origin.kind, row.origin.kind) for row in rows)
    where = f" from {', '.join(sources)}" if sources else "; everything is as it is by default"
    found = f"project {context.settings.project_root}, {counted(len(rows), 'setting')}{where}"
    return ok(found, settings=len(rows))


def _notices(context: Context) -> Finding:
    told = context.sources.dotenv_report.notices
    others = [text for text in context.settings.notices if text not in told]
    faults = faults_in(others)
    overrides = overrides_in(context.sources)
    places = [override for override in overrides if override.is_place]
    said = [override.describe() for override in overrides]
    if faults or places:
        remedies = [remedies_for(faults), *(override.remedy() for override in places)]
        return warning(in_one_text([*faults, *said]), "\n".join(filter(None, remedies)))
    return ok(in_one_text([*others, *said]) or "nothing in the settings contradicts anything else")


def _tracking(context: Context) -> Finding:
    settings = context.settings
    uri = mask_uri(settings.tracking_uri)
    origin = settings.origin_of("tracking_uri")
    if settings.delivery != "direct":
        target_of(settings, context.environ)  # it raises, as the tracker does, where nothing can be delivered there
    kind = "a database" if is_database(settings.tracking_uri) else "a server"
    if _is_sent_in_clear(settings):
        return warning(
            f"user and password, or the token, go to {uri} unencrypted",
            f"set MLFLOW_TRACKING_URI={uri.replace('http:', 'https:', 1)}, with TLS at the server or a proxy before it",
        )
    return ok(f"runs are kept by {kind}: {uri} ({origin})", source=origin.kind)


def _is_sent_in_clear(settings: Settings) -> bool:
    uri = settings.tracking_uri
    has_login = bool(settings.tracking_token or settings.tracking_password) or holds_password(uri)
    return has_login and scheme_of(uri) == "http" and not _is_here(uri)


def _is_here(uri: str) -> bool:
    host = urlsplit(uri).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _root(context: Context) -> Finding:
    settings = context.settings
    origin = settings.origin_of("artifact_root")
    try:
        finding = _judged_root(settings)
    except HoldfastError as error:
        finding = failed_with(error)
    if origin.kind == "default":
        return finding
    details = {**finding.details, "source": origin.kind}
    return replace(finding, found=f"{finding.found} ({origin})", details=details)


def _judged_root(settings: Settings) -> Finding:
    root = settings.artifact_root
    if root is None:
        return ok("the tracking server decides where files go")
    if not scheme_of(root):
        return _local_root(settings, Path(root))
    if scheme_of(root) == "mlflow-artifacts" and scheme_of(settings.tracking_uri) not in ("http", "https"):
        return failed(
            f"files are to go through the tracking server ({root}), and {mask_uri(settings.tracking_uri)} is none",
            "set MLFLOW_ARTIFACT_ROOT=s3://bucket/prefix or a folder, or MLFLOW_TRACKING_URI=http://host:5000",
        )
    if scheme_of(root) not in KNOWN_SCHEMES:
        return _root_of_mlflow(settings, root)
    return ok(f"{mask_uri(root)} ({settings.storage_type})", kind=settings.storage_type)


def _root_of_mlflow(settings: Settings, root: str) -> Finding:
    """Return whether MLflow, whose part such a place is, has what it takes to get there."""
    check_known(root)
    found = f"{mask_uri(root)}; MLflow has what it takes, and whether its keys get in is not asked"
    return ok(found, Evidence.INFERRED, kind=settings.storage_type)


def _local_root(settings: Settings, root: Path) -> Finding:
    there = existing(root)
    if not there.is_dir():
        return failed(f"{there} is a file, and files are to go to {root}", "set MLFLOW_ARTIFACT_ROOT to another folder")
    why_not = why_not_writable(there)
    if why_not:
        remedy = (
            f"make {there} writable (`ls -ld {shlex.quote(str(there))}`), or set MLFLOW_ARTIFACT_ROOT to another folder"
        )
        return failed(f"files are to go to {root}, and {there} cannot be written: {why_not}", remedy)
    uri = settings.tracking_uri
    if scheme_of(uri) in ("http", "https") and not _is_here(uri):
        return warning(
            f"new experiments keep their files in {root} of this machine, and others at {mask_uri(uri)} have none such",
            "unset MLFLOW_ARTIFACT_ROOT so that the server decides, or set MLFLOW_ARTIFACT_ROOT=s3://bucket/prefix",
        )
    return ok(f"{root} (this machine; it can be written)", kind=settings.storage_type)


CHECKS = (
    Check("config.notices", "Is there anything in the settings that somebody should see to?", _notices, _NEEDS),
    Check("config.tracking", "Where are runs kept?", _tracking, _NEEDS),
    Check("config.root", "Where do files go by the settings, and can they?", _root, _NEEDS, 10.0),
)
# Nearly everything needs it, so it comes before all others.
FIRST = (Check("config.settings", "Can the settings be used?", _settings),)
