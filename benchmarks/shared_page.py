"""A page of memory that a victim writes and its killer reads."""

from __future__ import annotations

import mmap
import tempfile
from pathlib import Path

from benchmarks.peers.tasks import SLOTS


class SharedPage:
    """Numbers by slot (`benchmarks.peers.tasks`); what the other process stored outlives it."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="hf-bench-page-")  # noqa: SIM115
        self._file.write(bytes(SLOTS.size))
        self._file.flush()
        self._map = mmap.mmap(self._file.fileno(), SLOTS.size)
        self.path = Path(self._file.name)

    def __enter__(self) -> SharedPage:
        return self

    def __exit__(self, *_: object) -> None:
        self._map.close()
        self._file.close()

    def __getitem__(self, slot: int) -> int:
        value: int = SLOTS.unpack(self._map)[slot]
        return value

    def __setitem__(self, slot: int, value: int) -> None:
        self._map[slot * 8 : slot * 8 + 8] = value.to_bytes(8, "little")
