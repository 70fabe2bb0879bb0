"""Which permissions a request to S3 takes, from "Actions, resources, and condition keys for Amazon S3" of AWS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from holdfast.testing._policy_rules import Asked

# By the sub-resource in the query; the first that is there counts.
_OF_BUCKET: Mapping[str, Mapping[str, str]] = {
    "GET": {
        "acl": "GetBucketAcl",
        "accelerate": "GetAccelerateConfiguration",
        "cors": "GetBucketCORS",
        "encryption": "GetEncryptionConfiguration",
        "inventory": "GetInventoryConfiguration",
        "lifecycle": "GetLifecycleConfiguration",
        "location": "GetBucketLocation",
        "logging": "GetBucketLogging",
        "notification": "GetBucketNotification",
        "object-lock": "GetBucketObjectLockConfiguration",
        "ownershipControls": "GetBucketOwnershipControls",
        "policy": "GetBucketPolicy",
        "policyStatus": "GetBucketPolicyStatus",
        "publicAccessBlock": "GetBucketPublicAccessBlock",
        "replication": "GetReplicationConfiguration",
        "tagging": "GetBucketTagging",
        "uploads": "ListBucketMultipartUploads",
        "versioning": "GetBucketVersioning",
        "versions": "ListBucketVersions",
        "website": "GetBucketWebsite",
        "": "ListBucket",
    },
    "HEAD": {"": "ListBucket"},
    "PUT": {
        "acl": "PutBucketAcl",
        "accelerate": "PutAccelerateConfiguration",
        "cors": "PutBucketCORS",
        "encryption": "PutEncryptionConfiguration",
        "inventory": "PutInventoryConfiguration",
        "lifecycle": "PutLifecycleConfiguration",
        "logging": "PutBucketLogging",
        "notification": "PutBucketNotification",
        "object-lock": "PutBucketObjectLockConfiguration",
        "ownershipControls": "PutBucketOwnershipControls",
        "policy": "PutBucketPolicy",
        "publicAccessBlock": "PutBucketPublicAccessBlock",
        "replication": "PutReplicationConfiguration",
        "tagging": "PutBucketTagging",
        "versioning": "PutBucketVersioning",
        "website": "PutBucketWebsite",
        "": "CreateBucket",
    },
    "DELETE": {
        "cors": "PutBucketCORS",
        "encryption": "PutEncryptionConfiguration",
        "lifecycle": "PutLifecycleConfiguration",
        "ownershipControls": "PutBucketOwnershipControls",
        "policy": "DeleteBucketPolicy",
        "publicAccessBlock": "PutBucketPublicAccessBlock",
        "replication": "PutReplicationConfiguration",
        "tagging": "PutBucketTagging",
        "website": "DeleteBucketWebsite",
        "": "DeleteBucket",
    },
    "POST": {"": "PutObject"},
}
_OF_OBJECT: Mapping[str, Mapping[str, str]] = {
    "GET": {
        "uploadId": "ListMultipartUploadParts",
        "acl": "GetObject{Version}Acl",
        "tagging": "GetObject{Version}Tagging",
        "retention": "GetObjectRetention",
        "legal-hold": "GetObjectLegalHold",
        "": "GetObject{Version}",
    },
    "HEAD": {"": "GetObject{Version}"},
    "PUT": {
        "uploadId": "PutObject",
        "acl": "PutObject{Version}Acl",
        "tagging": "PutObject{Version}Tagging",
        "retention": "PutObjectRetention",
        "legal-hold": "PutObjectLegalHold",
        "": "PutObject",
    },
    "DELETE": {
        "uploadId": "AbortMultipartUpload",
        "tagging": "DeleteObject{Version}Tagging",
        "": "DeleteObject{Version}",
    },
    "POST": {"uploads": "PutObject", "uploadId": "PutObject", "restore": "RestoreObject", "select": "GetObject"},
}
# What a new object has besides its content takes a permission of its own.
_WITH_NEW_OBJECT = {
    "x-amz-tagging": "PutObjectTagging",
    "x-amz-acl": "PutObjectAcl",
    "x-amz-grant-read": "PutObjectAcl",
    "x-amz-grant-write": "PutObjectAcl",
    "x-amz-grant-read-acp": "PutObjectAcl",
    "x-amz-grant-write-acp": "PutObjectAcl",
    "x-amz-grant-full-control": "PutObjectAcl",
    "x-amz-object-lock-mode": "PutObjectRetention",
    "x-amz-object-lock-legal-hold": "PutObjectLegalHold",
}
# Headers that are condition keys of PutObject by `s3:` and their name.
_CONDITION_HEADERS = {
    *(name for name in _WITH_NEW_OBJECT if name != "x-amz-tagging"),
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-storage-class",
    "x-amz-copy-source",
    "x-amz-metadata-directive",
}


@dataclass(frozen=True)
class S3Request:
    """What of a request decides about the permissions that it takes.

    Attributes:
        method: `PUT`.
        bucket: The bucket; empty for a listing of all.
        key: The object's key; empty for a request about the bucket.
        query: The query's values by name.
        headers: Its headers, their names in lower case.
        is_secure: Whether it came over TLS.
        values: Further values for conditions: of whoever asks, and from where.
        partition: Of its ARNs.
    """

    method: str
    bucket: str
    key: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    is_secure: bool = False
    values: Mapping[str, str] = field(default_factory=dict)
    partition: str = "aws"

    def arn(self, bucket: str, key: str = "") -> str:
        """Return the ARN of a bucket or an object."""
        return f"arn:{self.partition}:s3:::{bucket}{f'/{key}' if key else ''}"

    @property
    def makes_object(self) -> bool:
        """Whether it begins an object: in one request, or in parts."""
        return (self.method, "uploadId" in self.query) == ("PUT", False) or (
            self.method == "POST" and "uploads" in self.query
        )


def permissions_for(request: S3Request) -> list[Asked]:
    """Return every permission that a request takes; all of them must be had."""
    if not request.bucket:
        return [Asked("s3:ListAllMyBuckets", "*", _common(request))]
    actions = _object_actions(request) if request.key else _bucket_actions(request)
    resource = request.arn(request.bucket, request.key)
    asked = [Asked(f"s3:{action}", resource, _values(request, action)) for action in actions]
    return [*asked, *_of_source(request)]


def deletion_of(request: S3Request, key: str, version_id: str | None) -> Asked:
    """Return what one entry of a DeleteObjects takes."""
    action = "DeleteObjectVersion" if version_id else "DeleteObject"
    version = {"s3:versionid": version_id} if version_id else {}
    return Asked(f"s3:{action}", request.arn(request.bucket, key), {**_common(request), **version})


def listing_of(request: S3Request) -> Asked:
    """Return what decides whether a missing object is called missing (404), or may not be known of (403).

    Whoever asks for an object gives no prefix, so a permission to list one prefix alone does not help.
    """
    return Asked("s3:ListBucket", request.arn(request.bucket), _common(request))


def _bucket_actions(request: S3Request) -> list[str]:
    table = _OF_BUCKET[request.method]
    return [next(action for name, action in table.items() if name in request.query or not name)]


def _object_actions(request: S3Request) -> Iterator[str]:
    table = _OF_OBJECT[request.method]
    version = "Version" if "versionId" in request.query else ""
    action = next((action for name, action in table.items() if name in request.query or not name), "PutObject")
    yield action.replace("{Version}", version)
    if request.method == "GET" and "attributes" in request.query:
        yield f"GetObject{version}Attributes"
    if action == "PutObject" and request.makes_object:
        yield from sorted({extra for header, extra in _WITH_NEW_OBJECT.items() if header in request.headers})
    if request.method == "DELETE" and request.headers.get("x-amz-bypass-governance-retention", "").lower() == "true":
        yield "BypassGovernanceRetention"


def _of_source(request: S3Request) -> Iterator[Asked]:
    source = unquote(request.headers.get("x-amz-copy-source", "")).lstrip("/")
    if request.key and source:
        path, _, version = source.partition("?versionId=")
        bucket, _, key = path.partition("/")
        yield Asked(f"s3:GetObject{'Version' if version else ''}", request.arn(bucket, key), _common(request))


def _common(request: S3Request) -> dict[str, str]:
    return {**request.values, "aws:securetransport": str(request.is_secure).lower()}


def _values(request: S3Request, action: str) -> dict[str, str]:
    values = _common(request)
    # A listing of uploads has no such keys, though it takes a prefix.
    if action in ("ListBucket", "ListBucketVersions"):
        values |= {
            f"s3:{name}": request.query[name] for name in ("prefix", "delimiter", "max-keys") & request.query.keys()
        }
    if action.startswith("PutObject"):
        values |= {f"s3:{name}": request.headers[name] for name in _CONDITION_HEADERS & request.headers.keys()}
    if "versionId" in request.query:
        values["s3:versionid"] = request.query["versionId"]
    return values
