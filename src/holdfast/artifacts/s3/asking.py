"""One question to a bucket's server, told apart: answered, nothing configured, not for this key, or not known there.

A server that does not know a sub-resource says so in one of many ways: 501, 405, 400 or 404 with a code of its own, or
by ignoring it: then it answers `?encryption` with a listing of the bucket. So the root element of the answer is looked
at, which boto3 does not do: it makes an empty answer of a listing.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.dialect import is_aws
from holdfast.errors import ArtifactError

_T = TypeVar("_T")

_DENIED = {"AccessDenied", "AllAccessDisabled", "AccessForbidden", "Forbidden", "UnauthorizedAccess", "HTTP 403"}
_UNSUPPORTED = {
    *("NotImplemented", "XNotImplemented", "MethodNotAllowed", "UnsupportedOperation", "NotSupported"),
    *("UnknownOperation", "UnrecognizedOperation", "InvalidAction", "InvalidRequest", "InvalidArgument"),
    *("NoSuchKey", "HTTP 400", "HTTP 404", "HTTP 405", "HTTP 501", "400", "405", "501"),
}
_ROOT = re.compile(rb"\s*(?:<\?.*?\?>\s*|<!--.*?-->\s*)*<(?:[\w.-]+:)?([\w.-]+)", re.DOTALL)
# botocore keeps what a handler adds to an answer beside the members that it knows.
_ROOT_NAME = "HoldfastRoot"
_OF_CLIENT = (_ROOT_NAME, "ResponseMetadata")
_JSON = "JSON"
_register_lock = threading.Lock()


@dataclass(frozen=True)
class Answer(Generic[_T]):
    """What a bucket's server says to one question.

    Attributes:
        value: The answer; None where there is none.
        why_not: `denied`: the key may not ask; `unsupported`: the server does not know the call; empty with an answer.
        action: The permission that the question takes, such as `s3:GetBucketVersioning`.
    """

    value: _T | None
    why_not: Literal["", "denied", "unsupported"] = ""
    action: str = ""

    @property
    def is_known(self) -> bool:
        """Whether it was answered."""
        return not self.why_not


@dataclass(frozen=True)
class Question:
    """One call that asks how a bucket is kept.

    Attributes:
        call: boto3's name of it.
        operation: S3's name of it.
        root: The root element of a true answer; `JSON` for a document.
        action: The permission that it takes.
        nothing: The error codes that say that nothing is configured.
        asks: What it does, for errors.
    """

    call: str
    operation: str
    root: str
    action: str
    asks: str
    nothing: tuple[str, ...] = ()

    @property
    def roots(self) -> tuple[str, ...]:
        """The root elements that are taken for a true answer; some servers name it after the call."""
        return (self.root, f"{self.operation}Response", f"{self.operation}Result", f"{self.operation}Output")


VERSIONING = Question(
    "get_bucket_versioning",
    "GetBucketVersioning",
    "VersioningConfiguration",
    "s3:GetBucketVersioning",
    "ask for the versioning",
)


def ask_versioning(connection: S3Connection, bucket: str) -> Answer[str]:
    """Return `Enabled`, `Suspended` or an empty text for never.

    Raises:
        ArtifactError: The server cannot be reached, or refuses for another reason than the two of `Answer`.
    """
    found = ask(connection, bucket, VERSIONING)
    status = None if found.value is None else str(found.value.get("Status", ""))
    return Answer(status, found.why_not, found.action)


def ask(connection: S3Connection, bucket: str, question: Question) -> Answer[Mapping[str, Any]]:
    """Return what boto3 makes of the answer; an empty mapping where nothing is configured.

    Raises:
        ArtifactError: The server cannot be reached, or refuses for another reason than the two of `Answer`.
    """
    try:
        found = connection.run(question.asks, bucket, "", lambda: _call(connection, bucket, question))
    except ArtifactError as error:
        return _of_refusal(error, question, is_aws(connection.access.endpoint_url))
    if found.get(_ROOT_NAME) not in question.roots:
        return Answer(None, "unsupported", question.action)
    return Answer({name: value for name, value in found.items() if name not in _OF_CLIENT}, "", question.action)


def is_unsupported(error: ArtifactError) -> bool:
    """Whether an error says that the server does not know the call."""
    return error.code in _UNSUPPORTED


def is_denied(error: ArtifactError) -> bool:
    """Whether an error says that the key may not do it."""
    return error.code in _DENIED


def _call(connection: S3Connection, bucket: str, question: Question) -> Mapping[str, Any]:
    client = connection.client(bucket)
    with _register_lock:
        event = f"before-parse.s3.{question.operation}"
        client.meta.events.register(event, _note_root, unique_id=f"holdfast-root-{question.operation}")
    answer: Mapping[str, Any] = getattr(client, question.call)(Bucket=bucket)
    return answer


def _note_root(response_dict: Any, customized_response_dict: Any, **_: Any) -> None:
    if response_dict["status_code"] < 300:
        customized_response_dict[_ROOT_NAME] = _root_of(response_dict["body"])


def _root_of(body: bytes) -> str:
    if body.lstrip().startswith(b"{"):
        return _JSON
    found = _ROOT.match(body)
    return found[1].decode() if found else ""


def _of_refusal(error: ArtifactError, question: Question, at_aws: bool) -> Answer[Mapping[str, Any]]:
    if error.code in question.nothing:
        return Answer({}, "", question.action)
    # AWS knows every one of these calls: to somebody of another account it says so for a bucket's policy.
    if error.code in _DENIED or (at_aws and error.code == "MethodNotAllowed"):
        return Answer(None, "denied", question.action)
    if is_unsupported(error):
        return Answer(None, "unsupported", question.action)
    raise error
