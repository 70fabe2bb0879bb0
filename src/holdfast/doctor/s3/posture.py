"""How the bucket is kept: versions, encryption, who may get in, and what is written down.

What the key may not ask, and what the server does not know, is skipped: it is neither good nor bad.
"""

from __future__ import annotations

from typing import Any

from holdfast.bucket.arns import Place, partition_of
from holdfast.bucket.bucket_policy import is_tls_only
from holdfast.bucket.posture import (
    PUBLIC_ACCESS_BLOCKS,
    Answer,
    Encryption,
    ask_encryption,
    ask_is_public,
    ask_lifecycle,
    ask_logging,
    ask_ownership,
    ask_policy,
    ask_public_access_block,
    ask_versioning,
)
from holdfast.doctor.check import Check, Evidence, Finding, failed, ok, skipped, warning
from holdfast.doctor.context import Context
from holdfast.doctor.s3.probe import bucket_of, is_denied, probe_of
from holdfast.errors import ArtifactError

# A writer's key may not change the bucket, and should not.
_ADMIN = "(ADMIN: an AWS profile that may change the bucket)"
AS_ADMIN = f"--profile ADMIN {_ADMIN}"
_HARDEN = f"holdfast s3 harden {AS_ADMIN}"
_WITHOUT_ACLS = "BucketOwnerEnforced"
# What a bucket without ACLs takes nevertheless, for it says what is so anyway.
_OWNERS_ACL = "bucket-owner-full-control"


def unknown(answer: Answer[Any], what: str) -> Finding:
    """Return that a question was not answered, and why.

    Args:
        answer: What came in place of an answer.
        what: What was asked for: `the versioning`.
    """
    if answer.why_not == "denied":
        return skipped(
            f"the key may not ask for {what}: it takes {answer.action}",
            "holdfast s3 policy --role writer --with-posture, or run this with an administrator's key",
        )
    return skipped(f"the server does not say anything of {what}")


def _versioning(context: Context) -> Finding:
    bucket = bucket_of(context)
    answer = ask_versioning(bucket.connection, bucket.name)
    if answer.value is None:
        return unknown(answer, "the versioning")
    if answer.value == "Enabled":
        return ok("every version of a file is kept", versioning=answer.value)
    if not answer.value and not _knows_versions(context):
        return skipped("the server keeps no versions")
    state = "suspended" if answer.value else "off"
    return warning(
        f"versioning is {state}: what is overwritten or deleted is lost", _HARDEN, versioning=answer.value or "Off"
    )


def _knows_versions(context: Context) -> bool:
    """Whether there could be versions: servers without them say that they are off."""
    probe = probe_of(context)

    def ask() -> object:
        client = probe.connection.client(probe.bucket)
        return client.list_object_versions(Bucket=probe.bucket, Prefix=f"{probe.root}/", MaxKeys=1)

    try:
        probe.connection.run("list versions", probe.bucket, "", ask)
    except ArtifactError as error:
        if error.retryable:
            raise
        return is_denied(error)
    return True


def _encryption(context: Context) -> Finding:
    bucket = bucket_of(context)
    given = context.access.put_arguments
    if "SSECustomerAlgorithm" in given:
        return ok("files are encrypted with a key of one's own (SSE-C), by the settings")
    wanted, key = str(given.get("ServerSideEncryption", "")), str(given.get("SSEKMSKeyId", ""))
    if wanted and _stored_with(context) == "":
        return warning(
            f"the settings ask for {_named(wanted, key)}, and the server stores files without a word of encryption",
            "unset HOLDFAST_S3_ENCRYPTION and HOLDFAST_S3_KMS_KEY_ID, or use a server that encrypts",
            Evidence.TRIED,
            wanted=wanted,
        )
    answer = ask_encryption(bucket.connection, bucket.name)
    if answer.value is None:
        return _seen_encryption(context, answer)
    found = answer.value
    if not found.algorithm and not wanted:
        return warning("files are not encrypted", _HARDEN, algorithm="")
    if wanted and found.algorithm and not _agree(wanted, key, found):
        return warning(
            f"the settings ask for {_named(wanted, key)}, and the bucket's own is "
            f"{_named(found.algorithm, found.kms_key_id)}",
            f"unset {'HOLDFAST_S3_KMS_KEY_ID' if key else 'HOLDFAST_S3_ENCRYPTION'}, so that the bucket's holds; "
            f"or make it the bucket's: {_harden_with(key)}",
            algorithm=found.algorithm,
            wanted=wanted,
        )
    return _with_bucket_key(wanted or found.algorithm, key or found.kms_key_id, found)


