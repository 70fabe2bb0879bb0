"""What a fault proxy does with each connection: pass on what it reads, and spoil it as it was told."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from holdfast.testing._proxy_wire import HEAD_LIMIT, Head, Piece, answer_body, read_head, request_body, reset

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_PIECE = 1 << 16
_SETTLING_S = 0.05


@dataclass
class Fault:
    """What goes wrong.

    Attributes:
        kind: Named like the methods of `FaultProxy`.
        seconds: How long it waits.
        answer: What it says in place of the server.
        at: A position in a body, or bytes a second.
        left: How often it will still happen; None: again and again.
    """

    kind: str = "pass_on"
    seconds: float = 0.0
    answer: bytes = b""
    at: int = 0
    left: int | None = None


@dataclass(frozen=True)
class Traffic:
    """What has passed a proxy.

    Attributes:
        requests: Requests that the server has answered.
        bodies: Requests whose body, of at least one byte, has gone to the server as a whole.
        sent_bytes: Bytes of bodies that have gone to the server, of those that were cut too.
        received_bytes: Bytes of bodies that have come from the server, delivered or not.
    """

    requests: int = 0
    bodies: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.requests + other.requests,
            self.bodies + other.bodies,
            self.sent_bytes + other.sent_bytes,
            self.received_bytes + other.received_bytes,
        )


class Relay:
    """Passes connections on to one server; all of it runs in one event loop.

    Attributes:
        fault: What goes wrong now.
        next: What goes wrong with the next requests, before that.
        passed: First line of each request that was answered.
        traffic: What has passed, by method.
        happened: How many bodies were cut or changed.
        open: The connections of clients, and who serves them.

    Args:
        upstream: Host and port of the server.
        raw: Whether it is no HTTP server.
    """

    def __init__(self, upstream: tuple[str, int], raw: bool) -> None:
        self.fault = Fault()
        self.next: deque[Fault] = deque()
        self.passed: list[str] = []
        self.traffic: defaultdict[str, Traffic] = defaultdict(Traffic)
        self.happened = 0
        self.open: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._upstream = upstream
        self._raw = raw

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client until one side has enough."""
        task = asyncio.current_task()
        if task is None:
            return
        self.open[task] = writer
        try:
            if self.fault.kind == "reset":
                reset(writer)
            else:
                await (self._pipe if self._raw else self._converse)(reader, writer)
        except (OSError, EOFError, ValueError, asyncio.CancelledError):
            reset(writer)
        finally:
            self.open.pop(task, None)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        goes_on = True
        while goes_on and not reader.at_eof():
            request = await read_head(reader)
            fault = self.next.popleft() if self.next else self.fault
            if fault.kind in ("answer", "reset", "black_hole"):
                goes_on = await self._stand_in(request, reader, writer, fault)
            else:
                goes_on = await self._pass_on(request, reader, writer, fault)

    async def _stand_in(
        self, request: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault
    ) -> bool:
        """Answer, or fail, in place of the server; return whether the connection can go on."""
        if fault.kind != "answer" or not request.waits:
            if request.waits and fault.kind == "reset":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            async for _ in request_body(reader, request):
                pass
        await self._swallow("black_hole" in (fault.kind, self.fault.kind))
        if fault.kind == "reset":
            raise ConnectionAbortedError
        writer.write(fault.answer)
        await writer.drain()
        return not request.waits  # the body may come all the same

    async def _pass_on(
        self, request: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault
    ) -> bool:
        """Pass a request on and deliver the answer; return whether the connection can go on."""
        await asyncio.sleep(fault.seconds if fault.kind == "delay" else 0)
        answers, server = await asyncio.open_connection(*self._upstream, limit=HEAD_LIMIT)
        server.write(request.data)
        sending = asyncio.ensure_future(self._send_body(request, reader, server))
        try:
            is_delimited = await self._deliver(request, answers, writer, fault)
            await asyncio.wait({sending}, timeout=_SETTLING_S)
            return is_delimited and sending.done() and sending.result()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            server.close()

    async def _send_body(self, request: Head, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> bool:
        """Send the body as it comes; return whether the server took all of it."""
        at = 0
        try:
            async for piece in request_body(reader, request, self._piece_bytes()):
                data = await self._touched("requests", piece, at, server)
                at += len(data) if piece.is_content else 0
                self._note(request, sent_bytes=len(data) if piece.is_content else 0)
                if not await _took(server, data):
                    return False
        except BaseException:
            reset(server)  # which ends the wait for its answer
            raise
        self._note(request, bodies=1 if at else 0)
        return True

    async def _deliver(
        self, request: Head, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault
    ) -> bool:
        """Deliver the answer; return whether its end shows without that of the connection."""
        head = await read_head(answers)
        while head.status == "100":
            await self._write(writer, head.data, fault)
            head = await read_head(answers)
        self.passed.append(request.first_line)
        self._note(request, requests=1)
        await self._write(writer, head.data, fault)
        at = 0
        async for piece in answer_body(answers, head, request.method, self._piece_bytes()):
            self._note(request, received_bytes=len(piece.data) if piece.is_content else 0)
            data = await self._touched("answers", piece, at, writer)
            at += len(data) if piece.is_content else 0
            await self._write(writer, data, fault)
        if fault.kind == "drop_answers":
            raise ConnectionAbortedError
        return head.is_chunked or head.size_bytes is not None or head.status in ("204", "304")

    async def _touched(self, way: str, piece: Piece, at: int, writer: asyncio.StreamWriter) -> bytes:
        """Return what becomes of a piece that begins at a position of its body, after the time that this takes.

        Raises:
            ConnectionAbortedError: The body is cut here.
        """
        fault, data = self.fault, piece.data
        await self._swallow(fault.kind == "black_hole")
        if fault.kind == "slow":
            await asyncio.sleep(len(data) / fault.at)
        inside = fault.at - at
        if not piece.is_content or not 0 <= inside < len(data):
            return data
        if fault.kind == f"flip_in_{way}":
            self._happen(fault)
            return data[:inside] + bytes([data[inside] ^ 0xFF]) + data[inside + 1 :]
        if fault.kind == f"cut_{way}":
            self._happen(fault)
            writer.write(data[:inside])
            await writer.drain()
            raise ConnectionAbortedError
        return data

    def _happen(self, fault: Fault) -> None:
        self.happened += 1
        if fault.left is not None:
            fault.left -= 1
            if fault.left <= 0 and self.fault is fault:
                self.fault = Fault()

    def _note(self, request: Head, **more: int) -> None:
        self.traffic[request.method] += replace(Traffic(), **more)

    def _piece_bytes(self) -> int:
        return max(1, min(_PIECE, self.fault.at // 10)) if self.fault.kind == "slow" else _PIECE

    async def _swallow(self, forever: bool) -> None:
        if forever:
            await asyncio.Event().wait()  # until the connection is cut or the proxy ends

    async def _write(self, writer: asyncio.StreamWriter, data: bytes, fault: Fault) -> None:
        if fault.kind == "drop_answers":
            return
        await self._swallow(self.fault.kind == "black_hole")
        pause_s = fault.seconds if fault.kind == "drip" else 0.0
        for part in [data] if not pause_s else [data[at : at + 1] for at in range(len(data))]:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)

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
        while data := await reader.read(_PIECE):
            if self.fault.kind == "black_hole":
                await asyncio.Event().wait()
            await asyncio.sleep(self.fault.seconds)
            writer.write(data)
            await writer.drain()


async def _took(server: asyncio.StreamWriter, data: bytes) -> bool:
    """Send bytes; return False where the server wants no more: it may have answered already."""
    try:
        server.write(data)
        await server.drain()
    except OSError:
        return False
    return True
