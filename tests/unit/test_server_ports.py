"""Ports that are taken are named, with a way out."""

from __future__ import annotations

import socket

import pytest

from holdfast.errors import ServerError
from holdfast.server.ports import check_port, free_port, url_of


def test_a_free_port_is_free() -> None:
    port = free_port()
    check_port("127.0.0.1", port)
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_port_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"Port {port} .* in use") as caught:
            check_port("127.0.0.1", port)
    assert "--port" in caught.value.hint


def test_a_port_just_left_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()  # its side stays in TIME_WAIT
            client.recv(1)
    check_port("127.0.0.1", port)


@pytest.mark.parametrize("host", ["203.0.113.1", "no such host"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(ServerError, match="no address of this machine"):
        check_port(host, 5000)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:5000"),
        ("localhost", "http://localhost:5000"),
        ("0.0.0.0", "http://127.0.0.1:5000"),  # noqa: S104
        ("::", "http://[::1]:5000"),
    ],
)
def test_urls_can_be_reached_from_here(host: str, url: str) -> None:
    assert url_of(host, 5000) == url
