"""Writing to a project's own files: planned first, created or appended to, never rewritten, never through a link."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.errors import SettingsError

_COMMON_MODE = 0o666  # less the umask


@dataclass(frozen=True)
class Step:
    """One file's part of the plan.

    Attributes:
        path: The file.
        action: `create`, `append`, or `keep`.
        reason: Why, for people.
        text: What is written.
        mode: The permissions of a new file.
    """

    path: Path
    action: str
    reason: str
    text: str = field(default="", repr=False)
    mode: int = _COMMON_MODE


def apply_steps(steps: list[Step]) -> None:
    """Carry out the steps; each file is on the disk when this returns.

    Raises:
        SettingsError: A file cannot be written, or appeared since the plan was made.
    """
    for step in steps:
        try:
            if step.action != "keep":
                _write(step)
        except OSError as error:
            raise SettingsError(
                f"{step.path} cannot be written: {error.strerror}.",
                f"see `ls -ld {step.path.parent}`, then run `holdfast init` again",
            ) from None


def _write(step: Step) -> None:
    is_new = step.action == "create"
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if is_new else os.O_APPEND)
    descriptor = os.open(step.path, flags, step.mode)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        size = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, step.text.encode())
            os.fsync(descriptor)
        except OSError:
            file.truncate(size)  # a full disk leaves no half block behind
            raise


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def existing_text(path: Path) -> str | None:
    """Return the text of a file, or None where there is none.

    Raises:
        SettingsError: It is a link, a folder, or no UTF-8 text.
    """
    if path.is_symlink():
        raise SettingsError(
            f"{path} is a link; nothing is written through it.",
            f"{_unlink_command(path)}; then run `holdfast init` again",
        )
    if path.is_dir():
        raise SettingsError(f"{path} is a folder (a virtual environment?), not a file.", f"rename it: mv {path} .venv")
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(f"{path} cannot be read: {reason}.", f"see `ls -l {path}`") from None


def _unlink_command(path: Path) -> str:
    target = os.path.realpath(path)
    if not os.path.exists(target):
        return f"the link leads nowhere: rm {shlex.quote(str(path))}"
    return f"make it a file of its own: cp --remove-destination {shlex.quote(target)} {shlex.quote(str(path))}"


def appended(path: Path, before: str, block: str, reason: str) -> Step:
    """Return the step that puts `block` at the end, in the file's own line ends and after a whole line."""
    gap = "" if not before or before.endswith("\n") else "\n"
    text = gap + block
    return Step(path, "append", reason, text.replace("\n", "\r\n") if "\r\n" in before else text)
