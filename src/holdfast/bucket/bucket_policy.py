"""What nobody may do in a bucket, whatever else they may: send in the clear, or encrypt in another way.

Our statements have names (Sids) of their own. In a policy that is there already they take the place of those of the
same name; all others stay as they are.

A request that names no encryption is right where the bucket encrypts by default, and a negated condition holds for what
is not there. So each condition also asks that the header is there (`Null: false`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.bucket.arns import Place, key_arn_of
from holdfast.bucket.openness import as_list, is_everybody
from holdfast.errors import InvalidInputError

TLS_ONLY = "HoldfastTlsOnly"
_SSE = "s3:x-amz-server-side-encryption"
_SSE_KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"
_SSE_C = "s3:x-amz-server-side-encryption-customer-algorithm"
_KMS = ["aws:kms", "aws:kms:dsse"]
_LARGEST_BYTES = 20 * 1024
_VERSION = "2012-10-17"


def tls_statement(place: Place) -> dict[str, Any]:
    """Return the statement that refuses every request in the clear, in the whole bucket."""
    return {
        "Sid": TLS_ONLY,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [place.bucket_arn, f"{place.bucket_arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def encryption_statements(place: Place, kms_key: str) -> list[dict[str, Any]]:
    """Return the statements that refuse objects below the prefix with another encryption than by KMS with this key.

    Args:
        place: The bucket and the prefix.
        kms_key: The key's ARN; empty for any key of KMS.

    Raises:
        InvalidInputError: It is no key's ARN, by which alone S3 tells a policy of the key.
    """
    if kms_key and not key_arn_of(kms_key):
        raise InvalidInputError(
            f"A bucket policy compares ARNs of KMS keys, and {kms_key} is none.",
            "give arn:aws:kms:REGION:ACCOUNT:key/ID (HOLDFAST_S3_KMS_KEY_ID or --kms-key)",
        )
    found = [
        _deny_put(place, "HoldfastOtherEncryption", {"Null": {_SSE: "false"}, "StringNotEquals": {_SSE: _KMS}}),
        # Such objects have no header of the other kind, and no key that anybody else knows.
        _deny_put(place, "HoldfastCustomerKey", {"Null": {_SSE_C: "false"}}),
    ]
    if kms_key:
        other = {"Null": {_SSE_KEY: "false"}, "StringNotEquals": {_SSE_KEY: kms_key}}
        # KMS without a key's name means AWS's own key, not the bucket's.
        none = {"StringEquals": {_SSE: _KMS}, "Null": {_SSE_KEY: "true"}}
        found += [_deny_put(place, "HoldfastOtherKey", other), _deny_put(place, "HoldfastNoKey", none)]
    return found


def with_statements(document: Mapping[str, Any], statements: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a policy with our statements in it, at the places where they are already, else at its end.

    Args:
        document: The policy that is there; empty for none.
        statements: Ours, each with its Sid.

    Raises:
        InvalidInputError: It would be larger than S3 takes, or the policy is of a version that cannot hold them.
    """
    ours = {str(item["Sid"]): item for item in statements}
    there = as_list(document.get("Statement"))
    merged = [ours.pop(str(item.get("Sid")), item) for item in there]
    merged = [new if not is_same_statement(old, new) else old for old, new in zip(there, merged, strict=True)]
    made = {"Version": _VERSION, **document, "Statement": [*merged, *ours.values()]}
    if made["Version"] != _VERSION and "${" in json.dumps(list(statements)):
        raise InvalidInputError(
            f"The bucket's policy is of version {made['Version']}, in which the prefix cannot be written.",
            f"change its Version to {_VERSION}",
        )
    size = len(json.dumps(made).encode())
    if size > _LARGEST_BYTES:
        raise InvalidInputError(
            f"The bucket's policy would have {size:,} bytes, and S3 takes {_LARGEST_BYTES:,}.",
            "remove statements that are no longer needed",
        )
    return made


def is_same_policy(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two policies say the same, however the server writes lists of one."""
    mine, theirs = as_list(one.get("Statement")), as_list(other.get("Statement"))
    if one.get("Version") != other.get("Version") or len(mine) != len(theirs):
        return False
    return all(map(is_same_statement, mine, theirs))


def is_same_statement(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two statements say the same."""
    return bool(_normal(one) == _normal(other))


def is_tls_only(document: Mapping[str, Any], place: Place) -> bool:
    """Whether some statement, ours or not, refuses all requests in the clear to the bucket and its objects."""
    return any(_refuses_plain(item, place) for item in as_list(document.get("Statement")))


def _refuses_plain(statement: Mapping[str, Any], place: Place) -> bool:
    if statement.get("Effect") != "Deny" or not is_everybody(statement) or "NotPrincipal" in statement:
        return False
    resources, actions = set(as_list(statement.get("Resource"))), set(as_list(statement.get("Action")))
    covers = "*" in resources or f"{place.bucket_arn}*" in resources or f"{place.bucket_arn}/*" in resources
    condition: Mapping[str, Any] = statement.get("Condition") or {}
    tests: Mapping[str, Any] = condition.get("Bool") or {}
    plain = [str(value).lower() for key, values in tests.items() for value in as_list(values) if _is_tls(key)]
    return covers and bool({"*", "s3:*"} & actions) and len(condition) == len(tests) == 1 and plain == ["false"]


def _is_tls(key: str) -> bool:
    return key.lower() == "aws:securetransport"


def _deny_put(place: Place, sid: str, condition: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": place.objects_arn(),
        "Condition": dict(condition),
    }


def _normal(value: Any, key: str = "") -> Any:
    if key in ("Principal", "NotPrincipal") and value == "*":
        value = {"AWS": "*"}
    if isinstance(value, Mapping):
        return {name: _normal(item, name) for name, item in value.items()}
    if key in ("Sid", "Effect"):
        return value
    items = as_list(value)
    return sorted(str(item).lower() if isinstance(item, bool) else str(item) for item in items)
