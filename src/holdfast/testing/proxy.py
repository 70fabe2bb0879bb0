"""A network that fails on command, between a client and one server."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from holdfast.server.ports import free_port

_HEAD_LIMIT = 1 << 20
_RST_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: what is not sent is thrown away, and so is the connection


@dataclass(frozen=True)
class _Fault:
    kind: str
    seconds: float = 0.0
    answer: bytes = b""


_NONE = _Fault("pass_on")


@dataclass
class _Message:
    """One HTTP request or answer as it came over the wire."""

    head: bytes
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def first_line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")


class FaultProxy:
    """A proxy on a free loopback port in front of one server, for tests; its faults are switched at any time.

        with FaultProxy("127.0.0.1:5000") as proxy:
            sender = RestSender(proxy.url)
            proxy.drop_answers()

    Args:
        upstream: `host:port` of the server, or its URL.
        raw: Whether it is no HTTP server (PostgreSQL): bytes are passed on as they come, and only
            `refuse`, `reset`, `black_hole`, `delay` and `cut` make sense.

    Each fault stays until another one, or `pass_on`, takes its place. The proxy runs in a thread of its own.
    """

    def __init__(self, upstream: str, raw: bool = False) -> None:
        host, _, port = upstream.rpartition("//")[2].strip("/").rpartition(":")
        self._upstream = (host, int(port))
        self._raw = raw
        self._port = free_port()
        self._fault = _NONE
        self._next: deque[_Fault] = deque()
        self._passed: list[str] = []
        self._open: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://{self.address}"

    @property
    def address(self) -> str:
        """The same as `host:port`."""
        return f"127.0.0.1:{self._port}"

    @property
    def passed(self) -> list[str]:
        """First line (`POST /path HTTP/1.1`) of each request that the server has answered, delivered or not."""
        return list(self._passed)

    @property
    def count(self) -> int:
        """How many requests the server has answered."""
        return len(self._passed)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._do(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- faults -----------------------------------------------------------------------

    def pass_on(self) -> None:
        """Work again."""
        self._next.clear()
        self._set(_NONE)

    def refuse(self) -> None:
        """Close the port: connections are refused, those that are open are cut."""
        self._fault = _Fault("refuse")
        self._do(self._shut())

    def reset(self) -> None:
        """Reset each connection once it is accepted, and those that are open."""
        self._set(_Fault("reset"))
        self.cut()

    def black_hole(self) -> None:
        """Take whatever is sent and never answer, on open connections too; what is swallowed stays unanswered."""
        self._set(_Fault("black_hole"))

    def answer(self, status: int, headers: Mapping[str, str] | None = None, body: str | bytes = b"") -> None:
        """Answer each request in place of the server."""
        self._set(_Fault("answer", answer=_answer(status, headers or {}, body)))

    def drop_answers(self) -> None:
        """Pass requests on, wait for the whole answer, and cut the connection in place of delivering it."""
        self._set(_Fault("drop_answers"))

    def delay(self, seconds: float) -> None:
        """Wait before each request is passed on."""
        self._set(_Fault("delay", seconds))

    def drip(self, seconds: float) -> None:
        """Deliver answers one byte at a time, with this pause after each."""
        self._set(_Fault("drip", seconds))

    def fail_next(self, count: int, how: str | int) -> None:
        """Let only the next requests fail.

        Args:
            count: How many.
            how: `reset`, `black_hole` or `drop_answers`; or an HTTP status to answer with.
        """
        fault = _Fault("answer", answer=_answer(how, {}, b"")) if isinstance(how, int) else _Fault(how)
        self._next.extend([fault] * count)

    def cut(self) -> None:
        """Reset the connections that are open now."""

        async def cut() -> None:
            for writer in list(self._open.values()):
                _reset(writer)

        self._do(cut())

    def _set(self, fault: _Fault) -> None:
        self._fault = fault
        self._do(self._listen())

    # -- in the thread ----------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _listen(self) -> None:
        if self._server is None:
            handle = self._pipe if self._raw else self._converse
            self._server = await asyncio.start_server(self._guarded(handle), "127.0.0.1", self._port, limit=_HEAD_LIMIT)

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._open)
        for task, writer in list(self._open.items()):
            _reset(writer)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _guarded(
        self, handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]:
        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is None:
                return
            self._open[task] = writer
            try:
                if self._fault.kind == "reset":
                    _reset(writer)
                else:
                    await handle(reader, writer)
            except (OSError, EOFError, ValueError, asyncio.CancelledError):
                _reset(writer)
            finally:
                self._open.pop(task, None)
                writer.close()

        return run

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            request = await _read_message(reader)
            fault = self._next.popleft() if self._next else self._fault
            answer = await self._reply(request, fault)
            if "black_hole" in (fault.kind, self._fault.kind):
                await asyncio.Event().wait()  # until the connection is cut or the proxy ends
            if fault.kind in ("reset", "drop_answers"):
                raise ConnectionAbortedError
            await _deliver(writer, answer, fault.seconds if fault.kind == "drip" else 0.0)

    async def _reply(self, request: _Message, fault: _Fault) -> bytes:
        if fault.kind in ("answer", "reset", "black_hole"):
            return fault.answer
        await asyncio.sleep(fault.seconds if fault.kind == "delay" else 0)
        return await self._ask_upstream(request)

    async def _ask_upstream(self, request: _Message) -> bytes:
        reader, writer = await asyncio.open_connection(*self._upstream, limit=_HEAD_LIMIT)
        try:
            writer.write(request.head + request.body)
            await writer.drain()
            answer = await _read_message(reader, is_answer_to=request.first_line.split(" ")[0])
        finally:
            writer.close()
        self._passed.append(request.first_line)
        return answer.head + answer.body

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._upstream)
        pumps = [
            asyncio.ensure_future(self._pump(reader, upstream_writer)),
            asyncio.ensure_future(self._pump(upstream_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            upstream_writer.close()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            if self._fault.kind == "black_hole":
                await asyncio.Event().wait()
            await asyncio.sleep(self._fault.seconds)
            writer.write(data)
            await writer.drain()


async def _read_message(reader: asyncio.StreamReader, is_answer_to: str | None = None) -> _Message:
    """Read one request, or the answer to a request of the given method.

    Raises:
        EOFError: The other side has closed the connection.
    """
    message = _Message(await reader.readuntil(b"\r\n\r\n"))
    for line in message.head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        message.headers[name.strip().lower()] = value.strip()
    if not _is_bare(message, is_answer_to):
        message.body = await _read_body(reader, message.headers, is_answer_to is not None)
    return message


def _is_bare(message: _Message, is_answer_to: str | None) -> bool:
    """Whether an answer has no body, whatever its headers say."""
    return is_answer_to is not None and (is_answer_to == "HEAD" or message.first_line.split(" ")[1] in ("204", "304"))


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str], is_answer: bool) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _read_chunks(reader)
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    return await reader.read() if is_answer else b""


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    """Read a chunked body as it came, sizes and trailers included."""
    parts: list[bytes] = []
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        parts.append(line)
        if size == 0:
            break
        parts.append(await reader.readexactly(size + 2))
    while parts[-1] != b"\r\n":
        parts.append(await reader.readuntil(b"\r\n"))
    return b"".join(parts)


async def _deliver(writer: asyncio.StreamWriter, answer: bytes, pause_s: float) -> None:
    for part in [answer] if not pause_s else [answer[at : at + 1] for at in range(len(answer))]:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(pause_s)


def _answer(status: int, headers: Mapping[str, str], body: str | bytes) -> bytes:
    data = body.encode() if isinstance(body, str) else body
    given = {"Content-Type": "text/plain", **headers, "Content-Length": str(len(data))}
    lines = [f"HTTP/1.1 {status} Fault", *(f"{name}: {value}" for name, value in given.items()), "", ""]
    return "\r\n".join(lines).encode() + data


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with suppress(OSError):  # closed already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
    writer.transport.abort()