def _with_bucket_key(algorithm: str, key: str, found: Encryption) -> Finding:
    told: dict[str, Any] = {"algorithm": algorithm, "bucket_key": found.has_bucket_key}
    if algorithm == "aws:kms" and not found.has_bucket_key:
        return warning(
            f"files are encrypted with {_named(algorithm, key)} without a bucket key: each file costs a call of KMS",
            _harden_with(key),
            **told,
        )
    return ok(f"files are encrypted with {_named(algorithm, key)}", **told)


def _harden_with(key: str) -> str:
    return f"holdfast s3 harden --kms-key {_short(key)} {AS_ADMIN}" if key else _HARDEN


def _seen_encryption(context: Context, answer: Answer[Encryption]) -> Finding:
    """Tell it by what was done with the probe."""
    algorithm = _stored_with(context)
    if not algorithm:
        return unknown(answer, "the encryption")
    return ok(f"what was stored was encrypted with {_named(algorithm, '')}", Evidence.INFERRED, algorithm=algorithm)


def _stored_with(context: Context) -> str | None:
    """Return how the server says that it has encrypted the probe; None where that cannot be stored."""
    if context.role == "reader":
        return None
    try:
        return str(probe_of(context).share().answer.get("ServerSideEncryption", ""))
    except ArtifactError:
        return None


def _agree(wanted: str, key: str, found: Encryption) -> bool:
    same_key = not key or not found.kms_key_id or key.rpartition("/")[2] == found.kms_key_id.rpartition("/")[2]
    return wanted == found.algorithm and same_key


def _named(algorithm: str, key: str) -> str:
    names = {"AES256": "S3's keys (AES256)", "aws:kms": "KMS (aws:kms)", "aws:kms:dsse": "KMS, twice (aws:kms:dsse)"}
    return names.get(algorithm, algorithm) + (f", key {_short(key)}" if key else "")


def _short(key: str) -> str:
    name = key.rpartition("/")[2]
    return f"{name[:4]}…{name[-4:]}" if len(name) > 8 else name


def _public_access(context: Context) -> Finding:
    bucket = bucket_of(context)
    answer = ask_public_access_block(bucket.connection, bucket.name)
    if answer.value is None:
        return unknown(answer, "the public-access block")
    missing = [name for name in PUBLIC_ACCESS_BLOCKS if not answer.value.get(name)]
    if missing:
        count = "none" if len(missing) == len(PUBLIC_ACCESS_BLOCKS) else f"not {', '.join(missing)}"
        return warning(f"of the four public-access blocks {count} is on", _HARDEN, missing=missing)
    return ok("nobody can open the bucket to everybody: all four public-access blocks are on")


def _public(context: Context) -> Finding:
    bucket = bucket_of(context)
    answer = ask_is_public(bucket.connection, bucket.name)
    if answer.value is None:
        return unknown(answer, "who may get in")
    if not answer.value:
        return ok("the bucket is open to nobody else, by policy or ACL")
    close = {
        "policy": f'take the statements with Principal "*" out of its policy (aws s3api get-bucket-policy --bucket '
        f"{bucket.name})",
        "acl": f"aws s3api put-bucket-acl --bucket {bucket.name} --acl private",
    }
    return failed(
        f"the bucket is open to everybody, by its {' and its '.join(_by(name) for name in answer.value)}",
        f"{_HARDEN}, which blocks that; or {', and '.join(close[name] for name in answer.value)}",
        Evidence.TOLD,
        by=list(answer.value),
    )


