"""The file of the latest checkpoint: written so that at any moment a whole one is there, and known to be whole."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import torch

NAME = "last.ckpt"
NOTE_NAME = "last.json"
_BLOCK = 1 << 20
_REMEMBERED = 50


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was saved.

    Attributes:
        run_id: The run whose it is.
        epoch: The epoch that it continues, from 0.
        step: The optimizer steps it has behind it.
        size: Of the file, in bytes.
        crc32c: Of its content, in hexadecimal.
    """

    run_id: str
    epoch: int
    step: int
    size: int
    crc32c: str


def write(folder: Path, save: Callable[[Path], None], run_id: str, epoch: int, step: int) -> Saved:
    """Write the latest checkpoint over the one before; a process that is killed leaves one of the two, whole.

    Args:
        folder: Where.
        save: Writes the file it is given.
        run_id: As of `Saved`.
        epoch: As of `Saved`.
        step: As of `Saved`.
    """
    made = folder / f"{NAME}.{os.getpid()}.new"
    try:
        save(made)
        saved = Saved(run_id, epoch, step, *fingerprint(made))
        _sync(made)
        # The note knows the ones before too, so that it is right whichever is there when the process dies: here, and
        # in the artifact store, where one may be missing in between.
        put(folder, saved, *notes(folder)[: _REMEMBERED - 1])
        made.replace(folder / NAME)
        _sync(folder)
    finally:
        made.unlink(missing_ok=True)
    return saved


def put(folder: Path, *known: Saved) -> None:
    """Note what may lie in the folder, the newest first."""
    made = folder / f"{NOTE_NAME}.{os.getpid()}.new"
    made.write_text(json.dumps([asdict(one) for one in known]), encoding="utf-8")
    _sync(made)
    made.replace(folder / NOTE_NAME)


def notes(folder: Path) -> list[Saved]:
    """Return what is noted of a folder, the newest first; empty where there is no note, or none that can be read."""
    try:
        found = json.loads((folder / NOTE_NAME).read_text(encoding="utf-8"))
        return [Saved(**one) for one in found]
    except (OSError, ValueError, TypeError):
        return []


def whole(folder: Path, run_id: str) -> Saved | None:
    """Return what the latest checkpoint here is, or None where there is none of this run, or it is damaged."""
    path = folder / NAME
    try:
        size, crc32c = fingerprint(path)
    except OSError:
        return None
    return next((one for one in notes(folder) if (one.run_id, one.size, one.crc32c) == (run_id, size, crc32c)), None)


def fingerprint(path: Path) -> tuple[int, str]:
    """Return a file's size in bytes, and its CRC-32C in hexadecimal."""
    checksum, size = google_crc32c.Checksum(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            checksum.update(block)
            size += len(block)
    return size, checksum.digest().hex()


def loads_plainly(path: Path) -> bool:
    """Whether a checkpoint holds nothing but plain values and tensors, so that loading it runs no code of others."""
    try:
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        return False
    return True


def contents(path: Path, trust: bool = False) -> Mapping[str, Any]:
    """Return what a checkpoint holds without reading its tensors; nothing where it cannot be read, or not safely."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=not trust, mmap=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
        return {}
    return content if isinstance(content, Mapping) else {}


def peek(path: Path) -> tuple[str, int, int] | None:
    """Return what a checkpoint says of itself: its run, its epoch and its step; None where it cannot be read safely."""
    content = contents(path)
    try:
        return str(content["holdfast"]["run_id"]), int(content["epoch"]), int(content["global_step"])
    except (ValueError, TypeError, KeyError):
        return None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
