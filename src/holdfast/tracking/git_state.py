"""What git says of the code that runs: asked quickly, without locks, hooks or the project's keys; never an error."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_LIMIT_S = 2.0
_STATUS_S = 1.5
_DIFF_S = 30.0
_READ_BYTES = 1 << 20
# What git needs of the environment. Keys and a hook's GIT_DIR stay out of it.
_PASSED_ON = ("PATH", "HOME", "XDG_CONFIG_HOME", "USERPROFILE", "SYSTEMROOT", "TMPDIR")
# Where runs and their files lie by default: they are no code, and come to be by logging.
_OWN = {"mlflow.db", "mlflow.db-journal", "mlflow.db-wal", "mlflow.db-shm", "mlartifacts", "mlruns", ".holdfast"}
# What may hold keys: named where it was changed, never read.
PRIVATE_FILES = (".env", ".env.*", "*.pem", "*.key", ".netrc", ".pgpass", "id_rsa", "id_ed25519", "credentials")


@dataclass(frozen=True)
class GitState:
    """The state of a working tree.

    Attributes:
        commit: The commit that is checked out; empty before the first.
        branch: Its branch; empty where none is checked out.
        author: Who would be the author of a commit, `Name <address>`; empty where nobody is configured.
        dirty: Whether anything differs from the commit; None where git took too long to say.
        changed: Paths of tracked files that differ, from the repository's root.
        untracked: Paths of files and folders that are in no commit and not ignored.
    """

    commit: str
    branch: str
    author: str
    dirty: bool | None
    changed: tuple[str, ...] = ()
    untracked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diff:
    """Uncommitted changes of tracked files.

    Attributes:
        text: What was kept of them.
        sha256: Of all of them, kept or not.
        size_bytes: Of all of them.
    """

    text: str
    sha256: str
    size_bytes: int


class _GitFailedError(Exception):
    """Git is missing, took too long, or says no."""


_known: dict[tuple[int, str], GitState | None] = {}
_lock = threading.Lock()


def known_state() -> GitState | None:
    """Return the state of the working directory, asked once a process and directory: what the code was at its start.

    It takes two seconds at most; None where there is no repository or no git.
    """
    try:
        key = (os.getpid(), os.getcwd())
    except OSError:  # the folder is gone
        return None
    with _lock:
        if key not in _known:
            _known[key] = read_state(Path(key[1]))
        return _known[key]


def read_state(folder: Path) -> GitState | None:
    """Return the state of the working tree around a folder as it is now, or None; two seconds at most."""
    deadline_s = time.monotonic() + _LIMIT_S
    try:
        seen = _ask(folder, _STATUS, _STATUS_S)
    except subprocess.TimeoutExpired:
        return _read_head(folder, deadline_s)
    except _GitFailedError:
        return None
    commit, branch, changed, untracked = _parse_status(seen)
    return GitState(commit, branch, _author(folder, deadline_s), bool(changed or untracked), changed, untracked)


_STATUS = ("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal")


def _read_head(folder: Path, deadline_s: float) -> GitState | None:
    try:
        commit = _ask(folder, ("rev-parse", "--verify", "HEAD"), max(deadline_s - time.monotonic(), 0.1)).strip()
    except (subprocess.TimeoutExpired, _GitFailedError):
        return None
    return GitState(commit, "", "", None)


def _author(folder: Path, deadline_s: float) -> str:
    try:
        said = _ask(
            folder, ("config", "--get-regexp", r"^user\.(name|email)$"), max(deadline_s - time.monotonic(), 0.1)
        )
    except (subprocess.TimeoutExpired, _GitFailedError):
        return ""
    found = dict(line.partition(" ")[::2] for line in said.splitlines())
    address = f"<{found['user.email']}>" if found.get("user.email") else ""
    return f"{found.get('user.name', '')} {address}".strip()


def _parse_status(text: str) -> tuple[str, str, tuple[str, ...], tuple[str, ...]]:
    commit, branch = "", ""
    changed: list[str] = []
    untracked: list[str] = []
    entries = iter(text.split("\0"))
    for entry in entries:
        kind, _, rest = entry.partition(" ")
        if entry.startswith("# branch.oid "):
            commit = "" if entry.endswith("(initial)") else entry.rpartition(" ")[2]
        elif entry.startswith("# branch.head "):
            branch = "" if entry.endswith("(detached)") else entry.removeprefix("# branch.head ")
        elif kind in _FIELDS_BEFORE_PATH:
            changed.append(rest.split(" ", _FIELDS_BEFORE_PATH[kind])[-1])
            if kind == "2":
                next(entries, None)  # a renamed file's path before
        elif kind == "?" and not _is_apart(rest):
            untracked.append(rest)
    return commit, branch, tuple(changed), tuple(untracked)


# `1` changed, `2` renamed or copied, `u` unmerged: so many fields stand between the kind and the path.
_FIELDS_BEFORE_PATH = {"1": 7, "2": 8, "u": 9}


def _is_apart(path: str) -> bool:
    """Whether an untracked path is no code: a store of runs, or settings of this machine."""
    parts = PurePosixPath(path).parts
    return bool(_OWN & set(parts)) or parts[-1] == ".env" or parts[-1].startswith(".env.")


def read_diff(folder: Path, most_bytes: int) -> Diff | None:
    """Return the uncommitted changes around a folder, cut after so many bytes; None where git cannot say.

    Files that may hold keys are left out.
    """
    left_out = [f":(top,exclude,glob)**/{pattern}" for pattern in PRIVATE_FILES]
    command = ["diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color", "--", ":/", *left_out]
    with tempfile.TemporaryFile() as file:
        try:
            _run(folder, command, _DIFF_S, file.fileno())
        except (subprocess.TimeoutExpired, _GitFailedError):
            return None
        file.seek(0)
        kept = file.read(most_bytes)
        return Diff(kept.decode(errors="replace"), *_measured(file.fileno()))


def _measured(handle: int) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for chunk in _chunks(handle):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def _chunks(handle: int) -> Iterator[bytes]:
    at = 0
    while chunk := os.pread(handle, _READ_BYTES, at):
        yield chunk
        at += len(chunk)


def _ask(folder: Path, arguments: Sequence[str], limit_s: float) -> str:
    return _run(folder, arguments, limit_s, subprocess.PIPE).decode(errors="replace")


def _run(folder: Path, arguments: Sequence[str], limit_s: float, out: int) -> bytes:
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    env |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    # A repository's own configuration may name a program to run in these places.
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.DEVNULL,
            timeout=limit_s,
            check=False,
        )
    except OSError as error:
        raise _GitFailedError(str(error)) from None
    if done.returncode != 0:
        raise _GitFailedError(f"git ends with {done.returncode}")
    return done.stdout or b""
