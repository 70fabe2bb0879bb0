"""Making a bucket one can answer for: what is to be done, doing it step by step, and seeing that it is so.

Every step is asked for by itself. What is right already stays as it is, whoever made it so; what the server lacks, or
what would lock the project out, is named and left; where a key may not, the permission is named and the other steps go
on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from holdfast.artifacts.s3.asking import Answer, is_unsupported
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.bucket.arns import Place
from holdfast.bucket.bucket_policy import is_tls_only, tls_statement, with_statements
from holdfast.bucket.changing import change, see_that, set_lifecycle, set_policy
from holdfast.bucket.lifecycle_plan import Wish, plan_rules
from holdfast.bucket.logs import Logs, plan_logging
from holdfast.bucket.posture import (
    PUBLIC_ACCESS_BLOCKS,
    Encryption,
    Lifecycle,
    ask_encryption,
    ask_grants,
    ask_ownership,
    ask_policy,
    ask_public_access_block,
    ask_versioning,
    ask_whole_lifecycle,
)
from holdfast.errors import ArtifactError, InvalidInputError

State = Literal["right", "to do", "left", "failed", "done"]
_T = TypeVar("_T")
_KMS = ("aws:kms", "aws:kms:dsse")
_WITHOUT_ACLS = "BucketOwnerEnforced"
# What a bucket without ACLs takes all the same, for it says what is so anyway.
_OWNERS_ACL = "bucket-owner-full-control"


@dataclass(frozen=True)
class Step:
    """One thing that is right, to be done, done, left or failed.

    Attributes:
        name: `versioning`, `lifecycle` …
        state: How it stands.
        says: What is so, what is to be done, or why it is left or has failed.
        hint: What mends a failure.
        apply: Does it, and sees that it is so; only where it is to do.
    """

    name: str
    state: State
    says: str
    hint: str = ""
    apply: Callable[[], None] | None = None


@dataclass(frozen=True)
class Target:
    """What is hardened.

    Attributes:
        connection: The way there.
        place: The bucket, and the project's prefix in it.
        kms_key: The KMS key that the bucket shall encrypt with by default; empty for S3's own keys.
        acl: The ACL that the settings give to files; empty for none.
        logs: Where accesses shall be logged to, or None.
    """

    connection: S3Connection
    place: Place
    kms_key: str = ""
    acl: str = ""
    logs: Logs | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the project reaches the server without TLS."""
        return (self.connection.access.endpoint_url or "").lower().startswith("http:")


def plan_hardening(target: Target) -> list[Step]:
    """Return all steps, as they stand; asks, and changes nothing.

    Raises:
        ArtifactError: The server cannot be reached, or there is no such bucket.
        InvalidInputError: What is wanted cannot be.
    """
    if target.logs is not None and target.logs.bucket == target.place.bucket:
        raise InvalidInputError(
            "Accesses cannot be logged to the bucket itself: each log would be an access that is logged.",
            "give another bucket with --log-bucket",
        )
    # A policy comes before the block that would refuse it if somebody has opened the bucket in it.
    return [_with_plain_hint(step(target), target) for step in _STEPS]


def apply_step(step: Step) -> Step:
    """Do a step that is to be done; return how it stands then."""
    if step.apply is None:
        return step
    try:
        step.apply()
    except ArtifactError as error:
        if is_unsupported(error):
            return replace(step, state="left", says="the server has no such setting", apply=None)
        return replace(step, state="failed", says=error.message, hint=error.hint, apply=None)
    return replace(step, state="done", apply=None)


def apply_steps(steps: list[Step]) -> Iterator[Step]:
    """Do what is to be done, one after the other, whatever becomes of each; give how each stands then."""
    for step in steps:
        yield apply_step(step)


def _tls(target: Target) -> Step:
    connection, place = target.connection, target.place
    if target.is_plain:
        return Step("tls-only", "left", "this project reaches the server over plain HTTP: it would lock itself out")
    answer = ask_policy(connection, place.bucket)
    if answer.value is None:
        return _unknown("tls-only", answer)
    if is_tls_only(answer.value, place):
        return Step("tls-only", "right", "the bucket policy refuses requests without TLS")
    policy = with_statements(answer.value, [tls_statement(place)])
    return _to_do("tls-only", "refuse requests without TLS", lambda: set_policy(connection, place.bucket, policy))


def _public_access(target: Target) -> Step:
    answer = ask_public_access_block(target.connection, target.place.bucket)
    if answer.value is None:
        return _unknown("public-access", answer)
    off = [name for name in PUBLIC_ACCESS_BLOCKS if not answer.value[name]]
    if not off:
        return Step("public-access", "right", "all four public-access blocks are on")

    def apply() -> None:
        _set(
            target,
            "put_public_access_block",
            "s3:PutBucketPublicAccessBlock",
            PublicAccessBlockConfiguration=dict.fromkeys(PUBLIC_ACCESS_BLOCKS, True),
        )
        _see(target, ask_public_access_block, lambda found: all(found.values()), "public-access block")

    return _to_do("public-access", f"switch public-access blocks on: {', '.join(off)}", apply)


def _ownership(target: Target) -> Step:
    answer = ask_ownership(target.connection, target.place.bucket)
    if answer.value is None:
        return _unknown("ownership", answer)
    if answer.value == _WITHOUT_ACLS:
        return Step("ownership", "right", "all objects belong to the bucket's owner; ACLs are off")
    if target.acl and target.acl != _OWNERS_ACL:
        return Step("ownership", "left", f"the settings give files the ACL {target.acl} (HOLDFAST_S3_ACL)")
    grants = ask_grants(target.connection, target.place.bucket)
    if grants.value:
        return Step(
            "ownership", "left", f"the bucket's ACL lets {len(grants.value)} others in, who would be locked out"
        )

    def apply() -> None:
        rules = {"Rules": [{"ObjectOwnership": _WITHOUT_ACLS}]}
        _set(target, "put_bucket_ownership_controls", "s3:PutBucketOwnershipControls", OwnershipControls=rules)
        _see(target, ask_ownership, lambda found: found == _WITHOUT_ACLS, "ownership")

    return _to_do("ownership", "let all objects belong to the bucket's owner, and switch ACLs off", apply)


