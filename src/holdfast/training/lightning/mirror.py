"""Keeps the checkpoints in a run's artifact store the same as those that Lightning keeps here."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

_UNSAFE = re.compile(r"[^\w.-]+", re.ASCII)


class Keeper(Protocol):
    """Where checkpoints go: `MLflowTracker`, or one in a test."""

    def log_checkpoint(
        self,
        local_path: str | os.PathLike[str],
        artifact_path: str = "checkpoints",
        *,
        name: str | None = None,
        drop: Sequence[str] = (),
    ) -> None:
        """Store one in the background, then delete those to be dropped."""

    def drop_checkpoints(self, names: Sequence[str], artifact_path: str = "checkpoints") -> None:
        """Delete some."""


class CheckpointMirror:
    """Stores each checkpoint that a callback of Lightning has written, and deletes those that it has deleted.

    All of it happens in the background, in the order of these calls, and survives the process: a checkpoint that is
    better is in the store before the one that it replaces goes.

    Args:
        there: What is in the store already; see the attribute.
        folder: Its folder among the run's artifacts. Callbacks may use the same names, and have one each.

    Attributes:
        there: The names that are in the store, or on their way, each with the time of modification of its file in ns;
            0 where that is not known.
    """

    def __init__(self, there: Mapping[str, int] | None = None, folder: str = "checkpoints") -> None:
        self.there: dict[str, int] = dict(there or {})
        self._folder = folder
        self._followed: Any = None

    def follow(self, keeper: Keeper, callback: Any) -> None:
        """Bring the store in step with a `ModelCheckpoint`."""
        self._followed = callback
        wanted = {safe_name(path, callback.dirpath): path for path in _kept_by(callback)}
        # Without a bound the callback deletes nothing, and names only the last one where it has no metric to rank by.
        gone = [] if callback.save_top_k == -1 else sorted(set(self.there) - set(wanted))
        for name, path in wanted.items():
            written_ns = path.stat().st_mtime_ns if path.exists() else None
            if written_ns is None or self.there.get(name) == written_ns:
                continue
            keeper.log_checkpoint(path, self._folder, name=name, drop=gone)
            self.there[name] = written_ns
            self.there = {name: at for name, at in self.there.items() if name not in gone}
            gone = []
        if gone:
            keeper.drop_checkpoints(gone, self._folder)
            self.there = {name: at for name, at in self.there.items() if name not in gone}

    def serves(self, callback: Any) -> bool:
        """Whether this is the callback that is followed, or the first one that may be."""
        try:
            return self._followed is None or bool(self._followed == callback)
        except ReferenceError:
            return False

    def catch_up(self, keeper: Keeper) -> None:
        """Follow the callback once more: it says nothing when it links `last.ckpt` to another file."""
        with contextlib.suppress(ReferenceError):  # Lightning hands out weak ones
            if self._followed is not None:
                self.follow(keeper, self._followed)


def _kept_by(callback: Any) -> list[Path]:
    paths = [*callback.best_k_models] or [callback.best_model_path]
    # The last one is among them, unless it was saved because of an exception.
    paths += [callback.last_model_path, callback._last_checkpoint_saved]
    return [Path(path) for path in dict.fromkeys(paths) if path]


def safe_name(path: Path, folder: Any) -> str:
    """Return the name of a checkpoint in the store: a `/` of a metric's name makes no folder there."""
    try:
        shown = path.relative_to(str(folder)).as_posix()
    except ValueError:
        shown = path.name
    return _UNSAFE.sub("_", shown).lstrip(".") or "checkpoint"


def safe_part(text: str) -> str:
    """Return a metric's name as a part of a file name."""
    return _UNSAFE.sub("_", text)
