"""How a training ends: what is noted of it, what is said of a full disk, and what becomes of a signal."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.lifecycle import status_for
from holdfast.training.lightning.signals import Interrupted
from holdfast.training.resume import point_to

_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES})


@contextlib.contextmanager
def noted(output_dir: Path, run_id: str) -> Iterator[None]:
    """Note the run, and how it ended, where `--resume` looks."""
    point_to(output_dir, run_id, "RUNNING")
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except BaseException as error:
        status = status_for(type(error), error)
        raise
    finally:
        # On a full disk it stays RUNNING there, which `--resume` goes on with, too.
        with contextlib.suppress(OSError):
            point_to(output_dir, run_id, status)


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
