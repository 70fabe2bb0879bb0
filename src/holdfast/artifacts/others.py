"""Stores that only MLflow knows (Google Cloud, Azure, HDFS …), as it reaches them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from holdfast.artifacts.transfer import SILENT, Item, Meter, Sent, StoredFile
from holdfast.core.uris import mask_uri, scheme_of
from holdfast.errors import ArtifactError, HoldfastError, MissingDependencyError


class MlflowFiles:
    """Files in a store that MLflow has a repository for; one after the other, and unverified."""

    def upload(self, items: Sequence[Item], meter: Meter = SILENT) -> Sent:
        """Store files; each keeps its own name, as MLflow's repositories know no other."""
        sent = Sent()
        for item in items:
            folder, _, name = item.uri.rpartition("/")
            size_bytes = item.local.stat().st_size
            with _Errors("store", item.uri):
                _log_as(folder, item.local, name)
            meter.advance(size_bytes)
            meter.file_done()
            sent += Sent(1, size_bytes)
        return sent

    def list_files(self, root_uri: str, folder: str = "") -> list[StoredFile]:
        """Return what lies directly under a folder."""
        with _Errors("list", root_uri):
            found = _repository(root_uri).list_artifacts(folder or None)
            return [StoredFile(item.path, item.is_dir, item.file_size) for item in found]

    def download(self, root_uri: str, path: str, into: Path, meter: Meter = SILENT) -> Path:
        """Fetch a file or folder."""
        into.mkdir(parents=True, exist_ok=True)
        with _Errors(f"fetch {path or 'all files'} from", root_uri):
            return Path(_repository(root_uri).download_artifacts(path, str(into)))

    def delete(self, root_uri: str, path: str = "") -> None:
        """Delete a file or folder."""
        with _Errors(f"delete {path or 'all files'} in", root_uri):
            _repository(root_uri).delete_artifacts(path or None)


# What MLflow's repositories import when a file is sent, and the packages that bring it; a constructor need not.
_AZURE = {"azure.identity": "azure-identity"}
_AZURE_KEYS = ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCESS_KEY")
_LIBRARIES: Mapping[str, Mapping[str, str]] = {
    "gs": {"google.cloud.storage": "google-cloud-storage"},
    "wasbs": {"azure.storage.blob": "azure-storage-blob"} | _AZURE,
    "abfss": {"azure.storage.filedatalake": "azure-storage-file-datalake"} | _AZURE,
    "hdfs": {"pyarrow.fs": "pyarrow"},
    "viewfs": {"pyarrow.fs": "pyarrow"},
    "sftp": {"paramiko": "paramiko", "pysftp": "pysftp"},
}
# Those whose constructors ask nobody, and refuse addresses that are wrong.
_CONSTRUCTED = ("abfss", "wasbs", "hdfs", "viewfs", "ftp")
_DATABRICKS_FILE = "~/.databrickscfg"


def check_known(root_uri: str, setting: str = "MLFLOW_ARTIFACT_ROOT") -> None:
    """See whether MLflow has a repository for an artifact location, and what that needs; no request is made.

    Importing MLflow takes seconds, unless it is imported already.

    Args:
        root_uri: The location: of a scheme that Holdfast has no store for.
        setting: What holds it, for the hint.

    Raises:
        MissingDependencyError: A package is not installed.
        ArtifactError: MLflow has no repository for the scheme, or the location is not as that wants it.
    """
    shown, scheme = mask_uri(root_uri), scheme_of(root_uri)
    if not entry_points(group="mlflow.artifact_repository", name=scheme):  # else another package knows what it needs
        if scheme in ("s3a", "s3n"):
            hint = f"set {setting}=s3{shown[len(scheme) :]}"
            raise ArtifactError(f"{shown} is an address of Hadoop, which MLflow does not know.", hint)
        _check_needs(shown, scheme)
    _find_repository(root_uri, scheme, setting)


def _check_needs(shown: str, scheme: str) -> None:
    libraries = dict(_LIBRARIES.get(scheme, {}))
    if scheme == "wasbs" and any(os.environ.get(name) for name in _AZURE_KEYS):
        libraries.pop("azure.identity")
    missing = [package for module, package in libraries.items() if not _can_be_imported(module)]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise MissingDependencyError(
            f"Files cannot be sent to {shown}: {' and '.join(missing)} {are} not installed.",
            f"pip install {' '.join(missing)}",
        )
    if scheme == "dbfs" and not _knows_databricks():
        raise ArtifactError(
            f"Files cannot be sent to {shown}: there is no login to Databricks.",
            f"set DATABRICKS_HOST and DATABRICKS_TOKEN, or make {_DATABRICKS_FILE} (`databricks configure`)",
        )


def _can_be_imported(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a package above it is not there
        return False


def _knows_databricks() -> bool:
    file = Path(os.environ.get("DATABRICKS_CONFIG_FILE") or _DATABRICKS_FILE).expanduser()
    # A cluster of Databricks has it in other ways.
    return bool(os.environ.get("DATABRICKS_HOST") or os.environ.get("DATABRICKS_RUNTIME_VERSION")) or file.is_file()


def _find_repository(root_uri: str, scheme: str, setting: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories

    known = get_registered_artifact_repositories()
    if scheme not in known:
        names = ", ".join(sorted(f"{name}:" for name in known if name))
        raise ArtifactError(
            f"MLflow has no repository for {scheme}: ({mask_uri(root_uri)}); it has {names}.",
            f"set {setting}=s3://bucket/prefix or a folder, or install the package that brings {scheme}: to MLflow",
        )
    if scheme in _CONSTRUCTED:
        try:
            with _Errors("send files to", root_uri):
                _repository(root_uri)
        except ArtifactError as error:
            raise ArtifactError(error.message, f"correct {setting}") from None


def _repository(root_uri: str) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(root_uri)


def _log_as(folder_uri: str, local: Path, name: str) -> None:
    if local.name == name:
        _repository(folder_uri).log_artifact(str(local))
        return
    import tempfile

    # A snapshot in the journal has a name of its own.
    with tempfile.TemporaryDirectory(dir=local.parent, prefix=".send-") as folder:
        renamed = Path(folder) / name
        renamed.hardlink_to(local)
        _repository(folder_uri).log_artifact(str(renamed))


class _Errors:
    """Translates what these repositories raise, each in its own way."""

    def __init__(self, doing: str, uri: str) -> None:
        self._what = f"Cannot {doing} {mask_uri(uri)}"

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, HoldfastError) or not isinstance(error, Exception):
            return
        text = " ".join(str(error).split())[:500]
        if isinstance(error, ImportError):
            raise MissingDependencyError(f"{self._what}: {text}") from None
        raise ArtifactError(f"{self._what}: {text}", retryable=isinstance(error, OSError)) from None
