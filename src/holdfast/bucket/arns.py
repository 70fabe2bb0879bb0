"""The names that AWS's policies call things by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from holdfast.core.uris import normalize_artifact_root
from holdfast.errors import InvalidInputError

Partition = Literal["aws", "aws-cn", "aws-us-gov"]
PARTITIONS: tuple[Partition, ...] = get_args(Partition)
_KEY_ID = re.compile(r"[0-9a-fA-F-]{36}|mrk-[0-9a-fA-F]{32}")
# As botocore has it: old buckets have capitals.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{1,253}[A-Za-z0-9]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_VARIABLE = re.compile(r"\$\{\w*\}?")
_KEY_ARN = re.compile(r"(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:)(key/.+|alias/.+)")


@dataclass(frozen=True)
class Place:
    """A part of a bucket.

    Attributes:
        bucket: The bucket.
        prefix: What its keys begin with, without a slash at either end; empty for the whole bucket.
        partition: AWS's name for its clouds: `aws`, `aws-cn` or `aws-us-gov`.
    """

    bucket: str
    prefix: str = ""
    partition: Partition = "aws"

    @property
    def uri(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def folder(self) -> str:
        """The prefix with the slash that ends it; empty for the whole bucket. `x/` is none of `xy`."""
        return f"{self.prefix}/" if self.prefix else ""

    @property
    def bucket_arn(self) -> str:
        """The ARN of the bucket itself."""
        return f"arn:{self.partition}:s3:::{self.bucket}"

    def objects_arn(self, below: str = "") -> str:
        """Return the ARN pattern of all objects, or of those below a folder in here."""
        folder = f"{self.folder}{below.strip('/')}/" if below else self.folder
        return f"{self.bucket_arn}/{literal(folder)}*"


def place_in(uri: str, partition: Partition = "aws") -> Place:
    """Return the place that `s3://bucket/prefix` names.

    Raises:
        InvalidInputError: It names none.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise InvalidInputError(f"{uri} names no place in S3.", "it reads s3://bucket/prefix")
    return Place(bucket, prefix.strip("/"), partition)


def place_named(bucket: str, prefix: str = "", partition: Partition = "aws", setting: str = "--bucket") -> Place:
    """Return the place of a bucket and a prefix that somebody names apart from each other.

    Signs that are patterns elsewhere (`*`, `?`) mean themselves in a prefix; see `literal`.

    Args:
        bucket: The bucket's name.
        prefix: The prefix in it; slashes at its ends and doubled ones are left out, as in `s3://bucket/prefix`.
        partition: The cloud.
        setting: Where the bucket's name stands, for errors.

    Raises:
        InvalidInputError: No bucket can have this name, or no prefix is like this.
    """
    if not _BUCKET.fullmatch(bucket):
        raise InvalidInputError(f"{setting} {bucket!r} names no valid bucket.", _why_no_bucket(bucket, setting))
    if prefix.strip():
        check_prefix(prefix)
    return place_in(normalize_artifact_root(f"s3://{bucket}/{prefix}", setting), partition)


def check_prefix(prefix: str, what: str = "The prefix") -> None:
    """See that a prefix is one that somebody meant.

    Args:
        prefix: The prefix, or an address.
        what: What it is called in errors.

    Raises:
        InvalidInputError: It holds a control character, or a variable that no shell has replaced.
    """
    if _CONTROLS.search(prefix.strip()):
        raise InvalidInputError(f"{what} {prefix!r} holds a control character.", "write it without")
    found = _VARIABLE.search(prefix)
    if found:
        raise InvalidInputError(
            f"{what} {prefix!r} holds {found[0]}, which nothing has replaced.",
            'write it out, or in double quotes ("…"), in which a shell replaces variables',
        )


def _why_no_bucket(bucket: str, setting: str) -> str:
    if _VARIABLE.search(bucket):
        return f"a variable was not replaced: write {setting} with the name itself, or in double quotes"
    if bucket.startswith("s3:") or "/" in bucket:
        return "give s3://bucket/prefix without an option, or the bucket's name alone"
    return "a bucket has 3 to 63 letters, digits, dots and hyphens, and no pattern stands for several"


def literal(text: str) -> str:
    """Return a text as a policy writes it where it would else be read as a pattern or a variable."""
    return re.sub(r"[*?$]", lambda found: f"${{{found[0]}}}", text)


def partition_of(region: str) -> Partition:
    """Return the partition that a region is in."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def use_of_key(key: str, actions: list[str], partition: Partition, region: str) -> dict[str, Any]:
    """Return the statement that allows actions with one KMS key, through S3 alone.

    Args:
        key: Its ARN, its id, `alias/name` or the ARN of an alias.
        actions: Such as `kms:Decrypt`.
        partition: Of the key.
        region: Of the key, where its name does not say it.

    Raises:
        InvalidInputError: It is none of these.
    """
    suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
    condition: dict[str, Any] = {"StringLike": {"kms:ViaService": f"s3.*.{suffix}"}}
    resource, alias = _key_and_alias(key, f"arn:{partition}:kms:{region}:*:")
    if alias:
        # An alias is no resource of these actions; the key that it stands for has it as an attribute.
        condition["ForAnyValue:StringEquals"] = {"kms:ResourceAliases": alias}
    return {"Effect": "Allow", "Action": actions, "Resource": resource, "Condition": condition}


def key_arn_of(key: str) -> str:
    """Return the ARN of a KMS key where it was given as one; empty for an id or an alias."""
    found = _KEY_ARN.fullmatch(key)
    return key if found is not None and found[2].startswith("key/") else ""


def _key_and_alias(key: str, head: str) -> tuple[str, str]:
    found = _KEY_ARN.fullmatch(key)
    head, name = (found[1], found[2]) if found else (head, key)
    if name.startswith("alias/") and name != "alias/":
        return f"{head}key/*", name
    if found:
        return key, ""
    if _KEY_ID.fullmatch(name):
        return f"{head}key/{name}", ""
    raise InvalidInputError(f"{key} names no KMS key.", "give its ARN: arn:aws:kms:REGION:ACCOUNT:key/ID")
