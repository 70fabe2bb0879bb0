"""Data sets of features, generated once and kept for the next time.

A data set's folder is named by the hash of everything its numbers depend on: the simulator's
configuration, the receivers, the versions of simulator and features, the seed and the counts. It is
written under another name and renamed when it is whole, so a folder of that name was whole once. Whether
it still is, its manifest tells, which has the size and the SHA-256 of every file: one that is damaged is
built again. One process builds at a time; others that want the same wait for it and find it done.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from holdfast.errors import DataError, InvalidInputError
from holdfast.logs import get_logger

from .features import FEATURE_VERSION
from .generation import Progress, Recipe, SceneCounts, allocate, generate, list_arrays, open_array
from .receivers import RECEIVERS
from .scene import SimulatorConfig
from .simulate import SIMULATOR_VERSION

__all__ = ["SPLITS", "Arrays", "Dataset", "Progress", "SceneCounts", "build", "hash_dataset", "load"]

SPLITS = ("train", "val", "test")

_log = get_logger(__name__)
_MANIFEST = "manifest.json"
_FILES = len(SPLITS) * len(list_arrays(SimulatorConfig()))
_BAR_WIDTH = 30


@dataclass(frozen=True)
class Dataset:
    """A whole data set on disk.

    Attributes:
        folder: Where its files are; what `load` takes.
        key: The content hash that names it.
        counts: Scenes of every split.
        built: Whether this call generated it; false where it was there already.
    """

    folder: Path
    key: str
    counts: SceneCounts
    built: bool

    def arrays(self) -> dict[str, Arrays]:
        """Opens the arrays of "train", "val" and "test", as memory maps; `build` has just checked them."""
        return _open(self.folder)


@dataclass(frozen=True)
class Arrays:
    """One split; memory maps, read only.

    Attributes:
        images: (count, 14, 128, 32) float16; see `features`.
        measurements: (count, 35) float32 in the order of `features.MEASUREMENTS`.
        positions: (count, 2) float64 degrees.
        detected: (count, 7) bool.
        bound_km: (count,) float64 Cramér-Rao bound of each scene; see `cramer_rao`.
    """

    images: npt.NDArray[np.float16]
    measurements: npt.NDArray[np.float32]
    positions: npt.NDArray[np.float64]
    detected: npt.NDArray[np.bool_]
    bound_km: npt.NDArray[np.float64]


def build(
    config: SimulatorConfig,
    seed: int,
    counts: SceneCounts,
    folder: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Generates a data set, or finds it generated.

    Args:
        config: What is simulated.
        seed: Same configuration, seed and counts: same numbers, whatever the number of workers.
        counts: Scenes of every split; the splits are consecutive scenes of the seed.
        folder: Where data sets are kept; `.cache/rf_localization` in the working directory if None.
        workers: Processes that generate; one a core if None. They are spawned, so a script that
            calls this with more than one keeps its own work under `if __name__ == "__main__"`.
        progress: Called in this process after every chunk; a bar on stderr if None and
            somebody looks.

    Returns:
        The data set; whole and on disk.

    Raises:
        InvalidInputError: The configuration, a count or the number of workers makes no data set.
        DataError: The folder cannot be written to, or a damaged data set in it not be replaced.
        HoldfastError: The disk is full, or a worker was killed. Nothing is left of the build.
    """
    config.check()
    _check(seed, counts, workers)
    home = folder or Path.cwd() / ".cache" / "rf_localization"
    recipe = Recipe(config, seed, counts)
    key = hash_dataset(config, seed, counts)
    if not _find_damage(home / key):
        return Dataset(home / key, key, counts, built=False)
    with _refused_by_the_system(home / key), _hold(home / f"{key}.lock"):
        damage = _find_damage(home / key)
        if damage:
            _clear(home / key, damage)
            _build(home / key, recipe, workers or os.cpu_count() or 1, progress or _show)
    return Dataset(home / key, key, counts, built=bool(damage))


