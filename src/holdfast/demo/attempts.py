"""What a program with global AWS keys in its environment, and a project's keys in `.env`, can reach.

Run as a process of its own in the project's folder, so that environment and `.env` are what they are for any program.
The names of the buckets come on standard input as JSON; each attempt is written to standard output as a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from holdfast.artifacts.access import access_of
from holdfast.artifacts.s3 import S3Files
from holdfast.artifacts.s3.faults import fault_of
from holdfast.artifacts.transfer import Item
from holdfast.errors import HoldfastError
from holdfast.settings import load_settings


def main() -> None:
    """Make every attempt."""
    wanted = json.load(sys.stdin)
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "weights.bin")
        file.write_bytes(b"w" * 1000)
        for bucket in wanted["buckets"]:
            _say("boto3", bucket, partial(_by_boto3, bucket, file))
            _say("holdfast", bucket, partial(_by_holdfast, bucket, file))
            _say("mlflow", bucket, partial(_by_mlflow, bucket, file))
    _write(who="environment", bucket="", seen="unchanged" if dict(os.environ) == before else "changed")


def _by_boto3(bucket: str, file: Path) -> None:
    """Store a file as any other program does: with boto3's default session, which knows nothing of the project."""
    import boto3

    client = boto3.client("s3", endpoint_url=load_settings().s3_endpoint_url)
    client.put_object(Bucket=bucket, Key="boto3/weights.bin", Body=file.read_bytes())


def _by_holdfast(bucket: str, file: Path) -> None:
    S3Files(access_of(load_settings())).upload([Item(file, f"s3://{bucket}/holdfast/weights.bin")])


def _by_mlflow(bucket: str, file: Path) -> None:
    """Store a file by plain MLflow, through the repository that Holdfast gives it."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(f"s3://{bucket}/mlflow")
    repository.log_artifact(str(file))
    if [item.path for item in repository.list_artifacts()] != [file.name]:
        raise HoldfastError(f"what was stored in {bucket} is not there")


def _say(who: str, bucket: str, attempt: Callable[[], None]) -> None:
    try:
        attempt()
    except Exception as error:  # what a refusal is called is the answer
        _write(who=who, bucket=bucket, seen=_refusal(error))
    else:
        _write(who=who, bucket=bucket, seen="stored")


def _refusal(error: Exception) -> str:
    code = getattr(error, "code", "") or fault_of(error).code
    named = next((name for name in ("AccessDenied", "SignatureDoesNotMatch") if name in str(error)), "")
    return named or code or type(error).__name__


def _write(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
