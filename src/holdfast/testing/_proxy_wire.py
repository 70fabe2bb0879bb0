"""HTTP/1.1 as it goes over the wire, piece by piece, for a proxy that changes nothing unless it is told to."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

HEAD_LIMIT = 1 << 20
_PIECE = 1 << 16
_RST_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: what is not sent is thrown away, and so is the connection


class Piece(NamedTuple):
    """Some bytes of a body; sizes of chunks and trailers are no content."""

    data: bytes
    is_content: bool = True


@dataclass
class Head:
    """First line and headers of a request or an answer, as they came."""

    data: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def first_line(self) -> str:
        """Such as `POST /path HTTP/1.1`, or `HTTP/1.1 200 OK`."""
        return self.data.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def method(self) -> str:
        """A request's method."""
        return self.first_line.split(" ")[0]

    @property
    def status(self) -> str:
        """An answer's status."""
        return self.first_line.split(" ")[1]

    @property
    def waits(self) -> bool:
        """Whether a request's body comes only when the server asks for it."""
        return self.headers.get("expect", "").lower() == "100-continue"

    @property
    def is_chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def size_bytes(self) -> int | None:
        """The body's size, where the headers say it."""
        return None if self.is_chunked or "content-length" not in self.headers else int(self.headers["content-length"])


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Read up to the empty line.

    Raises:
        EOFError: The other side has closed the connection.
    """
    head = Head(await reader.readuntil(b"\r\n\r\n"))
    for line in head.data.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        head.headers[name.strip().lower()] = value.strip()
    return head


def request_body(reader: asyncio.StreamReader, head: Head, piece_bytes: int = _PIECE) -> AsyncIterator[Piece]:
    """Read the body of a request as it comes."""
    return _chunks(reader) if head.is_chunked else _sized(reader, head.size_bytes or 0, piece_bytes)


def answer_body(
    reader: asyncio.StreamReader, head: Head, method: str, piece_bytes: int = _PIECE
) -> AsyncIterator[Piece]:
    """Read the body of the answer to a request of the given method, as it comes."""
    if method == "HEAD" or head.status in ("204", "304"):  # none, whatever the headers say
        return _sized(reader, 0, piece_bytes)
    if head.is_chunked:
        return _chunks(reader)
    return _sized(reader, head.size_bytes, piece_bytes)


async def _sized(reader: asyncio.StreamReader, size_bytes: int | None, piece_bytes: int) -> AsyncIterator[Piece]:
    """Read so many bytes; None: up to the end of the connection."""
    left = size_bytes
    while left != 0:
        data = await reader.read(piece_bytes if left is None else min(left, piece_bytes))
        if not data:
            if left is None:
                return
            raise EOFError("The connection ends within a body.")
        left = None if left is None else left - len(data)
        yield Piece(data)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[Piece]:
    while True:
        line = await reader.readuntil(b"\r\n")
        yield Piece(line, is_content=False)
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        async for piece in _sized(reader, size, _PIECE):
            yield piece
        yield Piece(await reader.readexactly(2), is_content=False)
    while line != b"\r\n":
        line = await reader.readuntil(b"\r\n")
        yield Piece(line, is_content=False)


def make_answer(status: int, headers: Mapping[str, str], body: str | bytes) -> bytes:
    """Return a whole answer."""
    data = body.encode() if isinstance(body, str) else body
    given = {"Content-Type": "text/plain", **headers, "Content-Length": str(len(data))}
    lines = [f"HTTP/1.1 {status} Fault", *(f"{name}: {value}" for name, value in given.items()), "", ""]
    return "\r\n".join(lines).encode() + data


def reset(writer: asyncio.StreamWriter) -> None:
    """Throw a connection away; the other side sees that it was reset."""
    connection = writer.get_extra_info("socket")
    if connection is not None:  # one of TLS that is closed already has none
        with suppress(OSError):  # closed already
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
    writer.transport.abort()
