"""How a bucket is kept: what its server answers about versioning, encryption, access and lifecycle.

A key that may write files may often not ask these, and many servers lack some of the calls. Each question is asked by
itself, and an answer that cannot be had says which of the two it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from holdfast.artifacts.s3.asking import VERSIONING, Answer, Question, ask, ask_versioning
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.bucket.openness import is_open_to_everybody

__all__ = [
    "PUBLIC_ACCESS_BLOCKS",
    "QUESTIONS",
    "Answer",
    "Encryption",
    "Lifecycle",
    "Logging",
    "ask_encryption",
    "ask_grants",
    "ask_is_public",
    "ask_lifecycle",
    "ask_logging",
    "ask_ownership",
    "ask_policy",
    "ask_public_access_block",
    "ask_versioning",
    "ask_whole_lifecycle",
]

_T = TypeVar("_T")
_U = TypeVar("_U")

PUBLIC_ACCESS_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_EVERYBODY = ("/groups/global/AllUsers", "/groups/global/AuthenticatedUsers")

_ENCRYPTION = Question(
    "get_bucket_encryption",
    "GetBucketEncryption",
    "ServerSideEncryptionConfiguration",
    "s3:GetEncryptionConfiguration",
    "ask for the default encryption",
    ("ServerSideEncryptionConfigurationNotFoundError", "NoSuchEncryptionConfiguration"),
)
_BLOCKS = Question(
    "get_public_access_block",
    "GetPublicAccessBlock",
    "PublicAccessBlockConfiguration",
    "s3:GetBucketPublicAccessBlock",
    "ask for the public-access block",
    ("NoSuchPublicAccessBlockConfiguration",),
)
_POLICY_STATUS = Question(
    "get_bucket_policy_status",
    "GetBucketPolicyStatus",
    "PolicyStatus",
    "s3:GetBucketPolicyStatus",
    "ask whether the policy is public",
    ("NoSuchBucketPolicy",),
)
_POLICY = Question(
    "get_bucket_policy",
    "GetBucketPolicy",
    "JSON",
    "s3:GetBucketPolicy",
    "ask for the bucket policy",
    ("NoSuchBucketPolicy",),
)
_ACL = Question("get_bucket_acl", "GetBucketAcl", "AccessControlPolicy", "s3:GetBucketAcl", "ask for the bucket's ACL")
_OWNERSHIP = Question(
    "get_bucket_ownership_controls",
    "GetBucketOwnershipControls",
    "OwnershipControls",
    "s3:GetBucketOwnershipControls",
    "ask for the object ownership",
    ("OwnershipControlsNotFoundError", "NoSuchOwnershipControls"),
)
_LIFECYCLE = Question(
    "get_bucket_lifecycle_configuration",
    "GetBucketLifecycleConfiguration",
    "LifecycleConfiguration",
    "s3:GetLifecycleConfiguration",
    "ask for the lifecycle",
    ("NoSuchLifecycleConfiguration",),
)
_LOGGING = Question(
    "get_bucket_logging", "GetBucketLogging", "BucketLoggingStatus", "s3:GetBucketLogging", "ask for the access logging"
)
QUESTIONS = (VERSIONING, _ENCRYPTION, _BLOCKS, _POLICY_STATUS, _POLICY, _ACL, _OWNERSHIP, _LIFECYCLE, _LOGGING)


@dataclass(frozen=True)
class Encryption:
    """How new objects are encrypted by default.

    Attributes:
        algorithm: `AES256`, `aws:kms`, `aws:kms:dsse`, or empty.
        kms_key_id: The KMS key, where one is named.
        has_bucket_key: Whether a bucket key spares calls of KMS.
    """

    algorithm: str = ""
    kms_key_id: str = ""
    has_bucket_key: bool = False


@dataclass(frozen=True)
class Logging:
    """Where accesses are logged to; an empty bucket: nowhere."""

    bucket: str = ""
    prefix: str = ""


@dataclass(frozen=True)
class Lifecycle:
    """The rules, and what goes for all of them.

    Attributes:
        rules: As boto3 gives them.
        least_size: `TransitionDefaultMinimumObjectSize`, which a new configuration would reset; empty where unknown.
    """

    rules: tuple[Mapping[str, Any], ...] = ()
    least_size: str = ""


def ask_encryption(connection: S3Connection, bucket: str) -> Answer[Encryption]:
    """Return the default encryption."""
    return _read(ask(connection, bucket, _ENCRYPTION), _encryption)


def ask_public_access_block(connection: S3Connection, bucket: str) -> Answer[Mapping[str, bool]]:
    """Return the four blocks by boto3's names (`BlockPublicAcls` …), all False where there is no configuration."""
    return _read(ask(connection, bucket, _BLOCKS), _blocks)


