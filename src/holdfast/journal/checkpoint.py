"""How much of a run is delivered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from google_crc32c import value as crc32c

from holdfast.errors import JournalError
from holdfast.journal.filesystem import FileSystem, write_whole
from holdfast.journal.layout import FORMAT, parse_segment_name


@dataclass(frozen=True)
class Checkpoint:
    """How much of a run is delivered.

    Attributes:
        segments: For each segment, the offset in bytes after its last delivered record.
        gone: Segments that were delivered and deleted.
        complete_ms: When the last record was delivered and no process was left to write more, ms since the epoch.
        owners: The processes that began the run or went on with it, as far as delivered.
        left: Those that reached their end in good order.
        status: The last status that was logged, or an empty text.
        last_ms: When the last delivered record was logged, ms since the epoch.
    """

    segments: Mapping[str, int] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    complete_ms: int | None = None
    owners: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    status: str = ""
    last_ms: int = 0

    def advanced(self, offsets: Mapping[str, int]) -> Checkpoint:
        """Return the checkpoint with some segments further on; none goes back."""
        merged = dict(self.segments)
        for name, offset in offsets.items():
            merged[name] = max(offset, merged.get(name, 0))
        return replace(self, segments=merged)

    def without(self, names: tuple[str, ...]) -> Checkpoint:
        """Return the checkpoint with segments noted as deleted."""
        left = {name: offset for name, offset in self.segments.items() if name not in names}
        return replace(self, segments=left, gone=(*self.gone, *names))


def is_behind(files: FileSystem, folder: Path, checkpoint: Checkpoint) -> bool:
    """Whether a segment in a folder holds more than is delivered."""
    names = [name for name in files.list(folder) if parse_segment_name(name)]
    return any(files.size(folder / name) > checkpoint.segments.get(name, 0) for name in names)


def load_checkpoint(files: FileSystem, path: Path) -> Checkpoint:
    """Return the checkpoint; an empty one where there is none, or where it cannot be read.

    Starting anew delivers again, and what is delivered twice is stored once.

    Raises:
        JournalError: It was written by a later release.
    """
    try:
        content = json.loads(files.read(path, 0, 64 << 20))
        if content.pop("sum") != _sum(content):
            return Checkpoint()
        format_ = int(content["format"])
        found = Checkpoint(
            segments={str(name): int(offset) for name, offset in content["segments"].items()},
            gone=tuple(content["gone"]),
            complete_ms=content["complete_ms"],
            owners=tuple(content["owners"]),
            left=tuple(content["left"]),
            status=content["status"],
            last_ms=content["last_ms"],
        )
    except FileNotFoundError:
        return Checkpoint()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Checkpoint()
    if format_ > FORMAT:
        raise JournalError(f"{path} was written by a later release of Holdfast.", "pip install -U holdfast")
    return found


def save_checkpoint(files: FileSystem, path: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint; durable when this returns.

    Raises:
        OSError: It cannot be written; the earlier one is still there.
    """
    content = {"format": FORMAT, **asdict(checkpoint)}
    write_whole(files, path, json.dumps({**content, "sum": _sum(content)}).encode())


def _sum(content: Mapping[str, object]) -> int:
    # One flipped bit in a digit would say that something is delivered which is not.
    return int(crc32c(json.dumps(content, sort_keys=True).encode()))
