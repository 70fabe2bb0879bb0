"""How far a transfer is: a bar on a terminal, a line now and then elsewhere, nothing for what is over at once.

Those who transfer only add numbers up; one thread of the meter's own looks at them and writes, so that a slow
terminal holds nobody up, and a transfer that stands still is seen to.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, TextIO

from holdfast.artifacts.transfer import SILENT, Meter

_SWITCH = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"  # MLflow's own
_QUIET_S = 2.0
_LINE_EVERY_S = 10.0
_DRAW_EVERY_S = 0.2
_RATE_OVER_S = 10.0
_WORDS = {
    "upload": ("uploading", "uploaded"),
    "download": ("downloading", "downloaded"),
    "copy": ("copying", "copied"),
    "count": ("counting", "counted"),
    "delete": ("deleting", "deleted"),
    "restore": ("bringing back", "brought back"),
}


def meter_for(
    doing: Literal["upload", "download", "copy", "count", "delete", "restore"],
    stream: TextIO | None = None,
    quiet_s: float = _QUIET_S,
    line_every_s: float = _LINE_EVERY_S,
) -> Meter:
    """Return a meter that shows people how far a transfer is; on a terminal, as a bar.

    Args:
        doing: What is done with the files.
        stream: Where it is shown; None for standard error.
        quiet_s: Transfers that are over within so many seconds show nothing.
        line_every_s: Where there is no terminal, a line is written each so many seconds, and one at the end.

    Returns:
        The meter, or a silent one where MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR is `false` or there is no such stream.
        Whatever becomes of the stream, the meter's methods do not fail.
    """
    shown = stream if stream is not None else sys.stderr
    if shown is None or os.environ.get(_SWITCH, "true").strip().lower() in ("false", "0"):
        return SILENT
    if _is_terminal(shown):
        return _ShownMeter(lambda count: _Bar(shown, doing, count), quiet_s, _DRAW_EVERY_S)
    return _ShownMeter(lambda count: _Lines(shown, doing, count), quiet_s, line_every_s)


def _is_terminal(stream: TextIO) -> bool:
    with suppress(AttributeError, OSError, ValueError):  # no real file, or one that is closed
        return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
    return False


class _Count:
    """What there is to do and what is done; threads add to it at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._marks: deque[tuple[float, int]] = deque()
        self.began_s = self.moved_s = time.monotonic()
        self.files = self.files_total = self.bytes = self.bytes_total = 0

    def add(self, files: int = 0, files_total: int = 0, size_bytes: int = 0, bytes_total: int = 0) -> None:
        with self._lock:
            self.files += files
            self.files_total += files_total
            self.bytes += size_bytes
            self.bytes_total += bytes_total
            if files > 0 or size_bytes > 0:
                self.moved_s = time.monotonic()

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self.began_s, 1e-3)

    def rate(self) -> float:
        """Return the bytes a second of the last seconds; only the meter's own thread calls this."""
        now_s = time.monotonic()
        self._marks.append((now_s, self.bytes))
        while len(self._marks) > 2 and now_s - self._marks[0][0] > _RATE_OVER_S:
            self._marks.popleft()
        since_s, before = self._marks[0] if len(self._marks) > 1 else (self.began_s, 0)
        return max(0.0, (self.bytes - before) / max(now_s - since_s, 1e-3))

    def left_s(self, rate: float) -> float | None:
        """Return how long the rest takes at this rate; None where nobody can tell, or only answers are missing."""
        return (self.bytes_total - self.bytes) / rate if rate >= 1 and self.bytes < self.bytes_total else None

    def shown_files(self) -> str:
        """Return `3 of 12 files`."""
        return f"{self.files} of {self.files_total} file{'' if self.files_total == 1 else 's'}"


