"""S3 with the project's own credentials.

MLflow's repository takes its keys, endpoint and options from the process environment and
boto3's default session; with two projects in one process that is somebody else's account.
This one makes its client from the project's settings and touches neither.
"""

from __future__ import annotations

from typing import Any

from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

from holdfast.settings import Settings


class ProjectS3Repository(S3ArtifactRepository):  # type: ignore[misc]  # MLflow has no types
    """MLflow's S3 repository with a client made from one project's settings.

    Args:
        artifact_uri: `s3://bucket/prefix`.
        settings: Whose upload options are used.
        client: What `make_s3_client` made of the same settings; threads may share it.
    """

    def __init__(self, artifact_uri: str, settings: Settings, client: Any) -> None:
        super().__init__(artifact_uri)
        self._settings = settings
        self._client = client

    def _get_s3_client(self) -> Any:
        return self._client

    def get_s3_file_upload_extra_args(self) -> dict[str, Any] | None:
        """Return the project's `MLFLOW_S3_UPLOAD_EXTRA_ARGS` (server-side encryption, ACL …), or None."""
        extra = self._settings.s3_upload_extra_args
        return dict(extra) if extra else None


def make_s3_client(settings: Settings) -> Any:
    """Return a boto3 S3 client of the project's own session: its keys, region, endpoint and TLS choices."""
    from botocore.config import Config

    verify: bool | str | None = False if settings.s3_ignore_tls else settings.s3_ca_bundle
    return settings.credentials.session().client(
        "s3",
        region_name=settings.region,
        endpoint_url=settings.s3_endpoint_url,
        verify=verify,
        config=Config(
            signature_version="s3v4",
            retries={"max_attempts": 10, "mode": "standard"},
            s3={"addressing_style": settings.s3_addressing_style},
        ),
    )
