"""How to log in to a tracking server."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote

from holdfast.core.uris import holds_password

_Request = TypeVar("_Request", bound=Any)


@dataclass(frozen=True)
class Login:
    """How to log in to a server, and whom to believe that it is one.

    Attributes:
        username: For HTTP's basic authentication, with `password`.
        password: Its password.
        token: A bearer token; counts where there is no username.
        insecure_tls: Whether the server's certificate is believed unseen.
        ca_file: The certificates of the authorities to believe, in place of the usual ones.
        client_cert: A file with a certificate and key to show to the server.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    insecure_tls: bool = False
    ca_file: str | None = None
    client_cert: str | None = None

    @property
    def header(self) -> str:
        """The value of the Authorization header; empty where there is no login."""
        if self.username and self.password:
            return _basic(self.username, self.password)
        return f"Bearer {self.token}" if self.token else ""


class Authorization:
    """The login as requests takes it: a plain header would give way to what ~/.netrc has for the host.

    Args:
        header: The value of the Authorization header.
    """

    def __init__(self, header: str) -> None:
        self.header = header

    def __call__(self, request: _Request) -> _Request:
        """Put the header on a request; an empty one keeps requests from looking for another."""
        request.headers["Authorization"] = self.header
        return request


def split_login(url: str) -> tuple[str, str]:
    """Return the Authorization header for the user and password in a URL, and the URL without them."""
    match = re.fullmatch(r"([A-Za-z]+://)(.*)@([^@]*)", url, flags=re.DOTALL)
    if match is None or not holds_password(url):
        return "", url
    user, _, password = match[2].partition(":")
    return _basic(unquote(user), unquote(password)), match[1] + match[3]


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
