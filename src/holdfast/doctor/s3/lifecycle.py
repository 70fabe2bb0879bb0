"""What the bucket does with files as they age: what it should take away, and what it must not."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

from holdfast.bucket.lifecycle import Rule, days, read_rules
from holdfast.bucket.posture import Answer, ask_lifecycle, ask_versioning
from holdfast.core.locations import PROBES
from holdfast.doctor.check import Check, Evidence, Finding, failed, ok, skipped, warning
from holdfast.doctor.context import Bucket, Context
from holdfast.doctor.s3.posture import AS_ADMIN, unknown
from holdfast.doctor.s3.probe import bucket_of

_APPLY = f"holdfast s3 lifecycle apply {AS_ADMIN}"


def _uploads(context: Context) -> Finding:
    bucket = bucket_of(context)
    answer = _rules(bucket)
    if answer.value is None:
        return unknown(answer, "the lifecycle")
    found = [rule.abort_days for rule in answer.value if rule.covers(_folder(bucket)) and rule.abort_days is not None]
    if not found:
        stays = f"parts of uploads that were cut off stay for ever below {bucket.uri}, unseen and paid for"
        return warning(stays, _APPLY)
    return ok(f"uploads that were cut off are taken away after {days(min(found))}", days=min(found))


def _noncurrent(context: Context) -> Finding:
    bucket = bucket_of(context)
    versioning = ask_versioning(bucket.connection, bucket.name)
    if versioning.value is None:
        return unknown(versioning, "the versioning")
    if not versioning.value:
        return skipped("there are no versions in this bucket (see s3.versioning)")
    answer = _rules(bucket)
    if answer.value is None:
        return unknown(answer, "the lifecycle")
    covering = [rule for rule in answer.value if rule.covers(_folder(bucket))]
    found = [rule.noncurrent_days for rule in covering if rule.noncurrent_days is not None]
    if not found:
        return warning(f"overwritten and deleted files below {bucket.uri} are kept, and paid for, for ever", _APPLY)
    return ok(f"overwritten and deleted files are kept for {days(min(found))}", days=min(found))


def _expiry(context: Context) -> Finding:
    bucket = bucket_of(context)
    answer = _rules(bucket)
    if answer.value is None:
        return unknown(answer, "the lifecycle")
    tags = dict(parse_qsl(str(context.access.put_arguments.get("Tagging", "")), keep_blank_values=True))
    # Those of examinations are no files of the project.
    probes = f"{_folder(bucket)}{PROBES}/"
    rules = [
        rule for rule in answer.value if rule.touches(_folder(bucket), tags) and not rule.prefix.startswith(probes)
    ]
    deadly = [rule for rule in rules if rule.expires]
    if deadly:
        return failed(
            f"{_several(deadly, bucket)} would delete files below {bucket.uri} by their age, and registered models "
            "with them",
            _taking_out(deadly, bucket),
            Evidence.TOLD,
            rules=[rule.title for rule in deadly],
        )
    return _archived([rule for rule in rules if rule.archives], bucket)


def _taking_out(rules: Sequence[Rule], bucket: Bucket) -> str:
    """Return how an administrator takes rules away: S3 stores all rules of a bucket at once."""
    names = " and ".join(f"the one with the ID {rule.name}" if rule.name else "the one without an ID" for rule in rules)
    where = f"--bucket {bucket.name}"
    return (
        f"aws s3api get-bucket-lifecycle-configuration {where} > rules.json, take {names} out of it, then aws s3api "
        f"put-bucket-lifecycle-configuration {where} --lifecycle-configuration file://rules.json; or in the console: "
        f"{bucket.name}, Management, Lifecycle rules"
    )


def _archived(rules: Sequence[Rule], bucket: Bucket) -> Finding:
    if not rules:
        return ok(f"no rule takes files below {bucket.uri} away by their age, or out of reach")
    tiers = sorted({tier for rule in rules for tier in rule.archives})
    return warning(
        f"{_several(rules, bucket)} would move files below {bucket.uri} to {' and '.join(tiers)}, where nothing can "
        "be read before it is restored",
        f"use a class that is read at once, GLACIER_IR or STANDARD_IA: `holdfast s3 lifecycle apply --transition "
        f"GLACIER_IR:90 {AS_ADMIN}`; and {_taking_out(rules, bucket)}",
        rules=[rule.title for rule in rules],
        tiers=tiers,
    )


def _rules(bucket: Bucket) -> Answer[Sequence[Rule]]:
    answer = ask_lifecycle(bucket.connection, bucket.name)
    return Answer(None if answer.value is None else read_rules(answer.value), answer.why_not, answer.action)


def _folder(bucket: Bucket) -> str:
    return f"{bucket.prefix}/" if bucket.prefix else ""


def _several(rules: Sequence[Rule], bucket: Bucket) -> str:
    names = ", ".join(rule.title for rule in rules)
    return f"the lifecycle rule{'s' if len(rules) > 1 else ''} {names} of {bucket.name}"


_NEEDS = ("s3.bucket",)
CHECKS = (
    Check("s3.lifecycle_uploads", "Are uploads that were cut off taken away some day?", _uploads, _NEEDS),
    Check("s3.lifecycle_noncurrent", "Do old versions go some day?", _noncurrent, _NEEDS),
    Check("s3.lifecycle_expiry", "Does no rule delete or archive files by their age?", _expiry, _NEEDS),
)
