"""What can be said of a folder's disk: whether it takes a file, what kind it is, and how much room is left."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

# File systems over a network, whose locks are not those of a local disk, or are none.
_OVER_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|afs|ncpfs|9p|davfs|fuse\.(sshfs|s3fs|gcsfuse|rclone|davfs|glusterfs|ceph.*|mount-s3)"
)
_MOUNTS = Path("/proc/self/mounts")


class Room(NamedTuple):
    """The room on a disk, in bytes."""

    free_bytes: int
    size_bytes: int


def existing(path: Path) -> Path:
    """Return a path, or the nearest folder above it that exists."""
    absolute = path.absolute()
    return next((one for one in (absolute, *absolute.parents) if one.exists()), Path("/"))


def why_not_writable(folder: Path) -> str:
    """Return why no file can be made in a folder, or an empty text.

    It is tried, with a file that has no name: neither a folder's bits nor the user's rights tell, for it may be
    mounted read-only.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def room_on(folder: Path) -> Room:
    """Return the room that this user has on a folder's disk.

    Raises:
        OSError: The folder is not there.
    """
    found = os.statvfs(folder)
    return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def file_system_of(folder: Path) -> str:
    """Return the kind of file system that a folder is on, such as `ext4`; an empty text where the system tells none."""
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:
        return ""
    path, best, kind = folder.resolve(), -1, ""
    for fields in (line.split(" ") for line in lines):
        mount = Path(fields[1].encode().decode("unicode_escape")) if len(fields) > 2 else None
        # Of two mounts at one place, the later hides the earlier.
        if mount is not None and path.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), fields[2]
    return kind


def is_over_network(kind: str) -> bool:
    """Whether a kind of file system is one over a network."""
    return _OVER_NETWORK.fullmatch(kind) is not None


def shown_size(size_bytes: float) -> str:
    """Return a size for people."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:,.0f} {unit}" if unit == "bytes" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def shown_age(seconds: float) -> str:
    """Return a length of time for people."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
