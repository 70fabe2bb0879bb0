"""What mends the things that reading the settings gives notice of."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable

_Remedy = Callable[[re.Match[str]], str]
# What is told by a check of its own, `env.dotenv_private`.
_TOLD_ELSEWHERE = re.compile(r" may be read by other users \(mode ")
# What is so on purpose: Holdfast does not put secrets into the environment, and MLflow's client looks nowhere else.
_NO_FAULT = re.compile(r"^MLflow's own client reads ")
_UNREAD = re.compile(r"\.env is (a link that leads nowhere|not a regular file)")
_REMEDIES: tuple[tuple[str, _Remedy], ...] = (
    (
        r"^(?P<far>.+) is not read, because (?P<near>.+) is nearer",
        lambda m: f"move what is needed from {m['far']} to {m['near']}, then rm {shlex.quote(m['far'])}",
    ),
    (r"^(?P<path>.+)\.env is a folder ", lambda m: f"mv {_quoted(m, '.env')} {_quoted(m, '.venv')}"),
    (
        r"^(?P<path>.+) is a link that leads nowhere",
        lambda m: f"bring back the file that it names (`readlink {_quoted(m)}`), or `ln -sfn FILE {_quoted(m)}`",
    ),
    # Such as the pipe of a secret manager, from which a shell can read.
    (
        r"^(?P<path>.+) is not a regular file",
        lambda m: f"have the shell read it before (`set -a; . {_quoted(m)}; set +a`), or write the settings to a file",
    ),
    (r": (?P<name>\S+) has no value", lambda m: f"write {m['name']}=value there, or remove the line"),
    (
        r" sets (?P<name>\S+) twice; line (?P<line>\S+) wins",
        lambda m: f"keep one {m['name']}: line {m['line']}, or the other",
    ),
    (r"\.\.\.\} in (?P<name>\S+) is taken literally", lambda m: f"write the value itself after {m['name']}=, in '…'"),
    (r": \S+ is no setting; (?P<right>\S+) is", lambda m: f"rename it to {m['right']}, or remove it"),
    (r": (?P<name>\S+) is no setting", lambda m: f"remove {m['name']}; `holdfast config show` lists the settings"),
    (r"(?P<name>\S+) names (?P<path>.+), which does not exist", lambda m: f"mend {m['name']}, or make {m['path']}"),
    (r"^(?P<name>\S+) in (?P<where>.+) is ignored", lambda m: f"remove {m['name']} from {m['where']}"),
    (r"^(?P<what>.+) is not used: ", lambda m: f"remove {m['what']}, or the keys if the profile is meant"),
    (r"^(?P<path>.+) cannot be understood; ", lambda m: f"mend {m['path']}, or set MLFLOW_AWS_DEFAULT_REGION"),
)


def faults_in(notices: Iterable[str]) -> list[str]:
    """Return the notices that somebody should do something about, and that no other check tells."""
    return [text for text in notices if not (_TOLD_ELSEWHERE.search(text) or _NO_FAULT.search(text))]


def is_unread(notice: str) -> bool:
    """Whether a notice tells of a `.env` that somebody meant to be read, and that cannot be."""
    return _UNREAD.search(notice) is not None


def remedies_for(notices: Iterable[str]) -> str:
    """Return what mends them, each remedy in a line of its own."""
    return "\n".join(dict.fromkeys(remedy_for(text) for text in notices))


def remedy_for(notice: str) -> str:
    """Return what mends the thing that a notice tells of."""
    for pattern, remedy in _REMEDIES:
        found = re.search(pattern, notice)
        if found:
            return remedy(found)
    return "`holdfast config show` shows each setting and where it comes from"


def in_one_text(notices: Iterable[str]) -> str:
    """Return the notices as what was found, each in a line of its own."""
    return "\n".join(text.rstrip(".") for text in notices)


def _quoted(match: re.Match[str], ending: str = "") -> str:
    return shlex.quote(match["path"] + ending)
