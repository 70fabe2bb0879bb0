"""The project's root, and the folders in which a `.env` is looked for."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import InvalidInputError

_MARKERS = ("pyproject.toml", ".git", "setup.py", "setup.cfg")


@dataclass(frozen=True)
class ProjectFolder:
    """A project on disk.

    Attributes:
        root: The first folder, from the start upwards, that holds pyproject.toml, .git, setup.py or
            setup.cfg; the start itself where there is none.
        folders: The folders from the start up to the root, both included.
    """

    root: Path
    folders: tuple[Path, ...]

    @property
    def pyproject(self) -> Path:
        """Where pyproject.toml is, or would be."""
        return self.root / "pyproject.toml"


def find_project_folder(start: Path | None = None) -> ProjectFolder:
    """Return the project that `start` (the working directory by default) belongs to.

    The search ends at a file system's border, below the home folder (a home kept in git is no
    project) and below a folder where anyone may put files (like /tmp).

    Raises:
        InvalidInputError: `start` does not exist.
    """
    folder = _folder(start)
    folders: list[Path] = []
    for candidate in (folder, *folder.parents):
        if candidate != folder and _is_beyond(candidate, folder):
            break
        folders.append(candidate)
        if any((candidate / marker).exists() for marker in _MARKERS):
            return ProjectFolder(candidate, tuple(folders))
    return ProjectFolder(folder, (folder,))


def _folder(start: Path | None) -> Path:
    try:
        path = Path(start or Path.cwd()).resolve(strict=True)
    except OSError as error:
        raise InvalidInputError(
            f"The folder {start or 'in which this process runs'} cannot be entered: {error.strerror}.",
            "name an existing folder, or change into one",
        ) from None
    return path if path.is_dir() else path.parent


def _is_beyond(candidate: Path, start: Path) -> bool:
    status = candidate.stat()
    is_public = status.st_mode & stat.S_ISVTX and status.st_mode & stat.S_IWOTH
    return bool(is_public) or status.st_dev != start.stat().st_dev or candidate == _home()


def _home() -> Path | None:
    try:
        return Path.home().resolve()
    except (RuntimeError, OSError):
        return None
