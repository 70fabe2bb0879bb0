"""The artifact store of a project: upload, list, download, whatever the scheme."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from holdfast.core.redaction import Redactor
from holdfast.core.uris import mask_uri, scheme_of
from holdfast.errors import ArtifactError, HoldfastError, InvalidInputError, MissingDependencyError
from holdfast.settings import Settings


@dataclass(frozen=True)
class StoredFile:
    """A file or folder in the store: its path below the root that was listed, and its size in bytes."""

    path: str
    is_dir: bool
    size_bytes: int | None


class ArtifactStore:
    """Reads and writes artifacts with one project's credentials.

    Args:
        settings: Whose S3 credentials and endpoint are used.
        tracking_uri: The server that `mlflow-artifacts:` URIs go through.
        redact: Hides the project's secrets in errors.
    """

    def __init__(self, settings: Settings, tracking_uri: str, redact: Redactor | None = None) -> None:
        self._settings = settings
        self._tracking_uri = tracking_uri
        self._redact = redact or Redactor()

    def upload_file(self, local: Path, root_uri: str, folder: str = "") -> None:
        """Store one file under `root_uri/folder`, by its own name.

        Raises:
            InvalidInputError: There is no such file, or it is a folder, or `folder` leaves the root.
            ArtifactError: The store refused it.
        """
        if not local.is_file():
            what = "is a folder; use log_artifacts_dir" if local.is_dir() else "does not exist"
            raise InvalidInputError(f"The artifact {local} {what}.", "give the path of a file")
        with self._errors(f"store {local.name} in", root_uri):
            self._repository(root_uri).log_artifact(str(local), check_path(folder) or None)

    def upload_folder(self, local: Path, root_uri: str, folder: str = "") -> None:
        """Store all files below a folder under `root_uri/folder`, with their paths.

        Raises:
            InvalidInputError: There is no such folder, or `folder` leaves the root.
            ArtifactError: The store refused one.
        """
        if not local.is_dir():
            what = "is a file; use log_artifact" if local.is_file() else "does not exist"
            raise InvalidInputError(f"The artifact folder {local} {what}.", "give the path of a folder")
        with self._errors(f"store the files of {local.name} in", root_uri):
            self._repository(root_uri).log_artifacts(str(local), check_path(folder) or None)

    def list_files(self, root_uri: str, folder: str = "") -> list[StoredFile]:
        """Return what lies directly under `root_uri/folder`; empty where there is nothing."""
        with self._errors("list", root_uri):
            found = self._repository(root_uri).list_artifacts(check_path(folder) or None)
        return [StoredFile(item.path, item.is_dir, item.file_size) for item in found]

    def download(self, root_uri: str, path: str, into: Path | None = None) -> Path:
        """Fetch a file or folder; return where it lies now (a new temporary folder where `into` is None)."""
        target = into or Path(tempfile.mkdtemp(prefix="holdfast-"))
        target.mkdir(parents=True, exist_ok=True)
        with self._errors(f"fetch {path} from", root_uri):
            return Path(self._repository(root_uri).download_artifacts(check_path(path), str(target)))

    @cached_property
    def _s3_client(self) -> Any:
        from holdfast.artifacts.s3 import make_s3_client

        return make_s3_client(self._settings)

    def _repository(self, root_uri: str) -> Any:
        scheme = scheme_of(root_uri)
        if scheme == "s3":
            from holdfast.artifacts.s3 import ProjectS3Repository

            return ProjectS3Repository(root_uri, self._settings, self._s3_client)
        if scheme == "mlflow-artifacts":
            from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
            from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

            # Resolved here against this project's server: older MLflow takes the process-wide one.
            return HttpArtifactRepository(MlflowArtifactsRepository.resolve_uri(root_uri, self._tracking_uri))
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(root_uri)

    @contextmanager
    def _errors(self, doing: str, root_uri: str) -> Iterator[None]:
        try:
            yield
        except HoldfastError:
            raise
        except ImportError as error:
            raise MissingDependencyError(f"Cannot {doing} {mask_uri(root_uri)}: {error}") from None
        except Exception as error:
            raise self._translate(error, f"Cannot {doing} {mask_uri(root_uri)}") from None

    def _translate(self, error: Exception, what: str) -> ArtifactError:
        text = self._redact(" ".join(str(error).split())[:500])
        code = _s3_code(error) or next((known for known in _REMEDIES if known in text), "")
        hint = _REMEDIES.get(code, "")
        if code and "key" in hint:
            hint += f" (in use: {self._settings.credentials.origin})"
        return ArtifactError(f"{what}: {text}", hint, retryable=code in _RETRYABLE)


_REMEDIES = {
    "NoSuchBucket": "create the bucket, or mend its name in MLFLOW_ARTIFACT_ROOT; an experiment keeps its first root",
    "AccessDenied": "the key lacks s3:PutObject, s3:GetObject or s3:ListBucket there; use the project's own key",
    "InvalidAccessKeyId": "mend MLFLOW_AWS_ACCESS_KEY_ID: the server does not know this key",
    "SignatureDoesNotMatch": "mend MLFLOW_AWS_SECRET_ACCESS_KEY: it does not belong to this key",
    "RequestTimeTooSkewed": "set this machine's clock",
    "PermanentRedirect": "set MLFLOW_AWS_DEFAULT_REGION to the bucket's region",
    "ExpiredToken": "get a new MLFLOW_AWS_SESSION_TOKEN",
    "Unable to locate credentials": "set MLFLOW_AWS_ACCESS_KEY_ID and MLFLOW_AWS_SECRET_ACCESS_KEY in .env",
    "Could not connect to the endpoint": "start the S3 server, or mend MLFLOW_S3_ENDPOINT_URL",
    "No space left on device": "free space on the disk",
    "Permission denied": "make the folder writable",
}
_RETRYABLE = ("Could not connect to the endpoint", "No space left on device", "RequestTimeTooSkewed")


def _s3_code(error: BaseException) -> str:
    """Return the code of the S3 error that this one is, or was raised from."""
    seen: BaseException | None = error
    while seen is not None:
        response = getattr(seen, "response", None)
        if isinstance(response, dict) and isinstance(response.get("Error"), dict):
            return str(response["Error"].get("Code", ""))
        seen = seen.__cause__ or seen.__context__
    return ""


def check_path(path: str) -> str:
    """Return a path inside an artifact root without empty parts.

    Raises:
        InvalidInputError: It is absolute or climbs out with `..`.
    """
    if not path:
        return ""
    norm = posixpath.normpath(path.replace("\\", "/"))
    if norm.startswith(("/", "..")) or ":" in norm.split("/")[0]:
        raise InvalidInputError(
            f"{path!r} is no path inside a run's artifacts.", "use a relative path such as plots/roc"
        )
    return "" if norm == "." else norm
