"""A global key and a project's key side by side, against an S3 server that checks signatures and policies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.redaction import Redactor
from holdfast.errors import ServerError
from holdfast.settings import load_settings
from holdfast.testing import Account, S3Server

GLOBAL_BUCKET = "everyday-work"
PROJECT_BUCKET = "mlflow-artifacts"
_LIMIT_S = 120
_SITUATIONS = ("both keys", "the global key only", "a wrong secret in .env")


@dataclass(frozen=True)
class Seen:
    """One attempt, and what came of it.

    Attributes:
        situation: Which keys were there.
        who: `boto3` (any other program), `holdfast`, or `mlflow` (plain MLflow); `environment` for the process's own.
        bucket: Where a file was to be stored.
        keys: Whose keys were used.
        expected: What should come of it: `stored`, or the server's word for its refusal.
        seen: What came of it.
    """

    situation: str
    who: str
    bucket: str
    keys: str
    expected: str
    seen: str

    @property
    def is_right(self) -> bool:
        """Whether it went as it should."""
        return self.expected == self.seen


def demonstrate() -> Iterator[Seen]:
    """Start a server with two accounts of a bucket each, and try every way into both buckets.

    The first situation has both pairs of keys: the global one in the environment, the project's in `.env`. In the
    second there is no project's pair, so that Holdfast falls back to the global one. In the third the project's secret
    is wrong: it is refused, and the global key does not step in.

    Raises:
        MissingDependencyError: The server is not installed.
        ServerError: It does not come up, or an attempt ended in another way than with an answer.
    """
    with S3Server() as server:
        everyday = server.add_account("everyday", [GLOBAL_BUCKET])
        project = server.add_account("project", [PROJECT_BUCKET])
        wrong = Account("project", project.access_key_id, "0" * 40)
        for situation, own in zip(_SITUATIONS, (project, None, wrong), strict=True):
            with tempfile.TemporaryDirectory(prefix="holdfast-demo-") as folder:
                yield from _try(situation, Path(folder), server.endpoint_url, everyday, own)


def _try(situation: str, folder: Path, endpoint_url: str, everyday: Account, own: Account | None) -> Iterator[Seen]:
    _write_project(folder, endpoint_url, own)
    environment = _environment(folder, everyday)
    origin = load_settings(start=folder, environ=environment).credentials.origin
    for who, bucket, seen in _attempts(folder, environment, Redactor((everyday.secret_access_key,))):
        if who == "environment":
            yield Seen(situation, who, "", "", "unchanged", seen)
            continue
        keys = f"global (AWS_*), {_short(everyday)}" if who == "boto3" else f"{origin}, {_short(own or everyday)}"
        yield Seen(situation, who, bucket, keys, _expected(situation, who, bucket), seen)


def _expected(situation: str, who: str, bucket: str) -> str:
    if who != "boto3" and situation == _SITUATIONS[2]:
        return "SignatureDoesNotMatch"
    own = GLOBAL_BUCKET if who == "boto3" or situation == _SITUATIONS[1] else PROJECT_BUCKET
    return "stored" if bucket == own else "AccessDenied"


def _write_project(folder: Path, endpoint_url: str, own: Account | None) -> None:
    lines = [f"MLFLOW_S3_ENDPOINT_URL={endpoint_url}", f"MLFLOW_ARTIFACT_ROOT=s3://{PROJECT_BUCKET}/runs"]
    if own is not None:
        lines += [f"MLFLOW_AWS_ACCESS_KEY_ID={own.access_key_id}"]
        lines += [f"MLFLOW_AWS_SECRET_ACCESS_KEY={own.secret_access_key}"]
    (folder / "pyproject.toml").touch()
    dotenv = folder / ".env"
    dotenv.touch(mode=0o600)
    dotenv.write_text("\n".join(lines) + "\n")


def _environment(folder: Path, everyday: Account) -> dict[str, str]:
    """Return the environment of a program whose user works with AWS every day."""
    ours = ("AWS_", "MLFLOW_", "HOLDFAST_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return inherited | {
        "HOME": str(folder),
        "AWS_ACCESS_KEY_ID": everyday.access_key_id,
        "AWS_SECRET_ACCESS_KEY": everyday.secret_access_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _attempts(folder: Path, environment: Mapping[str, str], redact: Redactor) -> Iterator[tuple[str, str, str]]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "holdfast.demo.attempts"],
        cwd=folder,
        env=dict(environment),
        input=json.dumps({"buckets": [GLOBAL_BUCKET, PROJECT_BUCKET]}),
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        said = redact(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it said nothing")
        raise ServerError(f"The attempts ended with {done.returncode}: {said}", "run it again with HOLDFAST_DEBUG=1")
    for line in done.stdout.splitlines():
        found = json.loads(line)
        yield found["who"], found["bucket"], found["seen"]


def _short(account: Account) -> str:
    return f"key {account.access_key_id[:4]}…{account.access_key_id[-4:]}"
