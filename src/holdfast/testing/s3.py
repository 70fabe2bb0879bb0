"""An S3 server that checks who is asking: wrong secrets, unknown keys and foreign buckets are refused.

It is moto in a process of its own, with IAM switched on: signatures are verified and policies
hold. It does not verify checksums or the signature of presigned URLs.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from holdfast.core.uris import MASK
from holdfast.errors import MissingDependencyError, ServerError
from holdfast.server.diagnosis import last_lines
from holdfast.server.ports import free_port
from holdfast.server.processes import ProcessGroup
from holdfast.server.service import Service

REGION = "us-east-1"
_PASSED_ON = ("PATH", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
_POLL_S = 0.05


@dataclass(frozen=True)
class Account:
    """A user of the S3 server with one pair of keys.

    Attributes:
        name: The user's name.
        access_key_id: Its access key.
        secret_access_key: Its secret key.
        buckets: The buckets it may use.
    """

    name: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    buckets: tuple[str, ...] = ()


@dataclass(frozen=True)
class S3Access:
    """Where a running S3 server is, and the keys that may do everything there.

    Attributes:
        endpoint_url: Its base URL.
        admin: An account that may do everything.
    """

    endpoint_url: str
    admin: Account

    def add_account(self, name: str, buckets: Sequence[str] = (), denied_actions: Sequence[str] = ()) -> Account:
        """Make a user that may do everything in `buckets`, made where missing, and nothing elsewhere.

        Args:
            name: The user's name; must be new.
            buckets: Names of its buckets; several accounts may share one.
            denied_actions: What it may not do even there, such as `s3:DeleteObject`.
        """
        s3, iam = self.client(), self._client_for("iam", self.admin)
        existing = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
        for bucket in buckets:
            if bucket not in existing:
                s3.create_bucket(Bucket=bucket)
        return _make_user(iam, name, buckets, _policy(buckets, denied_actions))

    def client(self, account: Account | None = None) -> Any:
        """Return a boto3 S3 client with the keys of `account`, or the administrator's.

        Nothing of the environment or of `~/.aws` goes into it.
        """
        return self._client_for("s3", account or self.admin)

    def _client_for(self, service: str, account: Account) -> Any:
        return _client(service, self.endpoint_url, account.access_key_id, account.secret_access_key)


class S3Server(Service):
    """A process that serves S3 on a free loopback port, from memory.

        with S3Server() as server:
            mine = server.add_account("mine", buckets=["models"])

    Args:
        timeout_s: How long its start may take.
    """

    def __init__(self, timeout_s: float = 60.0) -> None:
        self._timeout_s = timeout_s
        self._access: S3Access | None = None
        self._group: ProcessGroup | None = None
        self._cleanup: weakref.finalize[Any, Any] | None = None

    @property
    def access(self) -> S3Access:
        """Its address and administrator.

        Raises:
            ServerError: It is not started.
        """
        if self._access is None:
            raise ServerError("The S3 server is not started.", "call start(), or use it in a with statement")
        return self._access

    @property
    def endpoint_url(self) -> str:
        """Its base URL."""
        return self.access.endpoint_url

    def add_account(self, name: str, buckets: Sequence[str] = (), denied_actions: Sequence[str] = ()) -> Account:
        """Make a user limited to its buckets; see `S3Access.add_account`."""
        return self.access.add_account(name, buckets, denied_actions)

    def client(self, account: Account | None = None) -> Any:
        """Return a boto3 S3 client of `account`, or of the administrator."""
        return self.access.client(account)

    def start(self) -> None:
        """Start it; it answers, and refuses strangers, when this returns.

        Raises:
            MissingDependencyError: moto's server is not installed.
            ServerError: It runs already, or did not come up.
        """
        if self._access is not None:
            raise ServerError(f"The S3 server at {self.endpoint_url} is running already.", "call stop() first")
        if find_spec("moto") is None or find_spec("flask_cors") is None:
            raise MissingDependencyError("The S3 server needs moto.", "pip install 'holdfast[testing]'")
        port = free_port()
        command = [sys.executable, "-P", "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
        self._group = ProcessGroup(command, _environment())
        self._cleanup = weakref.finalize(self, self._group.stop, grace_s=2.0)
        try:
            self._group.start()
            self._wait_for_answer(port)
            self._access = _lock_up(port)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it; all its objects are gone. May be called twice."""
        self._access = None
        if self._cleanup is not None:
            self._cleanup()

    def _wait_for_answer(self, port: int) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not _answers(port):
            if self._group is None or self._group.poll() is not None or time.monotonic() > deadline:
                said = last_lines(self._group.output()) if self._group else ""
                raise ServerError(f"The S3 server did not come up on port {port}:\n{said}", retryable=True)
            self._group.wait(_POLL_S)


def _environment() -> Mapping[str, str]:
    inherited = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # So many calls are free: enough to make the administrator. `_lock_up` then ends that.
    return inherited | {"INITIAL_NO_AUTH_ACTION_COUNT": "1000000", "PYTHONUNBUFFERED": "1"}


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return _call(port, "GET", "/moto-api/data.json") == 200
    return False


def _call(port: int, method: str, path: str, body: str | None = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def _lock_up(port: int) -> S3Access:
    """Make the administrator while nobody is checked; from then on everybody is."""
    url = f"http://127.0.0.1:{port}"
    allow_all = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    admin = _make_user(_client("iam", url, "nobody", MASK), "administrator", (), allow_all)
    status = _call(port, "POST", "/moto-api/reset-auth", "0")
    if status != 200:
        raise ServerError(f"The S3 server does not switch its access control on: {status}.", "upgrade moto")
    return S3Access(url, admin)


def _make_user(iam: Any, name: str, buckets: Sequence[str], policy: Mapping[str, object]) -> Account:
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="own-buckets", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Account(name, key["AccessKeyId"], key["SecretAccessKey"], tuple(buckets))


def _policy(buckets: Sequence[str], denied_actions: Sequence[str]) -> dict[str, object]:
    resources = [arn for name in buckets for arn in (f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*")]
    statements: list[dict[str, object]] = []
    if resources:
        statements.append({"Effect": "Allow", "Action": "s3:*", "Resource": resources})
    if denied_actions or not statements:
        statements.append({"Effect": "Deny", "Action": list(denied_actions) or "*", "Resource": "*"})
    return {"Version": "2012-10-17", "Statement": statements}


def _client(service: str, endpoint_url: str, access_key_id: str, secret_access_key: str) -> Any:
    """Return a client that neither environment nor `~/.aws` (a missing AWS_PROFILE, say) has a say in."""
    import boto3
    import botocore.session
    from botocore.config import Config

    quiet: dict[str, Any] = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
    }
    session = boto3.session.Session(
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        region_name=REGION,
        botocore_session=botocore.session.Session(session_vars=quiet),
    )
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}, proxies={})
    make: Any = session.client
    return make(service, endpoint_url=endpoint_url, config=config)
