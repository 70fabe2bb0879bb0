"""The state of a training in a file: all that its next step depends on, as plain values and tensors.

A file is named `training-<updates>-<checksum>.state`. The number tells which is the newest, here and in the artifact
store, without reading any; the checksum (the first 16 digits of SHA-256) tells a damaged one. It is written under
another name, synced and renamed, so that a killed process leaves whole files only.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from holdfast.errors import InvalidInputError

_NAME = re.compile(r"training-(\d{7})-([0-9a-f]{16})\.state$")
_PART = "training.state.part"


def save_state(folder: Path, updates: int, state: Mapping[str, Any]) -> Path:
    """Write a state; when this returns, it is on the disk.

    Args:
        folder: Where; made where it is missing.
        updates: How many updates the training has done.
        state: Plain values, arrays and tensors, nested.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(_packed(state), buffer)
    content = buffer.getvalue()
    path = folder / f"training-{updates:07d}-{hashlib.sha256(content).hexdigest()[:16]}.state"
    with open(folder / _PART, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    (folder / _PART).replace(path)
    return path


def load_state(path: Path) -> dict[str, Any]:
    """Return what `save_state` wrote; no code of the file's is run.

    Raises:
        InvalidInputError: There is no such file, or it is damaged; names it.
    """
    found = _NAME.search(path.name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"The state {path} cannot be read: {error.strerror}.", "see its folder") from None
    if found is None or hashlib.sha256(content).hexdigest()[:16] != found[2]:
        raise InvalidInputError(f"The state {path} is damaged.", "delete it, and the one before it is gone on from")
    unpacked: dict[str, Any] = _unpacked(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    return unpacked


def in_order(names: Iterable[str]) -> list[str]:
    """Return the names of states, the newest last; other names are left out."""
    return sorted(name for name in names if _NAME.search(name))


def updates_of(name: str) -> int:
    """Return how many updates the training of a state had done."""
    found = _NAME.search(name)
    return int(found[1]) if found else -1


def newest_whole(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest state of a folder that is whole, and what it holds; None where there is none."""
    for name in reversed(in_order(one.name for one in folder.glob("*.state"))):
        try:
            return folder / name, load_state(folder / name)
        except InvalidInputError:
            continue
    return None


def _packed(value: Any) -> Any:
    """Return values with arrays as tensors, marked so that they come back as arrays."""
    if isinstance(value, np.ndarray):
        return {"__array__": torch.from_numpy(np.ascontiguousarray(value)), "shape": list(value.shape)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _packed(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_packed(one) for one in value]
    return value


def _unpacked(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "__array__" in value:
            return value["__array__"].numpy().reshape(value["shape"]).copy()
        return {key: _unpacked(one) for key, one in value.items()}
    return [_unpacked(one) for one in value] if isinstance(value, list) else value
