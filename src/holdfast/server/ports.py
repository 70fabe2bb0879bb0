"""TCP ports: which are free, and what to say of one that is not."""

from __future__ import annotations

import errno
import secrets
import socket

from holdfast.errors import ServerError

# Below the range from which Linux (32768) and macOS (49152) take the local ports of outgoing
# connections: one of those cannot grab the port between its choice and the server's bind.
_LOWEST, _HIGHEST = 15000, 32000
_TRIES = 200
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port on which nothing listens at `host`; nothing reserves it.

    Raises:
        ServerError: No free port was found, or `host` is no address of this machine.
    """
    for _ in range(_TRIES):
        port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
        if _why_not_bound(host, port) != errno.EADDRINUSE:
            check_port(host, port)
            return port
    raise ServerError(f"No free port was found on {host}.", "name one with --port", retryable=True)


def check_port(host: str, port: int) -> None:
    """Return if a server can listen on `host` and `port`.

    Raises:
        ServerError: Another process listens there, the port needs privileges, or `host` is no
            address of this machine.
    """
    code = _why_not_bound(host, port)
    if code == 0:
        return
    if code == errno.EADDRINUSE:
        raise ServerError(
            f"Port {port} on {host} is in use by another process.",
            "choose another one with --port (--port 0 finds a free one), or end that process "
            f"(`lsof -i :{port}` names it; macOS uses port 5000 for AirPlay)",
        )
    if code in (errno.EACCES, errno.EPERM):
        raise ServerError(f"Port {port} on {host} needs privileges.", "choose a port above 1023 with --port")
    raise ServerError(
        f"{host} is no address of this machine.", "use --host 127.0.0.1, or 0.0.0.0 for every network interface"
    )


def reachable_host(host: str) -> str:
    """Return the host by which this machine reaches a server bound to `host` (`0.0.0.0` is no destination)."""
    return _WILDCARDS.get(host, host)


def url_of(host: str, port: int) -> str:
    """Return the base URL by which this machine reaches a server bound to `host` and `port`."""
    name = reachable_host(host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _why_not_bound(host: str, port: int) -> int:
    """Return 0, or the errno with which `bind` fails."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror:
        return errno.EADDRNOTAVAIL
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: a port whose last connections are in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            return error.errno or errno.EADDRNOTAVAIL
    return 0
