"""Keeps the checkpoints in a run's artifact store the same as those that Lightning keeps here."""

from __future__ import annotations

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

    Attributes:
        there: The names that are in the store, or on their way, each with the time of modification of its file in ns;
            0 where that is not known.
    """

    def __init__(self, there: Mapping[str, int] | None = None) -> None:
        self.there: dict[str, int] = dict(there or {})

    def follow(self, keeper: Keeper, callback: Any) -> None:
        """Bring the store in step with a `ModelCheckpoint`."""
        wanted = {safe_name(path, callback.dirpath): path for path in _kept_by(callback)}
        gone = sorted(set(self.there) - set(wanted))
        for name, path in wanted.items():
            written_ns = path.stat().st_mtime_ns if path.exists() else None
            if written_ns is None or self.there.get(name) == written_ns:
                continue
            keeper.log_checkpoint(path, name=name, drop=gone)
            self.there[name] = written_ns
            self.there = {name: at for name, at in self.there.items() if name not in gone}
            gone = []
        if gone:
            keeper.drop_checkpoints(gone)
            self.there = {name: at for name, at in self.there.items() if name not in gone}


def _kept_by(callback: Any) -> list[Path]:
    paths = [*callback.best_k_models] or [callback.best_model_path]
    return [Path(path) for path in dict.fromkeys([*paths, callback.last_model_path]) if path]


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
