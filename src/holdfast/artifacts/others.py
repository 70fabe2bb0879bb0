"""Stores that only MLflow knows (Google Cloud, Azure, HDFS …), as it reaches them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.artifacts.transfer import SILENT, Item, Meter, Sent, StoredFile
from holdfast.core.uris import mask_uri
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
