"""How a fetched file comes to stand under its name: whole or not at all, and nowhere but below its folder."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from holdfast.errors import ArtifactError

# MLflow's local repository lists no files of this prefix, so half a file is seen by neither of us.
PART_PREFIX = ".artifact.uploading."
_REMEDIES = {
    errno.ENOSPC: "free space on the disk",
    errno.EDQUOT: "free space: the disk quota is used up",
    errno.EACCES: "make the folder writable, and the file readable",
    errno.EPERM: "make the folder writable, and the file readable",
    errno.EROFS: "choose a folder on a disk that can be written",
    errno.ENAMETOOLONG: "choose shorter names",
    errno.EISDIR: "a folder has the name of a file: rename one",
    errno.ENOTDIR: "a file has the name of a folder: rename one",
    errno.EEXIST: "a file has the name of a folder: rename one",
    errno.ENOENT: "give the path of a file that exists",
}
_RETRYABLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE)


def target_in(into: Path, path: str) -> Path:
    """Return where a stored path lies below a folder.

    Raises:
        ArtifactError: It would lie elsewhere, because it is absolute or holds `..`; whoever wrote it is not trusted.
    """
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or "\0" in path:
        raise ArtifactError(
            f"The stored path {path!r} leads out of the folder {into} and is not fetched.",
            "rename it in the store; nobody names a file so by mistake",
        )
    return into.joinpath(*parts)


@dataclass
class Landing:
    """A file that is being written.

    Attributes:
        handle: Its descriptor, for reading and writing.
        is_wanted: Whether it shall stand under its name in the end.
    """

    handle: int
    is_wanted: bool = True

    def write(self, chunk: Any, at: int) -> None:
        """Write all of `chunk` at a place."""
        view = memoryview(chunk)
        while view:
            count = os.pwrite(self.handle, view, at)
            view, at = view[count:], at + count

    def read(self, at: int, size_bytes: int) -> bytes:
        """Return what was written at a place."""
        return os.pread(self.handle, size_bytes, at)


@contextmanager
def landing(target: Path) -> Iterator[Landing]:
    """Give a new file, which stands under `target` if the block ends well and it is wanted, and is gone if not.

    A killed process leaves a hidden file with a name of its own, never one called `target`.
    """
    # Not after the target: its name may have the greatest length already.
    part = f"{target.parent}/{PART_PREFIX}{secrets.token_hex(8)}"
    landed = Landing(_new_file(part))
    try:
        try:
            yield landed
        finally:
            os.close(landed.handle)
        if landed.is_wanted:
            os.replace(part, target)
    except BaseException:
        landed.is_wanted = False
        raise
    finally:
        if not landed.is_wanted:
            with suppress(OSError):
                os.unlink(part)


def _new_file(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o666)


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Translate the errors of the local disk.

    Args:
        what: `Cannot store x`; begins the message.
    """
    try:
        yield
    except (ConnectionError, TimeoutError):  # of the network
        raise
    except OSError as error:
        said = error.strerror or type(error).__name__
        where = f" ({error.filename})" if error.filename else ""
        number = error.errno or 0
        raise ArtifactError(
            f"{what}: {said}{where}.",
            _REMEDIES.get(number, ""),
            retryable=number in _RETRYABLE,
            code=errno.errorcode.get(number, ""),
        ) from None
