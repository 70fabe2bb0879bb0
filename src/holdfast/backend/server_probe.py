"""Asks a tracking server small questions without MLflow, and tells why it does not answer as one."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from holdfast.backend.rest_sender import _Session
from holdfast.core.login import Authorization, Login, split_login
from holdfast.core.redaction import Redactor
from holdfast.core.uris import mask_uri, secrets_in
from holdfast.errors import BackendError, BackendUnavailableError, HoldfastError, PermissionDeniedError

_QUERY = "/api/2.0/mlflow/experiments/search"
_SETTING = "MLFLOW_TRACKING_URI"
_CA = "MLFLOW_TRACKING_SERVER_CERT_PATH"
# As requests says it, before anything is sent.
_NO_FILE = re.compile(r"Could not find (a suitable TLS CA certificate|the TLS (certificate|key) file)")


class ServerProbe:
    """One tracking server, asked with a few seconds of patience and nothing tried twice.

    Args:
        url: Its tracking URI; a user and password in it win over those of `login`, as in MLflow.
        login: How to log in, and whom to believe.
        timeout_s: How long connecting and each silence may last, in seconds.
        setting: The setting that holds the URI; hints name it.
    """

    def __init__(self, url: str, login: Login, timeout_s: float, setting: str = _SETTING) -> None:
        header, self._url = split_login(url.rstrip("/"))
        self.has_login = bool(header or login.header)
        self._auth = Authorization(header or login.header)
        self._verify: bool | str = False if login.insecure_tls else login.ca_file or True
        self._certificate = login.client_cert
        self._timeout_s = timeout_s
        self._setting = setting
        self._hide = Redactor([*secrets_in(url), login.password or "", login.token or ""])
        self._session = _Session()  # what it does not follow, the delivery does not either
        if login.insecure_tls:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def __repr__(self) -> str:
        return f"ServerProbe({self.shown!r})"

    @property
    def shown(self) -> str:
        """Its address, for people."""
        return self._hide(mask_uri(self._url))

    def query(self) -> float:
        """Ask for one experiment, which needs the server's database; return how long that took, in seconds.

        Raises:
            HoldfastError: It does not answer, refuses, or is no tracking server; the hint says what mends that.
        """
        began_s = time.monotonic()
        answer = self._ask("POST", _QUERY, {"max_results": 1})
        took_s = time.monotonic() - began_s
        if answer.status_code != requests.codes.ok:
            raise self._refusal(answer)
        if not isinstance(_json_of(answer), dict):
            raise self._no_server(answer)
        return took_s

    def query_models(self) -> None:
        """Ask for one registered model; raises as `query` does."""
        answer = self._ask("GET", "/api/2.0/mlflow/registered-models/search?max_results=1", None)
        if answer.status_code != requests.codes.ok:
            raise self._refusal(answer)

    def version(self) -> str:
        """Return the version of MLflow that the server runs; an empty text where it does not say.

        Raises:
            HoldfastError: It does not answer.
        """
        answer = self._ask("GET", "/version", None)
        said = answer.text.strip() if answer.status_code == requests.codes.ok else ""
        return said if re.fullmatch(r"\d+\.\d+[\w.+\-]{0,30}", said) else ""

    # -- what goes wrong --------------------------------------------------------------

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> requests.Response:
        try:
            return self._session.request(
                method,
                self._url + path,
                json=body,
                auth=self._auth if self._auth.header else None,
                timeout=self._timeout_s,
                verify=self._verify,
                cert=self._certificate,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise self._trouble(error) from None

    def _trouble(self, error: Exception) -> HoldfastError:
        """Return why there was no answer at all."""
        if isinstance(error, requests.exceptions.SSLError) or _NO_FILE.search(str(error)):
            return self._tls(str(error))
        if isinstance(error, requests.exceptions.ProxyError):
            host = urlsplit(self._url).hostname
            return _away(
                f"The HTTP proxy on the way to {self.shown} fails", f"export NO_PROXY={host}, or mend HTTP_PROXY"
            )
        if isinstance(error, requests.exceptions.Timeout):
            return _away(
                f"{self.shown} gives no answer within {self._timeout_s:g} s",
                f"see what swallows it (`curl -v {self.shown}/health`), or correct {self._setting}",
            )
        return self._not_connected(str(error), _inner(error))

    def _not_connected(self, text: str, cause: str) -> HoldfastError:
        where, host = self.shown, urlsplit(self._url).hostname or ""
        if "NameResolutionError" in text or "getaddrinfo" in text:
            return _away(f"The host name {host!r} is not known", f"correct the host in {self._setting}={where}")
        if "refused" in text:
            return _away(
                f"Nobody listens at {where}: connection refused",
                f"start the server (`holdfast up`), or correct host and port in {self._setting}",
            )
        if self._url.lower().startswith("http://") and _speaks_tls(self._url, self._timeout_s):
            return BackendError(
                f"The server at {where} speaks TLS, and the address says http.",
                f"set {self._setting}={where.replace('http://', 'https://', 1)}",
            )
        return _away(
            f"{where} ends the connection without an answer: {self._hide(cause)}",
            f"see the server's log and what stands before it, or correct {self._setting}",
        )

    def _tls(self, text: str) -> HoldfastError:
        where = self.shown
        if re.search(r"WRONG_VERSION_NUMBER|record layer failure|UNKNOWN_PROTOCOL", text, re.I):
            return BackendError(
                f"The server at {where} speaks plain HTTP, and the address says https.",
                f"set {self._setting}={where.replace('https://', 'http://', 1)}, or put TLS before the server",
            )
        if (file := _NO_FILE.search(text)) is not None:
            setting = _CA if "CA" in file[0] else "MLFLOW_TRACKING_CLIENT_CERT_PATH"
            return BackendError(f"{self._hide(text)[:200]}.", f"correct {setting}, or unset it")
        if "expired" in text:
            return BackendError(f"The certificate of {where} has expired.", "renew it on the server")
        if re.search(r"mismatch|doesn't match|not valid for", text):
            return BackendError(
                f"The certificate of {where} is for another name.",
                f"write a name in {self._setting} for which it was issued",
            )
        return BackendError(
            f"The certificate of {where} is of an authority that is not known here.",
            f"export {_CA}=/path/to/ca.pem",
        )

    def _refusal(self, answer: requests.Response) -> HoldfastError:
        status, said = answer.status_code, self._hide(_said(answer))
        heard = f"{self.shown} answers HTTP {status}{f': {said}' if said else ''}".rstrip(".")
        if status in (401, 403, 407):
            return self._login_refused(status, said, heard)
        if 300 <= status < 400:
            to = self._hide(mask_uri(answer.headers.get("Location", "?")))
            return BackendError(f"{self.shown} sends us to {to}.", f"set {self._setting} to where the server is")
        if status == 429 or status in (502, 503, 504):
            return _away(
                heard, "what stands before the MLflow server does not reach it: start it again, or wait and try again"
            )
        if status >= 500:
            return _away(
                f"{heard}; it runs, and its database does not answer",
                "see the server's log, and run `holdfast doctor --only server` where MLFLOW_BACKEND_STORE_URI is set",
            )
        return self._no_server(answer) if _mlflow_code(answer) == "" else BackendError(f"{heard}.", _UPGRADE)

    def _login_refused(self, status: int, said: str, heard: str) -> HoldfastError:
        if "Invalid Host header" in said:
            host = urlsplit(self._url).netloc.rpartition("@")[2]
            return PermissionDeniedError(f"{heard}.", f"start the server with --allowed-hosts {host}")
        if status == 407:
            return PermissionDeniedError(
                f"{heard}.", "give the proxy's user and password in HTTP_PROXY, or set NO_PROXY"
            )
        if not self.has_login:
            return PermissionDeniedError(
                f"{heard}; a login is needed, and none is set.",
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
            )
        return PermissionDeniedError(
            f"{heard}; it refuses this login.",
            "correct MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN "
            "(`holdfast config show` says where they come from)",
        )

    def _no_server(self, answer: requests.Response) -> HoldfastError:
        what = "a web page" if answer.text.lstrip()[:1] == "<" else "something else"
        return BackendError(
            f"{self.shown} answers with {what}, not as an MLflow server (HTTP {answer.status_code}).",
            f"set {self._setting} to the server itself: host, port, and the path where one stands before its API",
        )


def _away(message: str, hint: str) -> BackendUnavailableError:
    return BackendUnavailableError(f"{message}.", hint, retryable=True)


_UPGRADE = "see `holdfast doctor --only server.version`: the server may be another release of MLflow"


def _json_of(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _mlflow_code(answer: requests.Response) -> str:
    said = _json_of(answer)
    return str(said.get("error_code", "")) if isinstance(said, dict) else ""


def _said(answer: requests.Response) -> str:
    """Return what an error's body says in few words."""
    said = _json_of(answer)
    text = str(said.get("message", "")) if isinstance(said, dict) else answer.text[:4000]
    text = text.partition("\n[SQL")[0] or json.dumps(said)
    return " ".join(re.sub(r"(?s)<(style|script).*?</\1>|<[^>]*>", " ", text).split())[:200]


def _inner(error: BaseException) -> str:
    """Return what happened in few words: the innermost cause that requests and urllib3 have wrapped."""
    for inner in (getattr(error, "reason", None), *error.args):
        if isinstance(inner, BaseException):
            return _inner(inner)
    return f"{error}"[:200] or type(error).__name__


def _speaks_tls(url: str, timeout_s: float) -> bool:
    """Whether the port answers a TLS handshake, whatever its certificate."""
    parts = urlsplit(url)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 80), timeout=timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname),
        ):
            return True
    except OSError:
        return False
