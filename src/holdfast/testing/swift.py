"""An S3 server that checks what arrives: OpenStack Swift with its S3 API.

Signatures, payload hashes, `Content-MD5` and every `x-amz-checksum-*` are verified, in multipart uploads too, and
conditions (`If-None-Match`) hold. It knows no policies, tags, encryption or lifecycle rules, and answers an unknown
key as it does a wrong secret. Listings may lag a moment behind what was deleted.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from holdfast.errors import MissingDependencyError, ServerError
from holdfast.testing._served import HOST, Account, ServedProcess, free_ports, make_account, make_client

_PROBED = "user.swift.metadata"


@dataclass(frozen=True)
class SwiftAccess:
    """Where a running Swift server is. Each account has buckets of its own, which for the others do not exist.

    Attributes:
        endpoint_url: Its base URL.
        users: The folder in which it looks for its users.
    """

    endpoint_url: str
    users: str

    def add_account(self, name: str, buckets: Sequence[str] = ()) -> Account:
        """Make a user, and its buckets.

        Args:
            name: The user's name; who has the same one sees the same buckets.
            buckets: Names of buckets that are made where missing.
        """
        account = make_account(name, buckets)
        fd = os.open(Path(self.users, account.access_key_id), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump({"account": account.name, "secret": account.secret_access_key}, file)
        s3 = self.client(account)
        for bucket in buckets:
            s3.create_bucket(Bucket=bucket)
        return account

    def client(self, account: Account) -> Any:
        """Return a boto3 S3 client with the keys of `account`; nothing of the environment goes into it."""
        return make_client("s3", self.endpoint_url, account)


class SwiftServer(ServedProcess[SwiftAccess]):
    """Four processes (proxy, account, container, object) that serve S3 on a free loopback port, from a folder.

        with SwiftServer() as server:
            mine = server.add_account("mine", buckets=["models"])

    Swift keeps its metadata in extended attributes of files. Where the temporary folder's file system has none (a
    tmpfs of a Linux before 6.6), its files go to the first of /var/tmp, the working directory and the home directory
    that has. It runs on Linux, needs no root, and takes no account of its own from the machine.

    Args:
        timeout_s: How long its start may take.
    """

    _name = "Swift server"

    @property
    def endpoint_url(self) -> str:
        """Its base URL."""
        return self.access.endpoint_url

    def add_account(self, name: str, buckets: Sequence[str] = ()) -> Account:
        """Make a user with buckets of its own; see `SwiftAccess.add_account`."""
        return self.access.add_account(name, buckets)

    def client(self, account: Account) -> Any:
        """Return a boto3 S3 client of `account`."""
        return self.access.client(account)

    def _check_installed(self) -> None:
        if sys.platform != "linux" or find_spec("swift") is None:
            raise MissingDependencyError("The Swift server needs Linux and swift.", "pip install 'holdfast[testing]'")

    def _make_folder(self) -> Path:
        for parent in (tempfile.gettempdir(), "/var/tmp", os.getcwd(), Path.home()):  # noqa: S108
            if os.access(parent, os.W_OK) and _has_attributes(parent):
                return Path(tempfile.mkdtemp(prefix="hf-swift-", dir=parent))
        raise ServerError(
            "No temporary folder supports extended attributes, which Swift needs.",
            "set TMPDIR to a folder on ext4, XFS or Btrfs",
        )

    def _run(self, folder: Path) -> SwiftAccess:
        ports = free_ports(4)
        users = folder / "users"
        users.mkdir(mode=0o700)
        command = [sys.executable, "-P", "-m", "holdfast.testing._swift_process", str(folder), *map(str, ports)]
        self._serve(folder, command, ports, {"HOME": str(folder), "PYTHONUNBUFFERED": "1"})
        return SwiftAccess(f"http://{HOST}:{ports[0]}", str(users))


def _has_attributes(folder: str | Path) -> bool:
    """Whether files in a folder can have extended attributes."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        try:
            os.setxattr(file.name, _PROBED, b"probe")
        except OSError as error:
            if error.errno in (errno.ENOTSUP, errno.EPERM):
                return False
            raise
        return True