class _ShownMeter:
    """Counts, and has a thread that shows the count until the end.

    Args:
        make: Makes what shows it.
        quiet_s: When it is made.
        every_s: How often it shows.
    """

    def __init__(self, make: Callable[[_Count], _Bar | _Lines], quiet_s: float, every_s: float) -> None:
        self._make = make
        self._quiet_s = quiet_s
        self._every_s = every_s
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._count = _Count()

    def begin(self, files: int, size_bytes: int) -> None:
        """Note how much there is to do; more may be added later."""
        with self._lock:
            if self._thread is None:
                self._count, self._ended = _Count(), threading.Event()
                self._thread = threading.Thread(
                    target=self._show, args=(self._count, self._ended), name="holdfast-progress", daemon=True
                )
                self._thread.start()
        self._count.add(files_total=files, bytes_total=size_bytes)

    def advance(self, size_bytes: int) -> None:
        """Note that so many bytes are over; negative where a part has to be sent again."""
        self._count.add(size_bytes=size_bytes)

    def file_done(self) -> None:
        """Note that a file is there."""
        self._count.add(files=1)

    def end(self) -> None:
        """Note that nothing more is to come; what is to be shown is shown when this returns."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._ended.set()
        if thread is not None:
            thread.join()

    def _show(self, count: _Count, ended: threading.Event) -> None:
        if ended.wait(self._quiet_s):
            return
        # The stream may be closed, or the terminal gone: the transfer is none the worse for it.
        with suppress(OSError, ValueError):
            shown = self._make(count)
            try:
                while not ended.wait(self._every_s):
                    shown.show()
            finally:
                shown.end()


class _Lines:
    """Writes plain lines."""

    def __init__(self, stream: TextIO, doing: str, count: _Count) -> None:
        self._stream = stream
        self._done = _WORDS[doing][1]
        self._count = count
        self._shown_s = count.began_s

    def show(self) -> None:
        moved_s, rate = self._count.moved_s, self._count.rate()
        now_s = time.monotonic()
        if moved_s <= self._shown_s:
            self._write(f"nothing has moved for {_duration(now_s - moved_s)}")
        else:
            left_s = self._count.left_s(rate)
            self._write(_rate(rate) + ("" if left_s is None else f", {_duration(left_s)} left"))
        self._shown_s = now_s

    def end(self) -> None:
        self._write(f"{_rate(self._count.bytes / self._count.seconds)}, in {_duration(self._count.seconds)}")

    def _write(self, pace: str) -> None:
        from rich.filesize import decimal

        count = self._count
        self._stream.write(
            f"holdfast: {self._done} {count.shown_files()}, "
            f"{decimal(count.bytes)} of {decimal(count.bytes_total)}, {pace}\n"
        )
        self._stream.flush()


class _Bar:
    """Draws a bar on a terminal."""

    def __init__(self, stream: TextIO, doing: str, count: _Count) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        self._count = count
        columns = (TextColumn("holdfast: " + _WORDS[doing][0]), BarColumn(None), TextColumn("{task.fields[files]}"))
        # What the program prints meanwhile stays its own: its streams are not replaced.
        self._progress = Progress(
            *(*columns, DownloadColumn(), TextColumn("{task.fields[pace]}")),
            console=Console(file=stream, soft_wrap=True, emoji=False),
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=None, **self._now())
        self._progress.start()
        self.show()

    def show(self) -> None:
        now = self._now()
        self._progress.update(self._task, completed=self._count.bytes, total=self._count.bytes_total, **now)
        self._progress.refresh()

    def end(self) -> None:
        try:
            self.show()
        finally:
            self._progress.stop()

    def _now(self) -> dict[str, Any]:
        count, rate = self._count, self._count.rate()
        left_s = count.left_s(rate)
        left = "" if left_s is None else f", {_duration(left_s)} left"
        return {"files": count.shown_files(), "pace": f"{_rate(rate)}{left}"}


def _rate(rate: float) -> str:
    """Return `1.2 MB/s`."""
    from rich.filesize import decimal

    return f"{decimal(int(rate))}/s"


def _duration(seconds: float) -> str:
    """Return `22 s`, `3 min 5 s` or `2 h 10 min`."""
    whole = round(seconds)
    minutes, hours = whole // 60, whole // 3600
    if whole < 60:
        return f"{whole} s"
    return f"{minutes} min {whole % 60} s" if minutes < 60 else f"{hours} h {minutes % 60} min"