def load(folder: Path) -> dict[str, Arrays]:
    """Opens a whole data set: the arrays of "train", "val" and "test", as memory maps.

    Raises:
        DataError: The folder holds no whole data set.
    """
    damage = _find_damage(folder)
    if damage:
        raise DataError(f"{folder} holds no whole data set: {damage}", hint="build it with dataset.build")
    return _open(folder)


def _open(folder: Path) -> dict[str, Arrays]:
    names = list_arrays(SimulatorConfig())
    return {split: Arrays(**{name: open_array(folder, split, name, "r") for name in names}) for split in SPLITS}


def hash_dataset(config: SimulatorConfig, seed: int, counts: SceneCounts) -> str:
    """Gives the key of a data set: 16 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(_describe(Recipe(config, seed, counts)).encode()).hexdigest()[:16]


def _describe(recipe: Recipe) -> str:
    versions = {"simulator": SIMULATOR_VERSION, "features": FEATURE_VERSION}
    content = asdict(recipe) | {"receivers": [asdict(each) for each in RECEIVERS], "versions": versions}
    return json.dumps(content, sort_keys=True)


def _check(seed: int, counts: SceneCounts, workers: int | None) -> None:
    problems = [f"{name} is {count}, and must be above 0" for name, count in asdict(counts).items() if count < 1]
    if seed < 0:
        problems.append(f"seed is {seed}, and must be at least 0")
    if workers is not None and workers < 1:
        problems.append(f"workers is {workers}, and must be above 0")
    if problems:
        raise InvalidInputError("no data set can be built: " + "; ".join(problems))


def _find_damage(folder: Path) -> str:
    """Gives what is wrong with a data set; nothing where it is whole."""
    if not folder.exists():
        return "it is not there"
    try:
        files = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["files"]
        problems = [_compare(folder / name, *known) for name, known in files.items()]
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its files cannot be checked ({type(error).__name__})"
    return next(filter(None, problems), "" if len(files) == _FILES else "its manifest does not name all files")


def _compare(path: Path, size_bytes: int, sha256: str) -> str:
    found = path.stat().st_size
    if found != size_bytes:
        return f"{path.name} has {found:,} bytes, and was written with {size_bytes:,}"
    return "" if _hash_file(path) == sha256 else f"{path.name} holds other numbers than were written"


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _refused_by_the_system(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"the data set {target} cannot be built: {error.strerror or type(error).__name__}",
            hint="delete it, or choose another folder: --data-dir FOLDER",
        ) from error


def _clear(target: Path, damage: str) -> None:
    """Deletes a data set that is damaged; whoever has its files open keeps them."""
    if target.exists():
        _log.warning("a data set is damaged, and simulated again", folder=str(target), damage=damage)
        shutil.rmtree(target)


@contextmanager
def _hold(path: Path) -> Iterator[None]:
    """Holds the lock that one builder of a data set has; it falls with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(target: Path, recipe: Recipe, workers: int, progress: Progress) -> None:
    part = target.with_name(f"{target.name}.part")
    # Whoever left it there was killed: the lock is ours.
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        allocate(part, recipe)
        generate(part, recipe, workers, progress)
        files = {path.name: [path.stat().st_size, _hash_file(path)] for path in sorted(part.iterdir())}
        manifest = json.loads(_describe(recipe)) | {"files": files}
        (part / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        for path in (*sorted(part.iterdir()), part):
            _sync(path)
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _show(done: int, total: int) -> None:
    """Draws a bar on stderr where somebody looks."""
    if not sys.stderr.isatty():
        return
    filled = _BAR_WIDTH * done // total
    bar = "#" * filled + "." * (_BAR_WIDTH - filled)
    sys.stderr.write(f"\rsimulating {bar} {done}/{total} scenes" + ("\n" if done == total else ""))
    sys.stderr.flush()
