"""Holdfast's errors as MLflow's, for callers that know only those."""

from __future__ import annotations

from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes

from holdfast.errors import ArtifactError, HoldfastError, InvalidInputError

_CODES = {
    "NoSuchBucket": codes.RESOURCE_DOES_NOT_EXIST,
    "NoSuchKey": codes.RESOURCE_DOES_NOT_EXIST,
    "InvalidAccessKeyId": codes.UNAUTHENTICATED,
    "SignatureDoesNotMatch": codes.UNAUTHENTICATED,
    "ExpiredToken": codes.UNAUTHENTICATED,
    "AccessDenied": codes.PERMISSION_DENIED,
}


def mlflow_error(error: HoldfastError) -> MlflowException:
    """Return MLflow's error that says the same, remedy included."""
    return MlflowException(str(error), error_code=_code_of(error))


def _code_of(error: HoldfastError) -> Any:
    if isinstance(error, InvalidInputError):
        return codes.INVALID_PARAMETER_VALUE
    if isinstance(error, ArtifactError) and error.code in _CODES:
        return _CODES[error.code]
    return codes.TEMPORARILY_UNAVAILABLE if error.retryable else codes.INTERNAL_ERROR
