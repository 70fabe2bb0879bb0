"""What the S3 servers of this package share: a process with a folder, waited for until it answers, and its clients."""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import shutil
import tempfile
import time
import weakref
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from holdfast.errors import ServerError
from holdfast.server.diagnosis import last_lines
from holdfast.server.ports import free_port
from holdfast.server.processes import ProcessGroup
from holdfast.server.service import Service

REGION = "us-east-1"
HOST = "127.0.0.1"
_PASSED_ON = ("PATH", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
_POLL_S = 0.05
A = TypeVar("A")


@dataclass(frozen=True)
class Account:
    """A user of an S3 server with one pair of keys.

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


class ServedProcess(Service, Generic[A]):
    """A server that listens on free loopback ports and keeps its files in a temporary folder.

    Args:
        timeout_s: How long its start may take.
    """

    _name: ClassVar[str]

    def __init__(self, timeout_s: float = 60.0) -> None:
        self._timeout_s = timeout_s
        self._access: A | None = None
        self._cleanup: weakref.finalize[Any, Any] | None = None

    @property
    def access(self) -> A:
        """How to reach it: a plain value that other processes may be given.

        Raises:
            ServerError: It is not started.
        """
        if self._access is None:
            raise ServerError(f"The {self._name} is not started.", "call start(), or use it in a with statement")
        return self._access

    def start(self) -> None:
        """Start it; it answers, and refuses strangers, when this returns.

        Raises:
            MissingDependencyError: The server is not installed.
            ServerError: It runs already, or did not come up.
        """
        if self._access is not None:
            raise ServerError(f"The {self._name} is running already.", "call stop() first")
        self._check_installed()
        folder = self._make_folder()
        self._cleanup = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        try:
            self._access = self._run(folder)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it; all its objects are gone. May be called twice."""
        self._access = None
        if self._cleanup is not None:
            self._cleanup()

    @abstractmethod
    def _check_installed(self) -> None:
        """Raise MissingDependencyError where the server is not installed."""

    @abstractmethod
    def _run(self, folder: Path) -> A:
        """Start the processes by `_serve`; return how to reach them."""

    def _make_folder(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="hf-s3-"))

    def _serve(self, folder: Path, command: Sequence[str], ports: Sequence[int], env: Mapping[str, str]) -> None:
        """Run a command until every one of its ports answers HTTP; `stop` ends it and removes the folder."""
        inherited = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        group = ProcessGroup(command, {**inherited, **env})
        if self._cleanup is not None:
            self._cleanup.detach()
        self._cleanup = weakref.finalize(self, _end, group, folder)
        group.start()
        deadline = time.monotonic() + self._timeout_s
        while not all(map(_answers, ports)):
            if group.poll() is not None or time.monotonic() > deadline:
                said = last_lines(group.output())
                raise ServerError(f"The {self._name} did not come up on port {ports[0]}:\n{said}", retryable=True)
            group.wait(_POLL_S)


def _end(group: ProcessGroup, folder: Path) -> None:
    group.stop(grace_s=2.0)
    shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return call(port, "GET", "/") > 0
    return False


def call(port: int, method: str, path: str, body: str | None = None) -> int:
    """Return the status with which a server on this machine answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def free_ports(count: int) -> list[int]:
    """Return different ports on which nothing listens."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port(HOST))
    return sorted(found)


def make_account(name: str, buckets: Sequence[str] = ()) -> Account:
    """Return a user with keys that nobody else has; the server has to be told of it."""
    return Account(name, f"HOLD{secrets.token_hex(8).upper()}", secrets.token_hex(20), tuple(buckets))


def make_client(service: str, endpoint_url: str, account: Account, ca_bundle: str | None = None) -> Any:
    """Return a boto3 client that neither environment nor `~/.aws` (a missing AWS_PROFILE, say) has a say in.

    Args:
        service: `s3`, `iam`, `sts` …
        endpoint_url: The server.
        account: Whose keys it signs with.
        ca_bundle: The file with the certificates that the server's is checked with, where it is not a usual one.
    """
    import boto3
    import botocore.session
    from botocore.config import Config

    quiet: dict[str, Any] = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
    }
    core = botocore.session.Session(session_vars=quiet)
    core.register_component("data_loader", _loader())
    session = boto3.session.Session(
        aws_access_key_id=account.access_key_id,
        aws_secret_access_key=account.secret_access_key,
        region_name=REGION,
        botocore_session=core,
    )
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}, proxies={})
    make: Any = session.client
    return make(service, endpoint_url=endpoint_url, config=config, verify=ca_bundle)


@cache
def _loader() -> Any:
    """Return what reads the descriptions of AWS's services, once for all clients: it takes most of their time."""
    import botocore.loaders

    return botocore.loaders.create_loader()
