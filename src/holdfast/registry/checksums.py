"""Measuring a model's files, so that what was approved is what is served."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from pathlib import Path

from holdfast.core.manifest import FileSum, Manifest
from holdfast.project import Project

# Loading `models:/name/1` with plain MLflow writes it beside the MLmodel file; where the artifact store is a folder of
# this machine, that is the store itself.
_NOTE = "registered_model_meta"


def measure(project: Project, place: str) -> Manifest:
    """Read all files of a model where they lie, and return what they are.

    Args:
        project: With whose keys.
        place: The folder's address.

    Raises:
        ArtifactError: There are none, or they cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="holdfast-measure-") as scratch:
        return measure_folder(project.artifacts.download(place, "", Path(scratch)))


def measure_folder(folder: Path) -> Manifest:
    """Return what the files below a local folder are, but for the note that MLflow leaves where it loads a version."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return Manifest({name: _sum(path) for name, path in found.items() if name != _NOTE})


def measure_files(folder: Path, paths: Iterable[str]) -> Manifest:
    """Return what these files below a local folder are; one that is missing is left out, and others are not read."""
    return Manifest({name: _sum(folder / name) for name in paths if (folder / name).is_file()})


def _sum(path: Path) -> FileSum:
    with path.open("rb") as file:
        return FileSum(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