def _by(name: str) -> str:
    return name.upper() if name == "acl" else name


def _ownership(context: Context) -> Finding:
    bucket = bucket_of(context)
    acl = str(context.access.put_arguments.get("ACL", ""))
    answer = ask_ownership(bucket.connection, bucket.name)
    if answer.value is None:
        return unknown(answer, "the object ownership")
    if answer.value == _WITHOUT_ACLS:
        if acl and acl != _OWNERS_ACL:
            found = f"the bucket has no ACLs ({_WITHOUT_ACLS}), and the settings ask for the ACL {acl}"
            return failed(found, "unset HOLDFAST_S3_ACL", Evidence.TOLD, ownership=answer.value)
        return ok("all objects belong to the bucket's owner, and no ACL says otherwise", ownership=answer.value)
    first = f"unset HOLDFAST_S3_ACL ({acl}), then " if acl else ""
    return warning(
        f"ACLs are in force ({answer.value or 'ObjectWriter'}): objects can belong to others, and be opened one by one",
        f"{first}{_HARDEN}",
        ownership=answer.value,
    )


def _tls_only(context: Context) -> Finding:
    bucket = bucket_of(context)
    if (context.access.endpoint_url or "").lower().startswith("http:"):
        return skipped("the settings reach the server without TLS: such a policy would lock this project out")
    answer = ask_policy(bucket.connection, bucket.name)
    if answer.value is None:
        return unknown(answer, "the bucket policy")
    place = Place(bucket.name, bucket.prefix, partition_of(bucket.connection.dialect(bucket.name).region))
    if is_tls_only(answer.value, place):
        return ok("the bucket's policy refuses requests without TLS")
    return warning("the bucket answers requests without TLS too", f"holdfast s3 bucket-policy --apply {AS_ADMIN}")


def _logging(context: Context) -> Finding:
    bucket = bucket_of(context)
    answer = ask_logging(bucket.connection, bucket.name)
    if answer.value is None:
        return unknown(answer, "the access logging")
    where = answer.value
    if not where.bucket:
        # Servers that know none of these settings say of this one that it is off.
        if ask_lifecycle(bucket.connection, bucket.name).why_not == "unsupported":
            return skipped("the server says that accesses are not logged, and most likely cannot")
        return warning(
            "nobody writes down who reads and writes the bucket",
            f"holdfast s3 harden --log-bucket LOG_BUCKET {AS_ADMIN}",
        )
    if where.bucket == bucket.name:
        return warning(
            "accesses are logged into the bucket itself: each log is an access that is logged",
            f"holdfast s3 harden --log-bucket LOG_BUCKET {AS_ADMIN}, with another bucket",
            log_bucket=where.bucket,
        )
    return ok(f"accesses are logged to s3://{where.bucket}/{where.prefix}", log_bucket=where.bucket)


_NEEDS = ("s3.bucket",)
CHECKS = (
    Check("s3.versioning", "Are overwritten and deleted files kept?", _versioning, _NEEDS),
    Check("s3.encryption", "Are files encrypted, and as the settings say?", _encryption, _NEEDS, 7.0),
    Check("s3.public_access", "Is it made sure that the bucket is never opened to everybody?", _public_access, _NEEDS),
    Check("s3.public", "Is the bucket open to everybody?", _public, _NEEDS),
    Check("s3.ownership", "Do all files belong to the bucket's owner?", _ownership, _NEEDS),
    Check("s3.tls_only", "Are requests without TLS refused?", _tls_only, _NEEDS),
    Check("s3.logging", "Is it written down who reads and writes?", _logging, _NEEDS),
)
