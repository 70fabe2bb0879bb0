"""Whether the bucket is there, in which region, and whose it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from holdfast.artifacts.s3.dialect import is_aws
from holdfast.core.uris import mask_uri
from holdfast.doctor.check import Check, Evidence, Finding, failed, ok, skipped, warning
from holdfast.doctor.context import Bucket, Context
from holdfast.doctor.s3.probe import Probe, bucket_of, fault_in, is_denied, probe_of
from holdfast.errors import ArtifactError

# Whether the key may list, and so is good for something.
LISTS = "s3.lists"
_STRANGER = "000000000000"
_OWNER = "MLFLOW_S3_EXPECTED_BUCKET_OWNER"
_OTHER_KEYS = (
    "set keys that may use it (MLFLOW_AWS_ACCESS_KEY_ID, MLFLOW_AWS_SECRET_ACCESS_KEY), or mend the bucket in "
    "MLFLOW_ARTIFACT_ROOT"
)


def _bucket(context: Context) -> Finding:
    bucket = bucket_of(context)
    # A writer's key is asked for what an examination needs, a reader's for what it is to read.
    folder = probe_of(context).root if context.role == "writer" else bucket.prefix
    try:
        bucket.connection.run("list files", bucket.name, "", lambda: _first_of(bucket, folder))
    except ArtifactError as error:
        return _not_listed(context, bucket, error)
    context.note(LISTS, True)
    return ok(f"{bucket.uri} is there, and the key may list it", Evidence.TRIED, bucket=bucket.name)


def _first_of(bucket: Bucket, folder: str, **more: Any) -> Mapping[str, Any]:
    client, prefix = bucket.connection.client(bucket.name), f"{folder}/" if folder else ""
    found: Mapping[str, Any] = client.list_objects_v2(Bucket=bucket.name, Prefix=prefix, MaxKeys=1, **more)
    return found


def _not_listed(context: Context, bucket: Bucket, error: ArtifactError) -> Finding:
    if is_denied(error):
        return _denied(context, bucket, error)
    hint = error.hint
    if error.code == "UnknownHost":  # the server's own name is known, by then
        hint = f"set HOLDFAST_S3_ADDRESSING_STYLE=path: no address is known for the host of {bucket.name} alone"
    elif error.code == "NoSuchBucket":
        hint = f"mend MLFLOW_ARTIFACT_ROOT ({bucket.uri}), or create the bucket: aws s3 mb s3://{bucket.name}"
    if error.code in ("NoSuchBucket", "NoSuchKey") and urlsplit(context.access.endpoint_url or "").path.strip("/"):
        hint = f"take the path off MLFLOW_S3_ENDPOINT_URL ({mask_uri(context.access.endpoint_url or '')}); else {hint}"
    found = error.message.rstrip(".")
    return failed(found, hint or "see MLFLOW_ARTIFACT_ROOT", retryable=error.retryable, code=error.code)


def _denied(context: Context, bucket: Bucket, error: ArtifactError) -> Finding:
    """Tell a key that has nothing to do there from one that lacks the right to list."""
    if context.role == "reader":
        return failed(
            f"{bucket.uri} is not for this key, which may not list it: {error.message}".rstrip("."),
            f"{_OTHER_KEYS}; else give these what `holdfast s3 policy --role reader` prints{_if_owner(context)}",
            code=error.code,
        )
    try:
        probe_of(context).share()
    except ArtifactError as other:
        if not is_denied(other):
            raise
        return failed(
            f"{bucket.uri} is not for this key, which may neither list nor write it: {error.message}".rstrip("."),
            f"{_OTHER_KEYS}; else give these what `holdfast s3 policy --role writer` prints{_if_owner(context)}",
            code=error.code,
        )
    return ok(f"{bucket.uri} is there; the key may write, and not list it (see s3.list)", Evidence.TRIED)


def _if_owner(context: Context) -> str:
    owner = context.access.bucket_owner
    return f"; the bucket must belong to {_short(owner)} ({_OWNER})" if owner else ""


def _region(context: Context) -> Finding:
    bucket = bucket_of(context)
    named, used = context.access.region, bucket.connection.dialect(bucket.name).region
    region = used if used != named else _told_region(context, bucket)
    if not region:
        return skipped("the server does not say which region the bucket is in")
    if region != named and used == named:
        return ok(f"the server calls the bucket's region {region}, and takes what is signed for {named}", region=region)
    if region != named:
        return warning(
            f"the bucket is in {region}, and the settings name {named}: each process finds that out anew",
            f"set MLFLOW_AWS_DEFAULT_REGION={region}",
            region=region,
        )
    return ok(f"the bucket is in {region}, as the settings say", region=region)


def _told_region(context: Context, bucket: Bucket) -> str:
    """Return the region that the server names for the bucket, or an empty text.

    Others than AWS take what is signed for any region, and call theirs as they like where they are asked for it.
    """

    def head() -> Mapping[str, Any]:
        found: Mapping[str, Any] = bucket.connection.client(bucket.name).head_bucket(Bucket=bucket.name)
        return found

    def locate() -> Mapping[str, Any]:
        found: Mapping[str, Any] = bucket.connection.client(bucket.name).get_bucket_location(Bucket=bucket.name)
        return found

    probe = probe_of(context)
    told = _if_allowed(probe, head)
    if told is not None and told.get("BucketRegion"):
        return str(told["BucketRegion"])
    place = _if_allowed(probe, locate) if is_aws(context.access.endpoint_url) else None
    if place is None:
        return ""
    name = str(place.get("LocationConstraint") or "us-east-1")
    return "eu-west-1" if name == "EU" else name  # as the oldest buckets there say


def _if_allowed(probe: Probe, call: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the answer to a request that helps, and is not needed; None where it is refused."""
    answers: list[Mapping[str, Any]] = []
    fault_in(probe, "ask about the bucket", lambda: answers.append(call()))
    return answers[0] if answers else None


