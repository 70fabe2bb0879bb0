"""What a child process is given so that MLflow in it reaches the project's bucket.

Only for processes that need the keys (a server, a model loader): MLflow in them knows no
other way than the environment. This process's own environment stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import SecretStr

from holdfast.settings.model import Settings

# What boto3's own chain (profiles, SSO, web identity, instance roles) reads from the environment.
_CHAIN_NAMES = (
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
)


def s3_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a child that reads or writes the project's bucket.

    Args:
        settings: The project's settings.
        environ: This process's environment, of which boto3's chain needs a few names; it is only read.

    Returns:
        Variables to add to an environment that holds no `AWS_*` of its own, so that nothing is mixed.
    """
    credentials, role = settings.credentials, settings.credentials.role
    extra = settings.s3_put_arguments
    found = {
        "AWS_DEFAULT_REGION": settings.region,
        "AWS_CA_BUNDLE": settings.s3_ca_bundle,
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": _plain(credentials.secret_access_key),
        "AWS_SESSION_TOKEN": _plain(credentials.session_token),
        "AWS_PROFILE": credentials.profile,
        "MLFLOW_S3_ENDPOINT_URL": settings.s3_endpoint_url,
        "MLFLOW_S3_IGNORE_TLS": "true" if settings.s3_ignore_tls else None,
        "MLFLOW_S3_UPLOAD_EXTRA_ARGS": json.dumps(dict(extra)) if extra else None,
        "MLFLOW_S3_EXPECTED_BUCKET_OWNER": settings.s3_bucket_owner,
        "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE": settings.s3_addressing_style,
        "HOLDFAST_S3_CHECKSUMS": settings.s3_checksums,
        # Holdfast's repository, which is installed there too, assumes the role; MLflow's own could not.
        "MLFLOW_AWS_ROLE_ARN": role and role.arn,
        "MLFLOW_AWS_EXTERNAL_ID": role and role.external_id,
        "MLFLOW_AWS_ROLE_SESSION_NAME": role and role.session_name,
        "MLFLOW_AWS_WEB_IDENTITY_TOKEN_FILE": role and role.token_file,
        "MLFLOW_AWS_STS_ENDPOINT_URL": role and role.sts_endpoint_url,
    }
    given = {name: value for name, value in found.items() if value}
    if credentials.kind in ("profile", "chain"):
        return {name: environ[name] for name in _CHAIN_NAMES if environ.get(name)} | given
    return given


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
