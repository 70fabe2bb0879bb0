"""Tells in seconds that nobody listens, where MLflow's clients would retry for minutes."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from holdfast.core.uris import mask_uri, scheme_of
from holdfast.errors import BackendUnavailableError

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_TIMEOUT_S = 3.0


def check_listening(uri: str, hint: str) -> None:
    """Connect to the host and port of a tracking URI, and hang up.

    URIs without a host (SQLite, sockets) and hosts behind a proxy are not asked.

    Args:
        uri: The tracking or registry URI.
        hint: What mends it.

    Raises:
        BackendUnavailableError: Nobody listens there, the name is unknown, or there is no answer within 3 s.
    """
    parts = urlsplit(uri)
    scheme = scheme_of(uri)
    port = parts.port or _PORTS.get(scheme)
    if parts.hostname is None or port is None or "," in parts.netloc or _is_proxied(scheme, parts.hostname):
        return
    try:
        socket.create_connection((parts.hostname, port), timeout=_TIMEOUT_S).close()
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise BackendUnavailableError(f"Nobody answers at {mask_uri(uri)}: {reason}.", hint, retryable=True) from None


def _is_proxied(scheme: str, host: str) -> bool:
    return scheme in getproxies() and not proxy_bypass(host)
