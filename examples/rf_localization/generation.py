"""The work behind a data set: files of the right size, and processes that fill them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from holdfast.errors import HoldfastError

from .cramer_rao import bound_km
from .features import BANDS, CHANNELS, MEASUREMENTS, extract
from .receivers import RECEIVERS
from .scene import SimulatorConfig
from .simulate import simulate

Progress = Callable[[int, int], None]
"""Told how many scenes of how many are done."""

_CHUNK_SCENES = 20  # 20 MB of samples at a time; the same for any number of workers, as are the last bits


@dataclass(frozen=True)
class SceneCounts:
    """How many scenes each split has."""

    train: int
    val: int
    test: int

    @classmethod
    def split(cls, total: int) -> SceneCounts:
        """Splits a number of scenes 70/15/15."""
        val = test = round(0.15 * total)
        return cls(total - val - test, val, test)

    @property
    def total(self) -> int:
        """Scenes of all splits."""
        return self.train + self.val + self.test


@dataclass(frozen=True)
class Recipe:
    """Everything the numbers of a data set depend on, but for the code."""

    config: SimulatorConfig
    seed: int
    counts: SceneCounts


@dataclass(frozen=True)
class _Chunk:
    split: str
    first_row: int
    rows: int
    first_scene: int


def list_arrays(config: SimulatorConfig) -> dict[str, tuple[tuple[int, ...], str]]:
    """Gives the shape of one scene's row, and the type, of every array of a split."""
    return {
        "images": ((CHANNELS, BANDS, config.frames), "float16"),
        "measurements": ((len(MEASUREMENTS),), "float32"),
        "positions": ((2,), "float64"),
        "detected": ((len(RECEIVERS),), "bool"),
        "bound_km": ((), "float64"),
    }


def open_array(folder: Path, split: str, name: str, mode: Literal["r", "r+"]) -> npt.NDArray[Any]:
    """Maps one array of a split into memory."""
    array: npt.NDArray[Any] = np.load(folder / f"{split}_{name}.npy", mmap_mode=mode)
    return array


def allocate(folder: Path, recipe: Recipe) -> None:
    """Makes the files of all arrays, with their room on disk taken.

    Raises:
        HoldfastError: The disk has no room for them.
    """
    try:
        for split, count in asdict(recipe.counts).items():
            for name, (shape, kind) in list_arrays(recipe.config).items():
                _allocate_file(folder / f"{split}_{name}.npy", (count, *shape), kind)
    except OSError as error:
        hint = "free some room, choose another folder, or ask for fewer scenes"
        raise HoldfastError(f"the files of the data set cannot be made in {folder}: {error.strerror}", hint) from error


def _allocate_file(path: Path, shape: tuple[int, ...], kind: str) -> None:
    np.lib.format.open_memmap(path, "w+", dtype=kind, shape=shape).flush()
    # A mapped file without room behind it would kill the process that writes to it.
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def generate(folder: Path, recipe: Recipe, workers: int, progress: Progress) -> None:
    """Fills the allocated arrays, in this process where there is one worker.

    Raises:
        HoldfastError: A worker was killed.
    """
    chunks = list(_list_chunks(recipe.counts))
    finished = 0
    for rows in _fill(folder, recipe, chunks, workers) if workers > 1 else _fill_here(folder, recipe, chunks):
        finished += rows
        progress(finished, recipe.counts.total)


def _list_chunks(counts: SceneCounts) -> Iterator[_Chunk]:
    start = 0
    for split, count in asdict(counts).items():
        for first in range(0, count, _CHUNK_SCENES):
            yield _Chunk(split, first, min(_CHUNK_SCENES, count - first), start + first)
        start += count


def _fill_here(folder: Path, recipe: Recipe, chunks: list[_Chunk]) -> Iterator[int]:
    for chunk in chunks:
        _fill_chunk(folder, recipe, chunk)
        yield chunk.rows


def _fill(folder: Path, recipe: Recipe, chunks: list[_Chunk], workers: int) -> Iterator[int]:
    # Spawned, not forked: whoever calls may have threads that hold locks.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(chunks)), context, initializer=_end_with_parent)
    try:
        futures = {pool.submit(_fill_chunk, folder, recipe, chunk): chunk.rows for chunk in chunks}
        for future in as_completed(futures):
            future.result()
            yield futures[future]
    except BrokenProcessPool as error:
        hint = "look for a lack of memory, or use fewer workers"
        raise HoldfastError("a process that generates scenes was killed", hint, retryable=True) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _fill_chunk(folder: Path, recipe: Recipe, chunk: _Chunk) -> None:
    """Simulates a few scenes and writes their features to their rows of a split's arrays."""
    # There is a process for each core: threads of its own for a matrix's product would only wait for each other.
    with threadpool_limits(1, "blas"):
        scenes = simulate(recipe.config, recipe.seed, chunk.rows, chunk.first_scene)
        features = extract(scenes.iq, scenes.detected, recipe.config)
    values: dict[str, npt.NDArray[Any]] = {
        "images": features.images,
        "measurements": features.measurements,
        "positions": scenes.positions,
        "detected": scenes.detected,
        "bound_km": bound_km(scenes.truth, recipe.config),
    }
    for name, value in values.items():
        open_array(folder, chunk.split, name, "r+")[chunk.first_row : chunk.first_row + chunk.rows] = value


def _end_with_parent() -> None:
    """Makes a worker end when its parent is killed, which a pool's workers do not do by themselves."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
