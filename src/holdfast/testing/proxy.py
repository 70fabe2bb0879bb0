"""A network that fails on command, between a client and one server."""

from __future__ import annotations

import asyncio
import inspect
import ssl
import threading
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from holdfast.server.ports import free_port
from holdfast.testing._proxy_relay import Fault, Relay, Traffic
from holdfast.testing._proxy_wire import HEAD_LIMIT, make_answer, reset

if TYPE_CHECKING:
    from holdfast.testing.certificates import ServerCertificate

__all__ = ["FaultProxy", "Traffic"]


class FaultProxy:
    """A proxy on a free loopback port in front of one server, for tests; its faults are switched at any time.

        with FaultProxy("127.0.0.1:5000") as proxy:
            sender = RestSender(proxy.url)
            proxy.drop_answers()

    Args:
        upstream: `host:port` of the server, or its URL.
        raw: Whether it is no HTTP server (PostgreSQL): bytes are passed on as they come, and only
            `refuse`, `reset`, `black_hole`, `delay` and `cut` make sense.
        tls: Clients have to speak TLS, and are shown this certificate; the server is still spoken to without.

    Each fault stays until another one, or `pass_on`, takes its place; one with `times` also ends when it has happened
    so often. Bodies are passed on as they come, whatever their size; positions in a body count its bytes, not the
    framing of chunks. The proxy runs in a thread of its own.
    """

    def __init__(self, upstream: str, raw: bool = False, tls: ServerCertificate | None = None) -> None:
        host, _, port = upstream.rpartition("//")[2].strip("/").rpartition(":")
        self._relay = Relay((host, int(port)), raw)
        self._tls: ssl.SSLContext | None = tls.context() if tls else None
        self._port = free_port()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"{'https' if self._tls else 'http'}://{self.address}"

    @property
    def address(self) -> str:
        """The same as `host:port`."""
        return f"127.0.0.1:{self._port}"

    @property
    def passed(self) -> list[str]:
        """First line (`POST /path HTTP/1.1`) of each request that the server has answered, delivered or not."""
        return list(self._relay.passed)

    @property
    def count(self) -> int:
        """How many requests the server has answered."""
        return len(self._relay.passed)

    @property
    def happened(self) -> int:
        """How many bodies were cut or changed."""
        return self._relay.happened

    def traffic(self, method: str | None = None) -> Traffic:
        """Return what has passed, of the requests of one method or of all."""
        if method is not None:
            return self._relay.traffic.get(method, Traffic())
        return sum(self._relay.traffic.copy().values(), Traffic())

    def forget(self) -> None:
        """Count everything from zero again."""

        async def forget() -> None:
            self._relay.passed, self._relay.happened = [], 0
            self._relay.traffic.clear()

        self._do(forget())

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- faults -----------------------------------------------------------------------

    def pass_on(self) -> None:
        """Work again."""
        self._relay.next.clear()
        self._set(Fault())

    def refuse(self) -> None:
        """Close the port: connections are refused, those that are open are cut."""
        self._relay.fault = Fault("refuse")
        self._do(self._shut())

    def reset(self) -> None:
        """Reset each connection once it is accepted, and those that are open."""
        self._set(Fault("reset"))
        self.cut()

    def black_hole(self) -> None:
        """Take whatever is sent and never answer, on open connections too; what is swallowed stays unanswered."""
        self._set(Fault("black_hole"))

    def answer(self, status: int, headers: Mapping[str, str] | None = None, body: str | bytes = b"") -> None:
        """Answer each request in place of the server."""
        self._set(Fault("answer", answer=make_answer(status, headers or {}, body)))

    def drop_answers(self) -> None:
        """Pass requests on, wait for the whole answer, and cut the connection in place of delivering it."""
        self._set(Fault("drop_answers"))

    def delay(self, seconds: float) -> None:
        """Wait before each request is passed on."""
        self._set(Fault("delay", seconds))

    def drip(self, seconds: float) -> None:
        """Deliver answers one byte at a time, with this pause after each."""
        self._set(Fault("drip", seconds))

    def slow(self, bytes_per_second: int) -> None:
        """Pass bodies on no faster than this, each of them, in both directions."""
        self._set(Fault("slow", at=bytes_per_second))

    def cut_requests(self, after_bytes: int, times: int | None = None) -> None:
        """Reset both connections when so much of a request's body has been passed on, and more is to come."""
        self._set(Fault("cut_requests", at=after_bytes, left=times))

    def cut_answers(self, after_bytes: int, times: int | None = None) -> None:
        """Reset the connection when so much of an answer's body has been delivered, and more is to come."""
        self._set(Fault("cut_answers", at=after_bytes, left=times))

    def flip_in_requests(self, at: int, times: int | None = None) -> None:
        """Invert the byte at this position, from 0, in the body of each request that is so long."""
        self._set(Fault("flip_in_requests", at=at, left=times))

    def flip_in_answers(self, at: int, times: int | None = None) -> None:
        """Invert the byte at this position, from 0, in the body of each answer that is so long."""
        self._set(Fault("flip_in_answers", at=at, left=times))

    def fail_next(
        self, count: int, how: str | int, headers: Mapping[str, str] | None = None, body: str | bytes = b""
    ) -> None:
        """Let only the next requests fail.

        Args:
            count: How many.
            how: `reset`, `black_hole` or `drop_answers`; or an HTTP status to answer with.
            headers: What goes with that status, such as `Retry-After`.
            body: The body of that answer.
        """
        fault = Fault(how) if isinstance(how, str) else Fault("answer", answer=make_answer(how, headers or {}, body))
        self._relay.next.extend([fault] * count)

    def cut(self) -> None:
        """Reset the connections that are open now."""

        async def cut() -> None:
            for writer in list(self._relay.open.values()):
                reset(writer)

        self._do(cut())

    def _set(self, fault: Fault) -> None:
        self._relay.fault = fault
        self._do(self._listen())

    # -- in the thread ----------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._relay.serve, "127.0.0.1", self._port, limit=HEAD_LIMIT, ssl=self._tls
            )

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._relay.open)
        for task, writer in list(self._relay.open.items()):
            reset(writer)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _end(self) -> None:
        """Shut, and end what began meanwhile: a connection that was just accepted is served a moment later."""
        await self._shut()
        await asyncio.sleep(0)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                # One that has not begun cannot catch its cancellation, about which asyncio would complain.
                if inspect.getcoroutinestate(task.get_coro()) != inspect.CORO_CREATED:  # type: ignore[arg-type]
                    task.cancel()
            await asyncio.sleep(0)
