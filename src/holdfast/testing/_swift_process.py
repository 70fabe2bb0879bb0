"""The processes of a Swift server.

    python -P -m holdfast.testing._swift_process FOLDER PROXY ACCOUNT CONTAINER OBJECT

`FOLDER` is empty but for `users`; the others are the ports that the four servers listen on, at 127.0.0.1.
They are forked after everything is imported, which makes four servers in little more than the memory of one, and stay
in this process's group, so that whoever ends the group ends them. When one of them ends, so do the others.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

_HOST = "127.0.0.1"
_KINDS = ("account", "container", "object")
_SERVER = """
[DEFAULT]
bind_ip = {host}
bind_port = {port}
workers = 0
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
fallocate_reserve = 0
log_address = {folder}/nowhere
log_level = WARNING
"""
_STORAGE = (
    _SERVER
    + """
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
)
# Of what a proxy needs, Swift adds catch_errors, gatekeeper, listing_formats and dlo by itself. S3 allows
# 10,000 parts.
_PROXY = (
    _SERVER
    + """
[pipeline:main]
pipeline = s3api tempauth copy slo versioned_writes symlink proxy-server
[filter:s3api]
use = egg:swift#s3api
max_upload_part_num = 10000
[filter:tempauth]
use = call:holdfast.testing._swift_process:make_authentication
users = {folder}/users
[filter:copy]
use = egg:swift#copy
[filter:symlink]
use = egg:swift#symlink
[filter:slo]
use = egg:swift#slo
max_manifest_segments = 10000
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
"""
)
_COMMON = """
[swift-hash]
swift_hash_path_prefix = holdfast
swift_hash_path_suffix = holdfast
"""


class _Users(Mapping[str, dict[str, Any]]):
    """The users of Swift's tempauth by access key: a file for each, so that more can come while it runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, access_key_id: str) -> dict[str, Any]:
        if not access_key_id.isalnum():
            raise KeyError(access_key_id)
        try:
            user = json.loads((self._folder / access_key_id).read_text())
        except FileNotFoundError:
            raise KeyError(access_key_id) from None
        return {"key": user["secret"], "url": f"$HOST/v1/AUTH_{user['account']}", "groups": [".admin"]}

    def __iter__(self) -> Iterator[str]:
        return (path.name for path in self._folder.iterdir())

    def __len__(self) -> int:
        return len(list(self._folder.iterdir()))


def make_authentication(global_conf: Mapping[str, str], users: str, **conf: str) -> Any:
    """Return Swift's tempauth over a folder of users; Paste calls it for the `tempauth` of the proxy's pipeline."""
    from swift.common.middleware.tempauth import TempAuth

    def wrap(app: Any) -> Any:
        auth = TempAuth(app, {**global_conf, **conf})
        auth.users = _Users(Path(users))
        return auth

    return wrap


def _make_rings(folder: Path, ports: Mapping[str, int]) -> None:
    from swift.common.ring import RingBuilder

    for kind in _KINDS:
        builder = RingBuilder(part_power=2, replicas=1, min_part_hours=0)
        place = {"region": 1, "zone": 1, "ip": _HOST, "port": ports[kind], "device": "disk", "weight": 1.0}
        builder.add_dev({"id": 0, "meta": "", "replication_ip": _HOST, "replication_port": ports[kind], **place})
        builder.rebalance()
        builder.get_ring().save(str(folder / f"{kind}.ring.gz"))
    (folder / "devices" / "disk").mkdir(parents=True)


def _serve(kind: str, settings: Path) -> int:
    from swift.common import wsgi

    # It would leave the group, and not end with it.
    wsgi.clean_up_daemon_hygiene = lambda: os.umask(0o077)
    return int(wsgi.run_wsgi(str(settings), f"{kind}-server", verbose=True))


def _fork(kind: str, settings: Path) -> None:
    if os.fork() == 0:
        try:
            os._exit(_serve(kind, settings))
        finally:
            os._exit(1)


def main(folder: Path, ports: Mapping[str, int]) -> int:
    """Run the four servers until one of them ends; return the exit code, which says that this is a failure."""
    for name in ("proxy.server", "account.server", "container.server", "obj.server"):
        import_module(f"swift.{name}")
    (folder / "swift.conf").write_text(_COMMON)
    _make_rings(folder, ports)
    for kind, port in ports.items():
        template = _PROXY if kind == "proxy" else _STORAGE
        settings = folder / f"{kind}.conf"
        settings.write_text(template.format(host=_HOST, port=port, folder=folder, kind=kind))
        _fork(kind, settings)
    os.wait()
    os.killpg(0, signal.SIGTERM)
    return 1


if __name__ == "__main__":
    numbers = dict(zip(("proxy", *_KINDS), map(int, sys.argv[2:]), strict=True))
    sys.exit(main(Path(sys.argv[1]), numbers))
