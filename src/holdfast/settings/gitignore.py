"""What git has to leave alone in a project: `.env`, which may hold keys, and the journal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from holdfast.settings.file_steps import Step, appended, existing_text

_IGNORED = {
    ".env": "# Settings and keys of this machine\n.env\n",
    ".holdfast/": "# The journal of what was logged\n.holdfast/\n",
}


def plan_gitignore(path: Path, names: Sequence[str] = tuple(_IGNORED)) -> Step:
    """Return the step after which a .gitignore ignores what lies beside it by these names, `.env` and `.holdfast/`.

    Raises:
        SettingsError: It is a link, a folder, or no UTF-8 text.
    """
    before = existing_text(path)
    text = before or ""
    missing = [name for name in names if not ignores(text, name.removesuffix("/"), is_folder=name.endswith("/"))]
    if not missing:
        return Step(path, "keep", f"it ignores {' and '.join(names)} already")
    block = "".join(_IGNORED[name] for name in missing)
    reason = f"keeps {' and '.join(missing)} out of git"
    return Step(path, "create", reason, block) if before is None else appended(path, text, block, reason)


def ignores(gitignore: str, name: str, is_folder: bool = False) -> bool:
    """Whether the text of a .gitignore ignores a file or folder beside it; the last line that matches decides."""
    ignored = False
    for line in gitignore.splitlines():
        pattern = line.rstrip()
        is_negated = pattern.startswith("!")
        pattern = re.sub(r"^(\*\*/|/)+", "", pattern.removeprefix("!"))
        if is_folder:
            pattern = pattern.removesuffix("/")
        if pattern and not pattern.startswith("#") and fnmatchcase(name, pattern):
            ignored = not is_negated
    return ignored
