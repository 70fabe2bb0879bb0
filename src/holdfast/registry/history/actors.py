"""Who is at work: the identity that the history names."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from functools import cache

from holdfast.core.history import Actor
from holdfast.settings import Settings

_GIT_WAIT_S = 2


def actor_of(settings: Settings) -> Actor:
    """Return who these settings say is at work.

    The name is HOLDFAST_USER; else the user of the tracking server's login; else the e-mail address that git commits
    with; else the system's user. A stock server checks none of them: they are what people say of themselves.
    """
    git = _git_author(os.getcwd())
    name = settings.user or settings.tracking_username or _address(git) or _system_user()
    return Actor(name, socket.gethostname(), git)


def _address(author: str) -> str:
    return author.partition("<")[2].rstrip(">")


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as containers have them
        return f"uid-{os.getuid()}"


@cache
def _git_author(folder: str) -> str:
    """Return `Name <address>` as git would write it from this folder, or an empty text."""
    try:
        done = subprocess.run(
            ["git", "config", "--get-regexp", r"^user\.(name|email)$"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_GIT_WAIT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    values = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    email = values.get("user.email", "")
    return f"{values.get('user.name', '')} <{email}>".strip() if email else values.get("user.name", "")
