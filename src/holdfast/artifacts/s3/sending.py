"""What the files of one upload share: the connection, who is told, and what ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.content import Upload
from holdfast.artifacts.team import Pace
from holdfast.artifacts.transfer import Meter, Sent

_T = TypeVar("_T")


@dataclass(frozen=True)
class Sending:
    """What the files of one upload share.

    Attributes:
        connection: The way to the S3.
        meter: Is told.
        stop: Is set when one has failed, or on Ctrl-C.
    """

    connection: S3Connection
    meter: Meter
    stop: threading.Event

    @property
    def pace(self) -> Pace:
        """Bounds the bytes a second; one for all uploads of the connection."""
        return self.connection.pace

    def run(self, upload: Upload, call: Callable[[], _T], *, checked: bool = False, key: str | None = None) -> _T:
        """Make a call for a file; see `S3Connection.run`."""
        return self.connection.run(
            upload.doing, upload.bucket, upload.key if key is None else key, call, checked=checked, stop=self.stop
        )

    def advanced(self, size_bytes: int) -> None:
        """Note that so many bytes are there now."""
        self.connection.progressed()
        self.meter.advance(size_bytes)

    def stored(self, upload: Upload) -> Sent:
        """Note that a file went there in one piece."""
        self.advanced(upload.size)
        self.meter.file_done()
        return Sent(1, upload.size, 0)

    def skipped(self, upload: Upload) -> Sent:
        """Note that a file was there already."""
        self.advanced(upload.size)
        self.meter.file_done()
        return Sent(1, 0, 1)
