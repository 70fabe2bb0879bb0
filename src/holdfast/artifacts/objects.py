"""Small files that are written once: whoever comes second does not change them."""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.artifacts.landing import PART_PREFIX, disk_errors, target_in
from holdfast.artifacts.transfer import FileStore, Item
from holdfast.core.uris import file_uri, normalize_artifact_root

if TYPE_CHECKING:
    from holdfast.artifacts.s3 import S3Files

# File systems without hard links say so in one of these ways.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def put_in_bucket(files: S3Files, root_uri: str, path: str, content: bytes, stop: threading.Event | None) -> bool:
    """Store a file in S3; see `ArtifactStore.put_once`."""
    from holdfast.artifacts.s3.once import put_once

    return put_once(files.connection, root_uri, path, content, stop)


def put_in_folder(root_uri: str, path: str, content: bytes) -> bool:
    """Store a file below a folder, whole and on the disk when this returns; see `ArtifactStore.put_once`.

    A link to a finished file is made, which fails where there is one of that name. A file system without links gets
    the file itself, so that a crash of the machine may leave a part of it.
    """
    target = target_in(Path(normalize_artifact_root(root_uri)), path)
    with disk_errors(f"Cannot store {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.parent / f"{PART_PREFIX}{secrets.token_hex(8)}"
        try:
            _write_new(part, content)
            return _link(part, target, content)
        finally:
            with suppress(OSError):
                part.unlink()
            _sync_folder(target.parent)


def put_elsewhere(files: FileStore, root_uri: str, path: str, content: bytes) -> bool:
    """Store a file where there is no conditional write, whatever stands there; see `ArtifactStore.put_once`."""
    with tempfile.TemporaryDirectory(prefix="holdfast-put-") as folder:
        local = Path(folder) / path.rpartition("/")[2]
        local.write_bytes(content)
        files.upload([Item(local, file_uri(root_uri, path))])
    return True


def _write_new(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _link(part: Path, target: Path, content: bytes) -> bool:
    try:
        os.link(part, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            _write_new(target, content)
        except FileExistsError:
            return False
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
