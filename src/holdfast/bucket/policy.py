"""What a key needs to do with a project's files, and no more: IAM policies for three roles.

A `writer` logs runs: it stores, reads and lists files below the prefix, and deletes only the doctor's probes. A
`reader` reads and lists. A `purger` lists and deletes, versions and unfinished uploads included, and reads nothing.

Listings are allowed with a prefix below the project's alone. AWS lets nobody but a lister of the whole bucket know that
an object is missing: to a request for one that is not there these keys get 403 in place of 404. Unfinished uploads
can be listed in the whole bucket or not at all, for S3 has no condition for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from holdfast.bucket.arns import Place, literal, use_of_key
from holdfast.bucket.posture import QUESTIONS
from holdfast.core.locations import PROBES

Role = Literal["writer", "reader", "purger"]
ROLES: tuple[Role, ...] = get_args(Role)
_WITH_ARGUMENT = {
    "Tagging": "s3:PutObjectTagging",
    "ACL": "s3:PutObjectAcl",
    "GrantFullControl": "s3:PutObjectAcl",
    "GrantRead": "s3:PutObjectAcl",
    "GrantReadACP": "s3:PutObjectAcl",
    "GrantWriteACP": "s3:PutObjectAcl",
    "ObjectLockMode": "s3:PutObjectRetention",
    "ObjectLockRetainUntilDate": "s3:PutObjectRetention",
    "ObjectLockLegalHoldStatus": "s3:PutObjectLegalHold",
}


@dataclass(frozen=True)
class Needs:
    """What a policy is for, besides its role.

    Attributes:
        place: The bucket and the prefix.
        kms_key: The KMS key that objects are encrypted with: ARN, id or alias; empty for none.
        region: Of that key, where its name does not say it.
        put_arguments: What goes with every upload, by boto3's names; some take a permission of their own.
        with_posture: Whether the key may also ask how the bucket is kept, as `holdfast doctor` does.
    """

    place: Place
    kms_key: str = ""
    region: str = "us-east-1"
    put_arguments: Mapping[str, Any] = field(default_factory=dict)
    with_posture: bool = True


def role_policy(role: Role, needs: Needs) -> dict[str, Any]:
    """Return the policy document of a role.

    Raises:
        InvalidInputError: The KMS key is none.
    """
    statements = [*_STATEMENTS[role](needs), *(_posture(needs.place) if needs.with_posture else ())]
    return {"Version": "2012-10-17", "Statement": statements}


def _writer(needs: Needs) -> Iterator[dict[str, Any]]:
    place = needs.place
    extra = sorted({action for name, action in _WITH_ARGUMENT.items() if needs.put_arguments.get(name)})
    yield _find_bucket(place)
    yield _list(place, "HoldfastListFiles", ["s3:ListBucket"])
    yield _allow("HoldfastListUploads", ["s3:ListBucketMultipartUploads"], place.bucket_arn)
    files = ["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    yield _allow("HoldfastWriteFiles", [*files, *extra], place.objects_arn())
    # A better checkpoint takes the place of another one; no other file is ever deleted.
    yield _allow("HoldfastReplaceCheckpoints", ["s3:DeleteObject"], place.objects_arn() + "/artifacts/checkpoints*")
    yield _list(place, "HoldfastListProbes", ["s3:ListBucketVersions"], PROBES)
    yield _allow(
        "HoldfastDeleteProbes",
        ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObjectVersion"],
        place.objects_arn(PROBES),
    )
    if needs.kms_key:
        yield _use_key(needs, ["kms:GenerateDataKey", "kms:Decrypt"])


def _reader(needs: Needs) -> Iterator[dict[str, Any]]:
    yield _find_bucket(needs.place)
    yield _list(needs.place, "HoldfastListFiles", ["s3:ListBucket"])
    yield _allow("HoldfastReadFiles", ["s3:GetObject", "s3:GetObjectVersion"], needs.place.objects_arn())
    if needs.kms_key:
        yield _use_key(needs, ["kms:Decrypt"])


def _purger(needs: Needs) -> Iterator[dict[str, Any]]:
    place = needs.place
    yield _find_bucket(place)
    # Whether what is deleted can be brought back decides what a clean-up may do.
    yield _allow("HoldfastAskVersioning", ["s3:GetBucketVersioning"], place.bucket_arn)
    yield _list(place, "HoldfastListFiles", ["s3:ListBucket", "s3:ListBucketVersions"])
    yield _allow("HoldfastListUploads", ["s3:ListBucketMultipartUploads"], place.bucket_arn)
    yield _allow(
        "HoldfastDeleteFiles",
        ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
        place.objects_arn(),
    )


def _posture(place: Place) -> Iterator[dict[str, Any]]:
    yield _allow("HoldfastAskPosture", sorted(question.action for question in QUESTIONS), place.bucket_arn)


_STATEMENTS: Mapping[Role, Callable[[Needs], Iterable[dict[str, Any]]]] = {
    "writer": _writer,
    "reader": _reader,
    "purger": _purger,
}


def _find_bucket(place: Place) -> dict[str, Any]:
    return _allow("HoldfastFindBucket", ["s3:GetBucketLocation"], place.bucket_arn)


def _list(place: Place, sid: str, actions: list[str], below: str = "") -> dict[str, Any]:
    statement = _allow(sid, actions, place.bucket_arn)
    folder = f"{place.folder}{below}/" if below else place.folder
    if folder:
        statement["Condition"] = {"StringLike": {"s3:prefix": f"{literal(folder)}*"}}
    return statement


def _use_key(needs: Needs, actions: list[str]) -> dict[str, Any]:
    return {"Sid": "HoldfastUseKey", **use_of_key(needs.kms_key, actions, needs.place.partition, needs.region)}


def _allow(sid: str, actions: list[str], resource: str) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}
