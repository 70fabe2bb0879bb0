"""Changes to how a bucket is kept: made, read back and compared."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from holdfast.artifacts.s3.asking import Answer, is_denied
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.bucket.bucket_policy import is_same_policy
from holdfast.bucket.lifecycle_plan import Plan, is_same_rules
from holdfast.bucket.posture import Lifecycle, ask_lifecycle, ask_policy
from holdfast.errors import ArtifactError

_T = TypeVar("_T")

# AWS may answer with the old configuration for a moment after it has taken a new one.
_SETTLES_S = 5.0
_PAUSE_S = 0.2


def change(connection: S3Connection, bucket: str, call: str, action: str, doing: str, **arguments: Any) -> None:
    """Make a call that changes how a bucket is kept.

    Args:
        connection: The way there.
        bucket: Which.
        call: boto3's name of the call.
        action: The permission that it takes.
        doing: What it does, for errors.
        arguments: What goes with it, besides the bucket.

    Raises:
        ArtifactError: The server refuses; of a key that may not, the error names the permission.
    """

    def ask() -> None:
        client = connection.client(bucket)
        event = f"before-call.s3.{client.meta.method_to_api_mapping[call]}"
        client.meta.events.register(event, _add_md5, unique_id=f"holdfast-md5-{call}")
        getattr(client, call)(Bucket=bucket, **arguments)

    try:
        connection.run(doing, bucket, "", ask)
    except ArtifactError as error:
        if is_denied(error):
            error.message = f"{error.message}: the key lacks {action}"
            error.hint = (
                f"run it with keys that are allowed {action} on the bucket (--profile NAME), not with a writer's"
            )
        raise


def set_policy(connection: S3Connection, bucket: str, document: Mapping[str, Any]) -> None:
    """Give a bucket a policy, and see that it has it.

    Raises:
        ArtifactError: The server refuses it, or has another one afterwards.
    """
    text = json.dumps(document)
    change(connection, bucket, "put_bucket_policy", "s3:PutBucketPolicy", "set the policy", Policy=text)
    see_that(lambda: ask_policy(connection, bucket), lambda found: is_same_policy(found, document), bucket, "policy")


def set_lifecycle(connection: S3Connection, bucket: str, plan: Plan, before: Lifecycle) -> None:
    """Give a bucket the rules of a plan, and see that it has them.

    Args:
        connection: The way there.
        bucket: Which.
        plan: The rules.
        before: What it had; what goes for all rules stays.

    Raises:
        ArtifactError: The server refuses them, or has others afterwards.
    """
    more = {"TransitionDefaultMinimumObjectSize": before.least_size} if before.least_size else {}
    change(
        connection,
        bucket,
        "put_bucket_lifecycle_configuration",
        "s3:PutLifecycleConfiguration",
        "set the lifecycle",
        LifecycleConfiguration={"Rules": list(plan.rules)},
        **more,
    )
    see_that(
        lambda: ask_lifecycle(connection, bucket), lambda found: is_same_rules(found, plan.rules), bucket, "lifecycle"
    )


def see_that(ask: Callable[[], Answer[_T]], is_right: Callable[[_T], bool], bucket: str, what: str) -> None:
    """Ask until the answer is as it should be.

    Args:
        ask: Asks.
        is_right: Whether an answer is.
        bucket: Whose, for the error.
        what: What was changed, for the error.

    Raises:
        ArtifactError: It is not, some seconds later.
    """
    ends_at = time.monotonic() + _SETTLES_S
    while True:
        found = ask()
        if found.value is not None and is_right(found.value):
            return
        if not found.is_known:
            raise ArtifactError(
                f"The {what} of s3://{bucket} was changed, and cannot be read back: {found.why_not}.",
                f"let the key do {found.action}, and run the command again: it changes nothing that is right",
                code="NotVerified",
            )
        if time.monotonic() > ends_at:
            raise ArtifactError(
                f"The server took the new {what} of s3://{bucket}, and has another one when asked for it.",
                f"see what it has; this server does not keep all that a {what} can say",
                code="NotVerified",
            )
        time.sleep(_PAUSE_S)


def _add_md5(params: dict[str, Any], **_: Any) -> None:
    # AWS takes any checksum; older servers want this one for changes of a bucket, and botocore no longer sends it.
    body = params["body"]
    digest = hashlib.md5(body if isinstance(body, bytes) else body.encode(), usedforsecurity=False).digest()
    params["headers"].setdefault("Content-MD5", base64.b64encode(digest).decode())
