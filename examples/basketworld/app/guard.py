"""Keeps other sites out: checks Host against DNS rebinding, Origin of whatever changes something, and sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import answer

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SAFE = {"GET", "HEAD", "OPTIONS"}
_MOST_BYTES = 16_384
"""Of a body; the largest that the page sends has some hundreds."""
_HEADERS = {
    b"content-security-policy": b"default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; "
    b"base-uri 'none'; form-action 'self'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}


class Guard:
    """Refuses requests that a foreign page may have made a browser send.

    Args:
        app: What is guarded.
        hosts: Names that the Host header may hold; none of them means any.
        origins: Foreign origins that are let in, such as https://example.org.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._origins = {origin.rstrip("/").lower() for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refusal(scope, headers)
        if refused is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4403, "reason": refused[1]})
        else:
            await answer(*refused)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: dict[bytes, str]) -> tuple[int, str, str] | None:
        host = headers.get(b"host", "")
        if self._hosts and _name(host) not in self._hosts:
            return 400, "The Host header names another server.", "open the address that the command printed"
        origin = headers.get(b"origin")
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE
        if changes and origin is not None and not self._is_own(origin.lower(), host.lower()):
            return 403, "Another site's page may not play here.", "start the app with --cors ORIGIN to let it in"
        if b"transfer-encoding" in headers or _number(headers.get(b"content-length", "0")) > _MOST_BYTES:
            return 413, "The body is too large, or its size is not told.", f"send {_MOST_BYTES:,} bytes at most"
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        return origin in self._origins or origin in {f"http://{host}", f"https://{host}"}


def _name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _number(text: str) -> float:
    return int(text) if text.isdecimal() and len(text) < 20 else math.inf


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_HEADERS.items()]}
        await send(message)

    return sending
