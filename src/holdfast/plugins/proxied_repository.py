"""MLflow's repository of files that go through the tracking server, with the journal to fall back on."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import requests
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

from holdfast.artifacts.store import check_path, file_sources, folder_sources
from holdfast.errors import ArtifactError, InvalidInputError
from holdfast.plugins.access import access_of_caller
from holdfast.plugins.fallback import Fallback
from holdfast.plugins.mlflow_errors import mlflow_error


class ProxiedRepository(MlflowArtifactsRepository):  # type: ignore[misc]  # MLflow has no types
    """MLflow's own, but that files go to the journal, where that is in force, while the server is missing.

    Args:
        artifact_uri: `mlflow-artifacts:/path`.
        args: As MLflow's own takes them.
        kwargs: As `args`.
    """

    def __init__(self, artifact_uri: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(artifact_uri, *args, **kwargs)
        self._root_uri = artifact_uri
        self._fallback = Fallback(artifact_uri, getattr(self, "tracking_uri", None))

    def log_artifact(self, local_file: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Store a file; in the journal, where that is in force and the server cannot be reached."""
        self._send(
            lambda: super(ProxiedRepository, self).log_artifact(local_file, artifact_path),
            lambda: file_sources(Path(local_file), artifact_path or ""),
        )

    def log_artifacts(self, local_dir: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Store all files below a folder; in the journal, where that is in force and the server cannot be reached."""
        self._send(
            lambda: super(ProxiedRepository, self).log_artifacts(local_dir, artifact_path),
            lambda: folder_sources(Path(local_dir), artifact_path or ""),
        )

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Delete a file or folder; one that is outside of this address is refused."""
        try:
            path = check_path(artifact_path or "")
        except InvalidInputError as error:
            raise mlflow_error(error) from None
        super().delete_artifacts(path or None)

    def _send(self, upload: Callable[[], Any], sources: Callable[[], Sequence[tuple[Path, str]]]) -> None:
        try:
            found = sources()
            for _, name in found:
                _check_name(name)
        except InvalidInputError as error:
            raise mlflow_error(error) from None
        delivery = self._fallback.delivery()
        if delivery is None:
            upload()
            return

        server = delivery.target.destination

        def send(_: float) -> None:
            # MLflow itself would try for minutes.
            if not delivery.is_reachable():
                raise ArtifactError(f"{server} cannot be reached.", retryable=True)
            try:
                upload()
            except (requests.ConnectionError, requests.Timeout) as error:
                raise ArtifactError(f"{server} cannot be reached: {type(error).__name__}.", retryable=True) from None

        try:
            self._fallback.send(delivery, found, access_of_caller(self._root_uri), send)
        except ArtifactError as error:
            raise mlflow_error(error) from None


def _check_name(name: str) -> None:
    """Refuse what MLflow's client would cut off, or its server take for something else, without a word."""
    found = re.search(r"[#?\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}", name)
    if found is not None:
        raise InvalidInputError(
            f"A file cannot go through the tracking server under the name {name!r}, because of {found[0]!r}.",
            "rename it, or give the experiment an s3:// root",
        )
