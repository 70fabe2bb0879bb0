"""What files hold, as it is read and sent."""

from __future__ import annotations

import ctypes
import io
import os
from typing import Any

from holdfast.artifacts.s3.content import Upload, changed
from holdfast.artifacts.sources import open_source, unreadable

CHUNK_BYTES = 1 << 20


class OpenFile:
    """A file that threads read from; it is closed when the last of them has let go of it, also after Ctrl-C.

    Args:
        upload: Which file.

    Raises:
        ArtifactError: It cannot be opened, or was deleted since it was looked at.
    """

    def __init__(self, upload: Upload) -> None:
        self.descriptor = -1
        self.upload = upload
        self.descriptor = open_source(upload.item.local)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


class Body(bytearray):
    """Content that is sent from where it lies, and that no log repeats: botocore writes what it sends into its own."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"

    __str__ = __repr__


class Section(io.RawIOBase):
    """So many bytes of an open file, as a file of their own that boto3 reads while it sends."""

    def __init__(self, file: OpenFile, start: int, size: int) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._size = size
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Return where it is read next."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go elsewhere."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read on."""
        size = max(0, min(len(buffer), self._size - self._at))
        content = os.pread(self._file.descriptor, size, self._start + self._at)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def read_into(file: OpenFile, start: int, buffer: bytearray) -> int:
    """Fill a buffer from an open file; return how many bytes there were."""
    with memoryview(buffer) as rest:
        at = 0
        while at < len(rest) and (count := os.preadv(file.descriptor, [rest[at:]], start + at)):
            at += count
    return at


def read_whole(upload: Upload) -> bytes:
    """Return a small file's content.

    Raises:
        ArtifactError: It cannot be read, or is shorter or longer now.
    """
    # Without a buffer of Python's own: for thousands of small files that would be a good part of the time.
    descriptor = open_source(upload.item.local)
    try:
        content = os.read(descriptor, upload.size + 1)
        while len(content) < upload.size and (more := os.read(descriptor, upload.size + 1 - len(content))):
            content += more
    except OSError as error:
        raise unreadable(upload.item.local, error) from None
    finally:
        os.close(descriptor)
    if len(content) != upload.size:
        raise changed(upload)
    return content


def read_body(upload: Upload) -> Body:
    """Return a file's content as boto3 sends it without another copy.

    Raises:
        ArtifactError: It cannot be read, or is shorter or longer now.
    """
    file, content = OpenFile(upload), Body(upload.size)
    try:
        count = read_into(file, 0, content)
        is_longer = bool(os.pread(file.descriptor, 1, upload.size))
    except OSError as error:
        raise unreadable(upload.item.local, error) from None
    if count != upload.size or is_longer:
        raise changed(upload)
    return content


def crc_of(buffer: bytearray) -> int:
    """Return the CRC-32C of a buffer's content."""
    import google_crc32c

    # It takes nothing that might change under it, a view neither; a ctypes array stands for the same memory.
    return int(google_crc32c.value((ctypes.c_char * len(buffer)).from_buffer(buffer)))


def crc_of_section(file: OpenFile, start: int, size: int) -> int:
    """Return the CRC-32C of so many bytes of an open file; of fewer where it ends before."""
    import google_crc32c

    crc = 0
    for at in range(start, start + size, CHUNK_BYTES):
        crc = google_crc32c.extend(crc, os.pread(file.descriptor, min(CHUNK_BYTES, start + size - at), at))
    return crc
