"""What the server refuses for good: kept with its reason, reported, never dropped, never in the way of the rest."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from holdfast.journal.filesystem import FileSystem, write_whole
from holdfast.journal.parcel import Parcel


@dataclass(frozen=True)
class Aside:
    """Something that was set aside.

    Attributes:
        what: `metric`, `param`, `tag`, `update`, `inputs`, `outputs`, `model`, `deleted tag`, `damage`, `files` that
            cannot be uploaded or deleted, or `run` where the run itself is refused (it was deleted, say) and nothing
            more is sent to it.
        content: The thing itself, as it would be sent; for damage, where the bytes are.
        reason: What the server said.
        noted_ms: When it was set aside, ms since the epoch.
    """

    what: str
    content: Any
    reason: str
    noted_ms: int

    def describe(self) -> str:
        """Return it on one line."""
        shown = json.dumps(self.content, ensure_ascii=False)
        return f"{self.what} {shown[:120]}{'…' if len(shown) > 120 else ''}: {self.reason}"


def aside(what: str, content: Any, reason: str) -> Aside:
    """Return something to be set aside now."""
    return Aside(what, content, reason, time.time_ns() // 1_000_000)


def aside_of(parcel: Parcel) -> Aside:
    """Return a parcel that is set aside as something that is."""
    trouble, left = parcel.trouble, parcel.left
    content: dict[str, Any] = {"paths": [file.path for file in left.files]}
    if left.removes:
        content["removes"] = list(left.removes)
    content |= {"parcel": parcel.id, "folder": str(parcel.folder)}
    return Aside("files", content, trouble.reason if trouble else "", trouble.noted_ms if trouble else 0)


def load_asides(files: FileSystem, path: Path) -> list[Aside]:
    """Return what is set aside; empty where there is nothing."""
    try:
        lines = files.read(path, 0, 1 << 30).splitlines()
    except FileNotFoundError:
        return []
    return [item for line in lines if (item := _parsed(line)) is not None]


def _parsed(line: bytes) -> Aside | None:
    try:
        found: Mapping[str, Any] = json.loads(line)
        return Aside(found["what"], found["content"], found["reason"], found["noted_ms"])
    except (ValueError, KeyError, TypeError):
        return None


def save_asides(files: FileSystem, path: Path, items: Sequence[Aside]) -> None:
    """Write what is set aside; durable when this returns. Nothing left means no file."""
    if not items:
        files.unlink(path)
        return
    write_whole(files, path, b"".join(json.dumps(asdict(item)).encode() + b"\n" for item in items))


def add_asides(files: FileSystem, path: Path, items: Sequence[Aside]) -> None:
    """Add to what is set aside, each thing once; durable when this returns."""
    known = load_asides(files, path)
    seen = {_identity(item) for item in known}
    new = [item for item in items if _identity(item) not in seen]
    if new:
        save_asides(files, path, [*known, *new])


def _identity(item: Aside) -> str:
    # Said again after a crash between this note and the checkpoint.
    return json.dumps([item.what, item.content], sort_keys=True)