def ask_is_public(connection: S3Connection, bucket: str) -> Answer[tuple[str, ...]]:
    """Return by what the bucket is open to everybody: `policy`, `acl`; empty where it is not.

    What the bucket's public-access block makes void does not count.
    """
    answers = {"policy": _is_policy_public(connection, bucket), "acl": _is_acl_public(connection, bucket)}
    blocks = ask_public_access_block(connection, bucket).value or {}
    void = {"policy": blocks.get("RestrictPublicBuckets"), "acl": blocks.get("IgnorePublicAcls")}
    by = tuple(name for name, answer in answers.items() if answer.value and not void[name])
    if by:
        return Answer(by)
    unknown = [answer for name, answer in answers.items() if not answer.is_known and not void[name]]
    denied = next((answer for answer in unknown if answer.why_not == "denied"), None)
    if denied is not None:
        return Answer(None, denied.why_not, denied.action)
    # A server without policies cannot be open by one.
    return Answer(()) if len(unknown) < len(answers) else Answer(None, "unsupported", unknown[0].action)


def ask_ownership(connection: S3Connection, bucket: str) -> Answer[str]:
    """Return `BucketOwnerEnforced`, `BucketOwnerPreferred`, `ObjectWriter`, or an empty text."""
    return _read(ask(connection, bucket, _OWNERSHIP), _ownership)


def ask_policy(connection: S3Connection, bucket: str) -> Answer[Mapping[str, Any]]:
    """Return the bucket policy's document; an empty one where there is none."""
    found = ask(connection, bucket, _POLICY)
    document = _document(found.value) if found.value is not None else None
    if found.is_known and document is None:  # a text that is no policy
        return Answer(None, "unsupported", found.action)
    return Answer(document, found.why_not, found.action)


def ask_lifecycle(connection: S3Connection, bucket: str) -> Answer[Sequence[Mapping[str, Any]]]:
    """Return the lifecycle rules as boto3 gives them; none where there is no configuration."""
    return _read(ask_whole_lifecycle(connection, bucket), lambda found: found.rules)


def ask_whole_lifecycle(connection: S3Connection, bucket: str) -> Answer[Lifecycle]:
    """Return the lifecycle with what goes for all of its rules."""
    return _read(
        ask(connection, bucket, _LIFECYCLE),
        lambda found: Lifecycle(tuple(found.get("Rules", ())), found.get("TransitionDefaultMinimumObjectSize", "")),
    )


def ask_logging(connection: S3Connection, bucket: str) -> Answer[Logging]:
    """Return where accesses are logged to."""
    return _read(ask(connection, bucket, _LOGGING), _logging)


def ask_grants(connection: S3Connection, bucket: str) -> Answer[tuple[str, ...]]:
    """Return whom the bucket's ACL lets in besides its owner: canonical ids, addresses of groups."""
    return _read(ask(connection, bucket, _ACL), _others)


def _read(answer: Answer[_T], read: Callable[[_T], _U]) -> Answer[_U]:
    return Answer(None if answer.value is None else read(answer.value), answer.why_not, answer.action)


def _encryption(found: Mapping[str, Any]) -> Encryption:
    rules = found.get("ServerSideEncryptionConfiguration", {}).get("Rules", ())
    for rule in rules:
        default = rule.get("ApplyServerSideEncryptionByDefault", {})
        return Encryption(
            str(default.get("SSEAlgorithm", "")),
            str(default.get("KMSMasterKeyID", "")),
            bool(rule.get("BucketKeyEnabled", False)),
        )
    return Encryption()


def _blocks(found: Mapping[str, Any]) -> Mapping[str, bool]:
    said = found.get("PublicAccessBlockConfiguration", {})
    return {name: bool(said.get(name, False)) for name in PUBLIC_ACCESS_BLOCKS}


def _ownership(found: Mapping[str, Any]) -> str:
    rules = found.get("OwnershipControls", {}).get("Rules", ())
    return next((str(rule.get("ObjectOwnership", "")) for rule in rules), "")


def _document(found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    try:
        document = json.loads(found.get("Policy") or "{}")
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _logging(found: Mapping[str, Any]) -> Logging:
    enabled = found.get("LoggingEnabled", {})
    return Logging(str(enabled.get("TargetBucket", "")), str(enabled.get("TargetPrefix", "")))


def _others(found: Mapping[str, Any]) -> tuple[str, ...]:
    owner = found.get("Owner", {}).get("ID", "")
    grantees = [grant.get("Grantee", {}) for grant in found.get("Grants", ())]
    names = [str(item.get("ID") or item.get("URI") or item.get("EmailAddress") or "") for item in grantees]
    return tuple(sorted({name for name in names if name and name != owner}))


def _is_acl_public(connection: S3Connection, bucket: str) -> Answer[bool]:
    return _read(ask_grants(connection, bucket), lambda names: any(name.endswith(_EVERYBODY) for name in names))


def _is_policy_public(connection: S3Connection, bucket: str) -> Answer[bool]:
    """Return what the server says, or what its policy says where the server has no answer of its own."""
    told = ask(connection, bucket, _POLICY_STATUS)
    if told.is_known:
        return _read(told, lambda found: bool(found.get("PolicyStatus", {}).get("IsPublic", False)))
    read = _read(ask_policy(connection, bucket), is_open_to_everybody)
    return read if read.is_known else replace(read, why_not=read.why_not or told.why_not)
