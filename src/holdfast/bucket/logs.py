"""Where accesses to a bucket are logged to, and letting S3 write there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from holdfast.artifacts.s3.asking import Answer
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.bucket.arns import Place
from holdfast.bucket.bucket_policy import is_same_policy, with_statements
from holdfast.bucket.changing import change, see_that, set_policy
from holdfast.bucket.posture import Logging, ask_logging, ask_policy
from holdfast.errors import ArtifactError

_NO_TARGET = ("NoSuchBucket", "InvalidTargetBucketForLogging", "CrossLocationLoggingProhibited")
_SERVICE = "logging.s3.amazonaws.com"


@dataclass(frozen=True)
class Logs:
    """Where accesses shall be logged to.

    Attributes:
        bucket: The bucket; another than the logged one, in the same region and account.
        prefix: What the logs' names begin with.
    """

    bucket: str
    prefix: str = ""


@dataclass(frozen=True)
class LoggingPlan:
    """How access logging stands.

    Attributes:
        state: As of a hardening step.
        says: What is so, is to be done, or is left and why.
        apply: Does it.
    """

    state: Literal["right", "to do", "left"]
    says: str
    apply: Callable[[], None] | None = None


def plan_logging(connection: S3Connection, place: Place, logs: Logs | None) -> LoggingPlan | Answer[Any]:
    """Return how access logging stands, or the answer that tells why that cannot be known.

    Args:
        connection: The way there.
        place: The bucket that is logged.
        logs: Where to; None leaves it as it is.

    Raises:
        ArtifactError: There is no such bucket for the logs.
    """
    answer = ask_logging(connection, place.bucket)
    if answer.value is None:
        return answer
    found = answer.value
    if found.bucket and (logs is None or (logs.bucket, logs.prefix) == (found.bucket, found.prefix)):
        return LoggingPlan("right", f"accesses are logged to s3://{found.bucket}/{found.prefix}")
    if logs is None:
        return LoggingPlan("left", "accesses are not logged: name a bucket for the logs with --log-bucket")
    _policy_of(connection, logs)  # a bucket that is not there is told before anything is changed
    says = f"log accesses to s3://{logs.bucket}/{logs.prefix}, and let S3 write there"
    return LoggingPlan("to do", says, lambda: _apply(connection, place, logs))


def _apply(connection: S3Connection, place: Place, logs: Logs) -> None:
    _let_in(connection, place, logs)
    target = {"TargetBucket": logs.bucket, "TargetPrefix": logs.prefix}
    with _log_bucket_named(logs):
        change(
            connection,
            place.bucket,
            "put_bucket_logging",
            "s3:PutBucketLogging",
            f"log accesses to s3://{logs.bucket}",
            BucketLoggingStatus={"LoggingEnabled": target},
        )
    wanted = Logging(logs.bucket, logs.prefix)
    see_that(lambda: ask_logging(connection, place.bucket), lambda found: found == wanted, place.bucket, "logging")


def _let_in(connection: S3Connection, place: Place, logs: Logs) -> None:
    """Let the service that writes the logs into their bucket, by its policy; what else that says stays."""
    answer = _policy_of(connection, logs)
    if answer.value is None:  # then the call that follows says what is missing
        return
    policy = with_statements(answer.value, [_statement(place, logs)])
    if not is_same_policy(policy, answer.value):
        set_policy(connection, logs.bucket, policy)


def _policy_of(connection: S3Connection, logs: Logs) -> Answer[Mapping[str, Any]]:
    with _log_bucket_named(logs):
        return ask_policy(connection, logs.bucket)


@contextmanager
def _log_bucket_named(logs: Logs) -> Iterator[None]:
    """Have the hint name the option that the bucket's name came by, where there is no such bucket to log to."""
    try:
        yield
    except ArtifactError as error:
        if error.code in _NO_TARGET:
            error.hint = (
                f"mend --log-bucket, or create the bucket in the same region and account: aws s3 mb s3://{logs.bucket}"
            )
        raise


def _statement(place: Place, logs: Logs) -> dict[str, Any]:
    target = Place(logs.bucket, partition=place.partition)
    return {
        # One for each bucket that is logged there.
        "Sid": f"HoldfastAccessLogs{''.join(part.title() for part in place.bucket.replace('.', '-').split('-'))}",
        "Effect": "Allow",
        "Principal": {"Service": _SERVICE},
        "Action": "s3:PutObject",
        "Resource": f"{target.bucket_arn}/{logs.prefix}*",
        "Condition": {"ArnLike": {"aws:SourceArn": place.bucket_arn}},
    }
