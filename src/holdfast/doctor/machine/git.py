"""The checks of git: that `.env` and the journal stay out of it."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from holdfast.doctor.check import Check, Finding, Fix, failed, ok, skipped, warning
from holdfast.doctor.context import Context
from holdfast.doctor.machine.dotenv import dotenv_files
from holdfast.settings.file_steps import apply_steps
from holdfast.settings.gitignore import plan_gitignore

_TIMEOUT_S = 4.0
_YES, _NO = 0, 1


class _NoAnswerError(Exception):
    """Git is not there, or says nothing about this folder; the text is why."""


def _git(folder: Path, *arguments: str) -> int:
    """Return git's exit code in a folder, 0 or 1.

    Raises:
        _NoAnswerError: Git is not installed, hangs, or knows no repository there.
    """
    # What a hook sets would have git look at another repository, whatever the folder.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise _NoAnswerError("git is not installed") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _NoAnswerError(f"git cannot be asked: {error}") from None
    if done.returncode in (_YES, _NO):
        return done.returncode
    said = done.stderr.decode(errors="replace").strip().splitlines()
    is_none = bool(said) and "not a git repository" in said[0]
    raise _NoAnswerError(f"{folder} is in no git repository" if is_none else f"git says: {' '.join(said)[:200]}")


def is_ignored(path: Path) -> bool:
    """Whether git's rules ignore a file, tracked or not."""
    return _git(path.parent, "check-ignore", "--quiet", "--no-index", "--", path.name) == _YES


def is_tracked(path: Path) -> bool:
    """Whether git keeps the file, or will with the next commit."""
    return _git(path.parent, "ls-files", "--error-unmatch", "--", path.name) == _YES


def _ignored(context: Context) -> Finding:
    journal = context.folder.root / ".holdfast"
    private = [*dotenv_files(context), *([journal] if journal.is_dir() else [])]
    if not private:
        return skipped("there is neither .env nor a journal yet; `holdfast init` makes one and keeps it out of git")
    try:
        seen = [path for path in private if not is_ignored(path)]
    except _NoAnswerError as why:
        return skipped(str(why))
    if not seen:
        return ok(f"git ignores {' and '.join(map(str, private))}")
    named = " and ".join(map(str, seen))
    # The line break before it is for a file whose last line has none.
    commands = [f"printf '\\n%s\\n' {_rule(path)} >> {shlex.quote(str(path.parent / '.gitignore'))}" for path in seen]
    remedy = "\n".join(commands)
    fix = Fix(f"append {named} to .gitignore", lambda: _ignore(seen))
    return warning(f"git does not ignore {named}: `git add .` would take keys into the repository", remedy, fix=fix)


def _rule(path: Path) -> str:
    return f"{path.name}/" if path.is_dir() else path.name


def _ignore(paths: list[Path]) -> str:
    folders = dict.fromkeys(path.parent for path in paths)
    steps = [
        plan_gitignore(folder / ".gitignore", [_rule(path) for path in paths if path.parent == folder])
        for folder in folders
    ]
    apply_steps(steps)
    return "; ".join(f"{step.path} {step.reason}" for step in steps)


def _tracked(context: Context) -> Finding:
    files = dotenv_files(context)
    if not files:
        return skipped("there is no .env")
    try:
        tracked = [path for path in files if is_tracked(path)]
    except _NoAnswerError as why:
        return skipped(str(why))
    if not tracked:
        return ok("git does not keep .env")
    commands = [f"git -C {shlex.quote(str(path.parent))} rm --cached .env" for path in tracked]
    remedy = "\n".join(
        [*commands, "commit that, and have new keys made: the old ones stay in the repository's history"]
    )
    return failed(f"git keeps {' and '.join(map(str, tracked))}: whoever has the repository has its keys", remedy)


CHECKS = (
    Check("env.git_ignored", "Does git ignore .env and the journal?", _ignored),
    Check("env.git_tracked", "Is .env kept in git?", _tracked),
)
