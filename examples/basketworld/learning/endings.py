"""How a training ends: what is said of a full disk, and what becomes of a signal."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.training.lightning.signals import Interrupted

_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES})


@contextlib.contextmanager
def disk_told(folder: Path) -> Iterator[None]:
    """Say plainly that the disk takes no more."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise HoldfastError(
            f"The training's files cannot be written to {folder}: {error.strerror}.",
            "make room there; --resume last goes on from the last state that was saved",
        ) from error


@contextlib.contextmanager
def as_python_ends() -> Iterator[None]:
    """Make of a signal what Python makes of it, once the run is ended."""
    try:
        yield
    except Interrupted as error:
        raise error.as_exit() from None
