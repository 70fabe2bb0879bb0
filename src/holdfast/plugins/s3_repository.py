"""MLflow's S3 repository with the keys of the project that an address belongs to, and Holdfast's transfers.

MLflow's own takes keys, endpoint and options from the process environment and boto3's default session; with two
projects in one process that is somebody else's account. This one asks, at each call, whose address it is, and touches
neither. What MLflow's server needs besides (parts sent by clients, presigned URLs) is MLflow's, with this client.
"""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.progress import meter_for
from holdfast.artifacts.s3 import S3Files
from holdfast.artifacts.store import check_path, file_sources, folder_sources
from holdfast.artifacts.transfer import Item
from holdfast.core.uris import join_uri
from holdfast.errors import ArtifactError, InvalidInputError
from holdfast.logs import get_logger
from holdfast.plugins.access import access_of_caller, with_keys
from holdfast.plugins.fallback import Fallback
from holdfast.plugins.mlflow_errors import mlflow_error

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = get_logger(__name__)
# Clients are kept by access, so that a changed setting is another client and an unchanged one the same.
_KEPT = 8
_files: OrderedDict[str, S3Files] = OrderedDict()
_lock = Lock()


def files_for(access: S3Access) -> S3Files:
    """Return what transfers files with an access; the same one for the same access."""
    with _lock:
        key = access.fingerprint
        found = _files.pop(key, None) or S3Files(access)
        _files[key] = found
        while len(_files) > _KEPT:
            _files.popitem(last=False)
        return found


class S3Repository(S3ArtifactRepository):  # type: ignore[misc]  # MLflow has no types
    """MLflow's S3 repository, scoped to a project.

    Args:
        artifact_uri: `s3://bucket/prefix`.
        args: As MLflow's own takes them: explicit keys among them count in place of the project's.
        kwargs: As `args`.
    """

    def __init__(self, artifact_uri: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(artifact_uri, *args, **kwargs)
        self._fallback = Fallback(artifact_uri, getattr(self, "tracking_uri", None))

    # -- whose keys -------------------------------------------------------------------

    def _access(self) -> S3Access:
        access = access_of_caller(self.artifact_uri)
        if self._access_key_id is None or self._secret_access_key is None:
            return access
        return with_keys(access, self._access_key_id, self._secret_access_key, self._session_token)

    def _get_s3_client(self) -> Any:
        bucket, _ = self.parse_s3_compliant_uri(self.artifact_uri)
        return files_for(self._access()).connection.client(bucket)

    def get_s3_file_upload_extra_args(self) -> dict[str, Any] | None:
        """Return what goes with every upload by the project's settings, or None."""
        return dict(self._access().put_arguments) or None

    @property
    def _bucket_owner_params(self) -> Mapping[str, str]:
        owner = self._access().bucket_owner
        return {"ExpectedBucketOwner": owner} if owner else {}

    @_bucket_owner_params.setter
    def _bucket_owner_params(self, value: object) -> None:
        """Overlook what MLflow's constructor has read from the environment."""

    # -- files ------------------------------------------------------------------------

    def log_artifact(self, local_file: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Store a file; in the journal, where that is in force and the store cannot be reached."""
        with _mlflow_errors():
            self._send(file_sources(Path(local_file), artifact_path or ""))

    def log_artifacts(self, local_dir: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Store all files below a folder; in the journal, where that is in force and the store cannot be reached."""
        with _mlflow_errors():
            self._send(folder_sources(Path(local_dir), artifact_path or ""))

    def _send(self, sources: Sequence[tuple[Path, str]]) -> None:
        access = self._access()
        delivery = self._fallback.delivery()
        if delivery is None:
            self._upload(sources, access)
            return
        self._fallback.send(
            delivery, sources, access, lambda deadline_s: self._upload(sources, access.within(deadline_s))
        )

    def _upload(self, sources: Sequence[tuple[Path, str]], access: S3Access) -> None:
        files = files_for(access)
        meter = meter_for(doing="upload")
        try:
            files.upload([Item(local, join_uri(self.artifact_uri, name)) for local, name in sources], meter)
        finally:
            meter.end()

    def list_artifacts(self, path: str | None = None) -> list[Any]:
        """Return what lies directly under a path; empty where it is a file."""
        with _mlflow_errors():
            found = files_for(self._access()).list_files(self.artifact_uri, check_path(path or ""))
        return [FileInfo(item.path, item.is_dir, item.size_bytes) for item in found]

    def download_artifacts(self, artifact_path: str | None, dst_path: str | None = None) -> str:
        """Fetch a file, or all files below a folder, checked and whole; return where it lies.

        Args:
            artifact_path: What; all there is where it is empty.
            dst_path: An existing folder; a new temporary one if not given.
        """
        into = _destination(dst_path)
        with _mlflow_errors():
            try:
                return str(self._fetch(check_path(artifact_path or ""), into))
            except ArtifactError as error:
                # Of a run's files MLflow says no more than that the path may be wrong.
                _log.warning("files could not be fetched", reason=str(error))
                raise

    def _download_file(self, remote_file_path: str, local_path: str | os.PathLike[str]) -> None:
        local = Path(local_path)
        with _mlflow_errors(), tempfile.TemporaryDirectory(dir=local.parent, prefix=".fetch-") as folder:
            fetched = self._fetch(check_path(remote_file_path), Path(folder))
            fetched.replace(local)

    def _fetch(self, path: str, into: Path) -> Path:
        meter = meter_for(doing="download")
        try:
            return files_for(self._access()).download(self.artifact_uri, path, into, meter)
        finally:
            meter.end()

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Delete a file, or all files below a folder; an error names what the server would not delete."""
        with _mlflow_errors():
            files_for(self._access()).delete(self.artifact_uri, check_path(artifact_path or ""))


def _destination(dst_path: str | None) -> Path:
    if dst_path is None:
        return Path(tempfile.mkdtemp())
    into = Path(os.path.abspath(dst_path))
    if not into.is_dir():
        what = "is no folder" if into.exists() else "does not exist"
        raise MlflowException.invalid_parameter_value(f"The destination path {into} {what}.")
    return into


@contextmanager
def _mlflow_errors() -> Iterator[None]:
    """MLflow's callers, its server among them, know what to do about its own errors only."""
    try:
        yield
    except (ArtifactError, InvalidInputError) as error:
        raise mlflow_error(error) from None
