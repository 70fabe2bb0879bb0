"""Plans of clean-ups in files: written whole or not at all, for their owner's eyes, and never over something else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.core.cleanup.plan import Plan

_BEGINNING = b'{"plan": "holdfast gc plan"'
_MODE = 0o600


def check_target(name: str) -> None:
    """Refuse a file that a plan must not take the place of; `-` is standard output.

    Raises:
        InvalidInputError: It is a folder, or holds something else, or its folder is missing.
        ArtifactError: It cannot be read.
    """
    from holdfast.artifacts.landing import disk_errors
    from holdfast.errors import InvalidInputError

    path = Path(name)
    if name == "-":
        return
    if not name.strip() or path.is_dir():
        raise InvalidInputError(f"--plan {name!r} is a folder, and no file.", "give --plan the name of a file")
    if not path.parent.is_dir():
        raise InvalidInputError(
            f"{path} cannot be written: there is no folder {path.parent}.", "make it, or give --plan another file"
        )
    with disk_errors(f"Cannot read {path}"):
        is_other = path.is_file() and _beginning(path) not in (b"", _BEGINNING)
    if is_other:
        raise InvalidInputError(
            f"{path} is there and is no plan of a clean-up; it is left as it is.", "give --plan another file"
        )


def write_plan(name: str, plan: Plan) -> None:
    """Write a plan; it is on the disk when this returns, and nobody but its owner may read it.

    Raises:
        InvalidInputError: As of `check_target`.
        ArtifactError: The disk is full, or the folder cannot be written.
    """
    from holdfast.artifacts.landing import disk_errors
    from holdfast.core.cleanup.plan import to_text

    text = to_text(plan)
    if name == "-":
        sys.stdout.write(text)
        return
    check_target(name)  # once more: the survey may have taken long
    path = Path(name)
    with disk_errors(f"Cannot write {path}"):
        if path.exists() and not path.is_file():  # a device or a pipe is written to as it is
            path.write_text(text, encoding="ascii")
            return
        _replace(path.resolve(), text.encode("ascii"))


def _replace(path: Path, content: bytes) -> None:
    import os
    import tempfile

    handle, part = tempfile.mkstemp(prefix=".holdfast-plan-", dir=path.parent)  # made for its owner alone
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), _MODE)
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_plan(name: str) -> Plan:
    """Read a plan; `-` is standard input.

    Raises:
        InvalidInputError: There is no such file, or it is no plan, or it was cut or edited.
        ArtifactError: It cannot be read.
    """
    from holdfast.artifacts.landing import disk_errors
    from holdfast.core.cleanup.plan import from_text
    from holdfast.errors import InvalidInputError

    if name == "-":
        return from_text(sys.stdin.buffer.read().decode("utf-8", "replace"))
    path = Path(name)
    if not path.exists() or path.is_dir():
        raise InvalidInputError(f"There is no plan {name!r}.", f"make one: holdfast gc --plan {name or 'FILE'}")
    with disk_errors(f"Cannot read {path}"):
        content = path.read_bytes()
    return from_text(content.decode("utf-8", "replace"))


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_BEGINNING))
