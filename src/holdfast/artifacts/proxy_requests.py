"""Requests to an MLflow server that keeps files: logged in, tried again where that helps, and explained where not."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeVar
from urllib.parse import quote

import requests
import urllib3
from requests.adapters import HTTPAdapter

from holdfast.core.dice import draw
from holdfast.core.login import Authorization, Login, split_login
from holdfast.core.redaction import Redactor
from holdfast.core.uris import mask_uri, secrets_in
from holdfast.errors import ArtifactError

_CONNECT_S = 5.0
_ANSWER_S = 120.0
# A server hands a file on to its own store before it answers; no slower than this.
_SLOWEST_STORE_BYTES_A_SECOND = 4e6
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 15.0
_PASSING = (408, 425, 429, 500, 502, 503, 504)
# What MLflow answers where its own store fails, for a moment or for good.
_TRIES_ON_500 = 4
_LOGIN_HINT = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, for a user who may do this"
)
_HINTS = {
    401: _LOGIN_HINT,
    403: _LOGIN_HINT,
    413: "let the proxy before the MLflow server take larger bodies (client_max_body_size with nginx), "
    "or write to S3 directly",
}
_T = TypeVar("_T")


class Lost(Exception):  # noqa: N818  # it is caught here, or becomes an ArtifactError
    """A request that failed, and may work the next time.

    Args:
        reason: What happened.
        wait_s: How long the server asked to be left alone.
        tries: How often it is tried at most, or None for as long as there is time.
        code: `HTTP 500` and the like, where there was an answer.
    """

    def __init__(self, reason: str, wait_s: float = 0.0, tries: int | None = None, code: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.wait_s = wait_s
        self.tries = tries


class ProxyRequests:
    """Talks to one server; threads may share it, and a forked process makes connections of its own.

    Args:
        url: The server, up to where MLflow's API begins; a user and password in it win over those of `login`.
        login: How to log in.
        deadline_s: How long one thing is tried again.
        threads: How many connections are kept.
    """

    def __init__(self, url: str, login: Login, deadline_s: float, threads: int) -> None:
        url_login, self._url = split_login(url.rstrip("/"))
        header = url_login or login.header
        self._auth = Authorization(header) if header else None
        secrets = [*secrets_in(url), login.password or "", login.token or "", header.partition(" ")[2]]
        self.hide = Redactor([text for secret in secrets for text in (secret, quote(secret, safe=""))])
        self._verify: bool | str = False if login.insecure_tls else login.ca_file or True
        self._certificate = login.client_cert
        self._deadline_s = deadline_s
        self._threads = threads
        self._lock = threading.Lock()
        self._sessions: dict[int, requests.Session] = {}
        if login.insecure_tls:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def __repr__(self) -> str:
        return f"ProxyRequests({self.shown!r})"

    @property
    def shown(self) -> str:
        """The server, for people."""
        return self.hide(mask_uri(self._url))

    def run(self, what: str, call: Callable[[], _T], stop: threading.Event | None = None) -> _T:
        """Call until it works, is refused, or the time is over.

        Args:
            what: `Cannot store x in http://…`; begins the message.
            call: Raises `Lost` where another try may work, and ArtifactError where not.
            stop: Set by others where nobody needs the result any more.

        Raises:
            ArtifactError: It did not work; `retryable` where it was `Lost` until the end.
        """
        until_s, tries = time.monotonic() + self._deadline_s, 0
        while True:
            tries += 1
            try:
                return call()
            except Lost as lost:
                longest_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(tries, 10))
                pause_s = max(lost.wait_s, draw(0.5 * longest_s, longest_s))
                if time.monotonic() + pause_s > until_s or tries == lost.tries:
                    raise ArtifactError(
                        f"{what}: {self.hide(lost.reason)} (tried {tries} times)",
                        "see that the server runs and MLFLOW_TRACKING_URI is right, then call again",
                        retryable=True,
                        code=lost.code,
                    ) from None
                if (stop or threading.Event()).wait(pause_s):
                    raise ArtifactError(f"{what}: given up, because another file failed.", retryable=True) from None

    @contextmanager
    def asked(
        self,
        what: str,
        method: str,
        path: str,
        body: IO[bytes] | bytes | Any = None,
        query: dict[str, str] | None = None,
        size_bytes: int = 0,
    ) -> Iterator[requests.Response]:
        """Give the answer to one request, with its body still to be read where it is a file.

        Args:
            what: Begins the message of an error.
            method: GET, PUT or DELETE.
            path: What is asked for, percent-encoded, from the server's URL on.
            body: What is sent.
            query: What stands behind the question mark.
            size_bytes: How large the file is that is sent or fetched, if known; large ones may take longer.

        Raises:
            Lost: There was no whole answer, or one that may be another the next time.
            ArtifactError: The server refuses.
        """
        headers = {"Accept-Encoding": "identity"}  # the length of an answer is the length of the file
        if workspace := os.environ.get("MLFLOW_WORKSPACE", "").strip():
            headers["X-MLFLOW-WORKSPACE"] = workspace
        if body is not None:
            headers["Content-Type"] = "application/octet-stream"
        try:
            with self._session().request(
                method,
                self._url + path,
                params=query,
                data=body,
                headers=headers,
                auth=self._auth,
                timeout=(_CONNECT_S, _ANSWER_S + size_bytes / _SLOWEST_STORE_BYTES_A_SECOND),
                verify=self._verify,
                cert=self._certificate,
                stream=True,
                allow_redirects=method == "GET",
            ) as answer:
                if answer.status_code not in (200, 204):
                    raise self._refusal(what, answer)
                yield answer
        except (
            requests.exceptions.InvalidURL,
            requests.exceptions.SSLError,
            requests.exceptions.InvalidHeader,
        ) as error:
            raise ArtifactError(
                f"{what}: {self.hide(_said(error))}",
                "mend MLFLOW_TRACKING_URI, or MLFLOW_TRACKING_SERVER_CERT_PATH for a certificate of your own",
                code="Certificate",
            ) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise Lost(_said(error)) from None

    def _session(self) -> requests.Session:
        with self._lock:
            session = self._sessions.get(os.getpid())
            if session is None:
                session = requests.Session()
                for scheme in ("http://", "https://"):
                    session.mount(scheme, HTTPAdapter(pool_connections=2, pool_maxsize=self._threads))
                self._sessions = {os.getpid(): session}
            return session

    def _refusal(self, what: str, answer: requests.Response) -> Exception:
        status, said = answer.status_code, _text_of(answer)
        message = f"{what}: HTTP {status} {self.hide(said)}".rstrip()
        if status == 503 and "serve-artifacts" in said:
            return ArtifactError(
                message,
                "start the MLflow server without --no-serve-artifacts, or give the experiment an s3:// root",
                code=f"HTTP {status}",
            )
        if status in _PASSING:
            return Lost(
                f"HTTP {status} {said}".rstrip(),
                _retry_after_s(answer.headers.get("Retry-After", "")),
                _TRIES_ON_500 if status == 500 else None,
                f"HTTP {status}",
            )
        if 300 <= status < 400:
            to = self.hide(mask_uri(answer.headers.get("Location", "")))
            hint = "set MLFLOW_TRACKING_URI to where the server is"
            return ArtifactError(f"{message}: it sends us to {to}.", hint, code=f"HTTP {status}")
        kind = NotThereError if status == 404 else ArtifactError
        return kind(message, _HINTS.get(status, ""), code=f"HTTP {status}")


class NotThereError(ArtifactError):
    """The server has no such file."""


def _text_of(answer: requests.Response) -> str:
    """Return what an error's body says in few words: MLflow's message, or a page's text."""
    raw = b"".join(answer.iter_content(4000))[:8000] if int(answer.headers.get("Content-Length") or 0) < 65536 else b""
    try:
        said = json.loads(raw)
        text = said["detail"] if "detail" in said else f"{said['error_code']}: {said['message']}"
    except (ValueError, KeyError, TypeError):
        text = re.sub(r"(?s)<(style|script|title).*?</\1>|<[^>]*>", " ", raw.decode("utf-8", "replace"))
    return " ".join(text.split())[:400]


def _retry_after_s(header: str) -> float:
    return min(float(header), 60.0) if re.fullmatch(r"\d{1,6}", header.strip()) else 0.0


def _said(error: BaseException) -> str:
    """Return what happened in few words: the innermost cause that requests and urllib3 have wrapped."""
    for inner in (getattr(error, "reason", None), *error.args):
        if isinstance(inner, BaseException):
            return _said(inner)
    found = re.search(r"\[Errno -?\d+\] ([A-Z][\w ]+)", str(error))
    return found[1].strip().lower() if found else f"{type(error).__name__}: {error}"[:400]
