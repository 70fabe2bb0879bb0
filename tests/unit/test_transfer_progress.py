"""What people see of a transfer: on a terminal (a real one, of a pty), in a log, and where they asked for silence."""

from __future__ import annotations

import io
import os
import pty
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

import pytest

from holdfast.artifacts.progress import meter_for
from holdfast.artifacts.transfer import SILENT

_LINE = re.compile(
    r"holdfast: uploaded (\d+) of (\d+) files?, ([\d.]+ \w+) of ([\d.]+ \w+), "
    r"(?:[\d.,]+ \w+/s(, .+ left|, in .+)?|nothing has moved for .+)"
)


def _wait_for(told: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 20
    while not told():
        assert time.monotonic() < until_s, "nothing was shown"
        time.sleep(0.01)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TextIO, bytearray]]:
    """A terminal's stream, and what has come out of it."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    ours, theirs = pty.openpty()
    shown = bytearray()

    def read() -> None:
        while True:
            try:
                shown.extend(os.read(ours, 65536))
            except OSError:  # the other end is closed
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    with os.fdopen(theirs, "w") as stream:
        yield stream, shown
    reader.join(20)
    os.close(ours)


def test_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    meter = meter_for("upload", stream, quiet_s=0.01, line_every_s=0.01)
    meter.begin(40, 3_400_000_000)
    for _ in range(12):
        meter.advance(100_000_000)
        meter.file_done()
    _wait_for(lambda: stream.getvalue().count("\n") >= 2)
    meter.advance(-100_000_000)
    meter.end()
    *between, last = stream.getvalue().splitlines()
    assert all(_LINE.fullmatch(line) for line in (*between, last)), stream.getvalue()
    assert "holdfast: uploaded 12 of 40 files, 1.2 GB of 3.4 GB" in stream.getvalue()
    assert last.startswith("holdfast: uploaded 12 of 40 files, 1.1 GB of 3.4 GB, ")
    assert re.search(r", in \d+ s$", last)
    assert any(re.search(r", .+ left$", line) for line in between)


def test_a_bar_on_a_terminal(terminal: tuple[TextIO, bytearray]) -> None:
    stream, shown = terminal
    meter = meter_for("download", stream, quiet_s=0.01)
    meter.begin(2, 2_000_000)
    meter.advance(1_000_000)
    meter.file_done()
    _wait_for(lambda: b"1 of 2 files" in shown)
    meter.advance(1_000_000)
    meter.file_done()
    meter.end()
    _wait_for(lambda: b"2 of 2 files" in shown)
    _wait_for(lambda: b"\x1b[?25h" in shown)  # else the cursor is hidden for good
    text = shown.decode()
    assert "holdfast: downloading" in text
    assert "2.0/2.0 MB" in text
    assert re.search(r"MB/s, \d+ s left", text)


def test_what_is_over_at_once_shows_nothing(terminal: tuple[TextIO, bytearray]) -> None:
    stream, shown = terminal
    plain = io.StringIO()
    for meter in (meter_for("upload", stream), meter_for("upload", plain)):
        meter.begin(1, 10)
        meter.advance(10)
        meter.file_done()
        meter.end()
    assert plain.getvalue() == ""
    assert not shown


def test_a_transfer_that_stands_still_is_shown() -> None:
    stream = io.StringIO()
    meter = meter_for("upload", stream, quiet_s=0.01, line_every_s=0.3)
    meter.begin(1, 10_000_000)
    still = "uploaded 0 of 1 file, 0 bytes of 10.0 MB, nothing has moved for {} s\n"
    _wait_for(lambda: still.format(0) in stream.getvalue())
    _wait_for(lambda: still.format(1) in stream.getvalue())
    meter.advance(1_000_000)
    _wait_for(lambda: "uploaded 0 of 1 file, 1.0 MB of 10.0 MB, nothing has moved for" in stream.getvalue())
    meter.end()
    assert re.search(r"1\.0 MB of 10\.0 MB, [\d.]+ \w+/s, .+ left\n", stream.getvalue())


def test_no_time_is_left_where_all_is_sent_and_an_answer_is_missing() -> None:
    stream = io.StringIO()
    meter = meter_for("upload", stream, quiet_s=0.01, line_every_s=0.05)
    meter.begin(1, 1_000_000)
    meter.advance(1_000_000)
    _wait_for(lambda: "nothing has moved" in stream.getvalue())
    meter.end()
    assert "left" not in stream.getvalue()


def test_mlflows_own_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, is_silent in (("false", True), ("False", True), ("0", True), ("true", False)):
        monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", value)
        assert (meter_for("upload", io.StringIO()) is SILENT) == is_silent


def test_without_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    assert meter_for("download") is SILENT


def test_a_closed_stream_disturbs_nobody() -> None:
    stream = io.StringIO()
    stream.close()
    meter = meter_for("upload", stream, quiet_s=0.0, line_every_s=0.0)
    meter.begin(1, 10)
    meter.advance(10)
    meter.end()
    meter.end()


def test_threads_lose_no_count() -> None:
    stream = io.StringIO()
    meter = meter_for("upload", stream, quiet_s=0.0, line_every_s=0.001)
    meter.begin(4 * 5000, 4 * 5000 * 3)

    def work() -> None:
        for _ in range(5000):
            meter.advance(3)
            meter.file_done()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _wait_for(lambda: "holdfast: uploaded" in stream.getvalue())
    meter.end()
    assert "uploaded 20000 of 20000 files, 60.0 kB of 60.0 kB" in stream.getvalue().splitlines()[-1]


def test_a_meter_can_be_used_again() -> None:
    stream = io.StringIO()
    meter = meter_for("upload", stream, quiet_s=0.0, line_every_s=0.01)
    for files in (3, 5):
        meter.begin(files, 0)
        _wait_for(lambda files=files: f"uploaded 0 of {files} files" in stream.getvalue())  # type: ignore[misc]
        meter.end()
    before = stream.getvalue()
    assert "of 3 files" not in before.partition("of 5 files")[2]
