"""A file of lines of JSON that are only ever added to, each durable before what follows it is done.

A killed process leaves at most one broken line, the last, which whoever goes on cuts off.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class LineFile:
    """One such file; one process at a time writes to it, and its threads may share it.

    Args:
        path: The file; made with the first line.

    Every method raises `OSError` where the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def records(self) -> Iterator[dict[str, Any]]:
        """Give what stands in whole lines, up to the first that is broken; nothing where there is no file."""
        for record, _ in self._whole():
            yield record

    def cut(self) -> None:
        """Take off a broken line at the end; asked before the first `add` after a kill."""
        whole = sum(size for _, size in self._whole())
        if self.path.exists() and whole < self.path.stat().st_size:
            with self.path.open("r+b") as file:
                file.truncate(whole)
                os.fsync(file.fileno())

    def add(self, record: dict[str, Any]) -> None:
        """Add a line; it is durable when this returns, and not there where this raises."""
        text = json.dumps(record, ensure_ascii=True).encode() + b"\n"
        with self._lock:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _write_whole(descriptor, text)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _whole(self) -> Iterator[tuple[dict[str, Any], int]]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
                try:
                    record = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    record = None
                if not isinstance(record, dict):
                    return
                yield record, len(line)


def _write_whole(descriptor: int, data: bytes) -> None:
    """Write all of it, or, where that fails (the disk is full, Ctrl-C), nothing."""
    before = os.fstat(descriptor).st_size
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(descriptor, left) :]
    except BaseException:
        os.ftruncate(descriptor, before)
        raise
