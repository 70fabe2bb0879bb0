"""What a shipper is doing, in a file for `holdfast journal status`."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

_RATE_OVER_S = 10.0


@dataclass
class Progress:
    """What a shipper is doing.

    Attributes:
        pid: Its process.
        host: Its machine.
        state: `delivering`, `waiting` (for the server), `idle`, or `ended`.
        delivered: Metrics, params, tags and other things stored since it started.
        rate: The same per second, over the last ten.
        last_error: What the server said last when it could not be reached, or an empty text.
        last_error_ms: When.
        retry_ms: When it is tried again, ms since the epoch; 0 where it is not waiting.
        updated_ms: When this was written.
    """

    pid: int = 0
    host: str = ""
    state: str = "idle"
    delivered: int = 0
    rate: float = 0.0
    last_error: str = ""
    last_error_ms: int = 0
    retry_ms: int = 0
    updated_ms: int = 0


class ProgressFile:
    """Writes a shipper's progress, at most once a second.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written_s = 0.0
        self._marks: list[tuple[float, int]] = [(time.monotonic(), 0)]
        self.now = Progress(pid=os.getpid(), host=platform.node())

    def add(self, count: int) -> None:
        """Count what was stored."""
        self.now.delivered += count

    def fail(self, reason: str, wait_s: float) -> None:
        """Note why the server cannot be reached, and for how long it is left alone."""
        self.now.last_error, self.now.last_error_ms = reason, _now_ms()
        self.now.retry_ms = _now_ms() + int(wait_s * 1000)

    def write(self, state: str, at_once: bool = False) -> None:
        """Write what is going on; what cannot be written is left out, it is for people to look at only."""
        changed = state != self.now.state
        if not (at_once or changed) and time.monotonic() - self._written_s < 1.0:
            return
        self._measure()
        self.now.state, self.now.updated_ms = state, _now_ms()
        if state != "waiting":
            self.now.retry_ms = 0
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps(asdict(self.now)))
            os.replace(temporary, self._path)
        self._written_s = time.monotonic()

    def _measure(self) -> None:
        now = time.monotonic()
        self._marks = [mark for mark in self._marks if now - mark[0] <= _RATE_OVER_S] or self._marks[-1:]
        first_s, first = self._marks[0]
        self.now.rate = (self.now.delivered - first) / (now - first_s) if now > first_s else 0.0
        self._marks.append((now, self.now.delivered))


def read_progress(path: Path) -> Progress | None:
    """Return what the shipper wrote last, or None where there was none yet."""
    try:
        found = json.loads(path.read_text())
        return Progress(**{name: found[name] for name in Progress.__dataclass_fields__ if name in found})
    except (OSError, ValueError, TypeError):
        return None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
