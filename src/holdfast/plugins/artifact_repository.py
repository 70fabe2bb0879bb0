"""Overrides MLflow's artifact repositories by name: `s3` with the project's own keys, and `mlflow-artifacts`.

Nothing is imported here that could fail: MLflow answers an ImportError with a warning and its own repository. What is
missing shows when a repository is made, as an error.
"""

from __future__ import annotations

import os
from typing import Any


def s3(artifact_uri: str, *args: Any, **kwargs: Any) -> Any:
    """Return the repository of an S3 address."""
    if os.environ.get("MLFLOW_EXPERIMENTAL_S3_SIGNATURE_VERSION", "").lower() == "unsigned":
        # A public bucket, read without anybody's keys.
        from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

        return S3ArtifactRepository(artifact_uri, *args, **kwargs)
    from holdfast.plugins.s3_repository import S3Repository

    return S3Repository(artifact_uri, *args, **kwargs)


def proxied(artifact_uri: str, *args: Any, **kwargs: Any) -> Any:
    """Return the repository of files that go through the tracking server."""
    from holdfast.plugins.proxied_repository import ProxiedRepository

    return ProxiedRepository(artifact_uri, *args, **kwargs)