def _versioning(target: Target) -> Step:
    answer = ask_versioning(target.connection, target.place.bucket)
    if answer.value is None:
        return _unknown("versioning", answer)
    if answer.value == "Enabled":
        return Step("versioning", "right", "what is overwritten or deleted is kept as an old version")

    def apply() -> None:
        status = {"Status": "Enabled"}
        _set(target, "put_bucket_versioning", "s3:PutBucketVersioning", VersioningConfiguration=status)
        _see(target, ask_versioning, lambda found: found == "Enabled", "versioning")

    return _to_do("versioning", "keep what is overwritten or deleted as an old version", apply)


def _encryption(target: Target) -> Step:
    answer = ask_encryption(target.connection, target.place.bucket)
    if answer.value is None:
        return _unknown("encryption", answer)
    found = answer.value
    wanted = wanted_encryption(found, target.kms_key)
    if wanted == found:
        return Step("encryption", "right", f"new objects are encrypted with {_named(found)}")

    def apply() -> None:
        key = {"KMSMasterKeyID": wanted.kms_key_id} if wanted.kms_key_id else {}
        default = {"SSEAlgorithm": wanted.algorithm, **key}
        rule = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": wanted.has_bucket_key}
        _set(
            target,
            "put_bucket_encryption",
            "s3:PutEncryptionConfiguration",
            ServerSideEncryptionConfiguration={"Rules": [rule]},
        )
        _see(target, ask_encryption, lambda now: wanted_encryption(now, target.kms_key) == now, "encryption")

    return _to_do("encryption", f"encrypt new objects with {_named(wanted)}", apply)


def wanted_encryption(found: Encryption, kms_key: str) -> Encryption:
    """Return how a bucket is to encrypt.

    Args:
        found: How it does.
        kms_key: The key that is asked for; empty leaves the choice to the bucket, S3's own keys where it made none.
    """
    if not kms_key and found.algorithm not in _KMS:
        return found if found.algorithm else Encryption("AES256")
    algorithm = found.algorithm if found.algorithm in _KMS else "aws:kms"
    # One call of KMS for many objects; there is no bucket key for encryption twice over.
    return Encryption(algorithm, kms_key or found.kms_key_id, algorithm == "aws:kms" or found.has_bucket_key)


def _lifecycle(target: Target) -> Step:
    answer = ask_whole_lifecycle(target.connection, target.place.bucket)
    if answer.value is None:
        return _unknown("lifecycle", answer)
    before: Lifecycle = answer.value
    # Some end of both kinds is what matters, and who has chosen one has their reasons.
    plan = plan_rules(before.rules, Wish(target.place.folder).kept_where_chosen(before.rules))
    if not plan.changes:
        return Step("lifecycle", "right", "unfinished uploads are aborted, and old versions deleted some day")
    return _to_do(
        "lifecycle",
        "; ".join(plan.changes),
        lambda: set_lifecycle(target.connection, target.place.bucket, plan, before),
    )


def _logging(target: Target) -> Step:
    try:
        plan = plan_logging(target.connection, target.place, target.logs)
    except ArtifactError as error:
        if error.code != "NoSuchBucket":
            raise
        return Step("logging", "failed", error.message, error.hint)  # the others can go on without it
    if isinstance(plan, Answer):
        return _unknown("logging", plan)
    return Step("logging", plan.state, plan.says, apply=plan.apply)


_STEPS: tuple[Callable[[Target], Step], ...] = (
    _tls,
    _public_access,
    _ownership,
    _versioning,
    _encryption,
    _lifecycle,
    _logging,
)


def _unknown(name: str, answer: Answer[Any]) -> Step:
    if answer.why_not == "unsupported":
        return Step(name, "left", "the server has no such setting")
    return Step(
        name,
        "failed",
        f"the key may not ask for it: it takes {answer.action}",
        f"run it with keys that are allowed {answer.action} on the bucket (--profile NAME)",
    )


def _with_plain_hint(step: Step, target: Target) -> Step:
    """Say what else a refusal may come from: the bucket policy that this very command makes."""
    if step.state != "failed" or not target.is_plain:
        return step
    return replace(step, hint=f"{step.hint}; or the bucket wants TLS: set MLFLOW_S3_ENDPOINT_URL to https://…")


def _to_do(name: str, says: str, apply: Callable[[], None]) -> Step:
    return Step(name, "to do", says, apply=apply)


def _set(target: Target, call: str, action: str, **arguments: Any) -> None:
    doing = call.removeprefix("put_").removeprefix("bucket_").replace("_", " ")
    change(target.connection, target.place.bucket, call, action, f"set the {doing}", **arguments)


def _see(
    target: Target, ask: Callable[[S3Connection, str], Answer[_T]], is_right: Callable[[_T], bool], what: str
) -> None:
    see_that(lambda: ask(target.connection, target.place.bucket), is_right, target.place.bucket, what)


def _named(encryption: Encryption) -> str:
    if encryption.algorithm not in _KMS:
        return "S3's own keys (AES256)"
    key = encryption.kms_key_id.rpartition("/")[2]
    shown = f"key {key[:4]}…{key[-4:]}" if len(key) > 8 else "AWS's own key"
    return f"KMS ({encryption.algorithm}), {shown}{', and a bucket key' if encryption.has_bucket_key else ''}"