def _owner(context: Context) -> Finding:
    bucket, expected = bucket_of(context), context.access.bucket_owner
    if expected is None:
        return _whose(context, bucket)
    stranger = _STRANGER if expected != _STRANGER else "111111111111"
    probe = probe_of(context)
    folder = probe.root if context.role == "writer" else bucket.prefix
    # That the right one is accepted s3.bucket has shown: it goes with every request.
    fault = fault_in(probe, "name another owner", lambda: _first_of(bucket, folder, ExpectedBucketOwner=stranger))
    if fault is None:
        return skipped(f"the server takes any account for the owner: {_OWNER} guards nothing there")
    return ok(f"the bucket belongs to {_short(expected)}, and the server sees to it", Evidence.TRIED)


def _whose(context: Context, bucket: Bucket) -> Finding:
    probe, client = probe_of(context), bucket.connection.client(bucket.name)
    owner = _id_in(_if_allowed(probe, lambda: client.get_bucket_acl(Bucket=bucket.name)))
    me = _id_in(_if_allowed(probe, client.list_buckets)) if owner else ""
    unset = f"{_OWNER} is not set"
    if owner and owner == me:
        return ok(f"the bucket belongs to the account of these keys; {unset}", owner=_short(owner))
    if owner and me and is_aws(context.access.endpoint_url):
        return ok(f"the bucket belongs to another account than these keys, {_short(owner)}; {unset}")
    return skipped(f"{unset}, and the server does not tell these keys whose the bucket is")


def _id_in(answer: Mapping[str, Any] | None) -> str:
    return str(((answer or {}).get("Owner") or {}).get("ID") or "")


def _short(account: str) -> str:
    return f"{account[:4]}…{account[-4:]}" if len(account) > 8 else account


CHECKS = (
    Check(
        "s3.bucket",
        "Is the bucket there, and may these keys use it?",
        _bucket,
        ("config.settings", "credentials.usable", "s3.endpoint"),
        9.5,
    ),
    Check("s3.region", "Is the bucket in the region that the settings name?", _region, ("s3.bucket",)),
    Check("s3.owner", "Does the bucket belong to whom it should?", _owner, ("s3.bucket",)),
)
