"""Files of this machine that are to be stored: regular ones, for a pipe or a device may never end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from holdfast.errors import ArtifactError

_KINDS = (
    (stat.S_ISDIR, "a folder", "store it with log_artifacts, or give the path of a file"),
    (stat.S_ISFIFO, "a pipe", "write what comes out of it to a file, and store that"),
    (stat.S_ISSOCK, "a socket", "leave it out: a socket holds nothing that can be stored"),
    (stat.S_ISCHR, "a device", "write what is to be kept of it to a file, and store that"),
    (stat.S_ISBLK, "a device", "write what is to be kept of it to a file, and store that"),
)


def look_at(local: Path) -> os.stat_result:
    """Return what the system says of a file, before anybody opens it.

    Raises:
        ArtifactError: There is none, it cannot be reached, or it is no regular file.
    """
    try:
        found = os.stat(local)
    except OSError as error:
        raise unreadable(local, error) from None
    _check_kind(local, found)
    return found


def open_source(local: Path) -> int:
    """Return the descriptor of a file that was looked at, open for reading; a pipe in its place is not waited for.

    Raises:
        ArtifactError: It is gone, it cannot be read, or it is no regular file.
    """
    try:
        descriptor = os.open(local, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise (unreadable(local, error) if os.path.lexists(local) else deleted(local)) from None
    try:
        _check_kind(local, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def unreadable(local: Path, error: OSError) -> ArtifactError:
    """Return the error for a file that cannot be read."""
    if isinstance(error, FileNotFoundError) and os.path.islink(local):
        return ArtifactError(
            f"The artifact {local} is a link that leads nowhere.", "mend the link, or leave it out", code="NoSuchFile"
        )
    if error.errno == errno.ENXIO:  # what opening a socket says
        return _no_file(local, "a socket", _KINDS[2][2])
    hint = {
        errno.ENOENT: "give the path of a file that exists",
        errno.EACCES: "make the file readable",
        errno.EPERM: "make the file readable",
        errno.ELOOP: "mend the link: it leads to itself",
    }.get(error.errno or 0, "see to the disk that it is on")
    return ArtifactError(f"Cannot read the artifact {local}: {error.strerror or error}.", hint)


def deleted(local: Path) -> ArtifactError:
    """Return the error for a file that was there when the call began."""
    return ArtifactError(
        f"The artifact {local} was deleted during the call.",
        "keep it until the call returns, or delete it before",
        code="FileChanged",
    )


def _check_kind(local: Path, found: os.stat_result) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    name, hint = next(((name, hint) for is_it, name, hint in _KINDS if is_it(found.st_mode)), ("no file", ""))
    raise _no_file(local, name, hint)


def _no_file(local: Path, kind: str, hint: str) -> ArtifactError:
    return ArtifactError(f"The artifact {local} is {kind}.", hint, code="NoRegularFile")
