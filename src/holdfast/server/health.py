"""Whether a tracking server really works: `/health` alone never touches its database."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

_QUERY = "/api/2.0/mlflow/experiments/search"
_LONGEST_BODY = 300


def why_not_healthy(url: str, timeout_s: float = 5.0) -> str:
    """Ask the server at `url` for its health and one row of its database; return "" or what is amiss.

    No proxy, redirect or credential is used.
    """
    parts = urlsplit(url)
    try:
        return _ask(parts.hostname or "", parts.port or 80, timeout_s)
    except ConnectionRefusedError:
        return "nothing listens there yet"
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except (OSError, http.client.HTTPException) as error:
        return f"the connection failed: {type(error).__name__}: {error}"


def _ask(host: str, port: int, timeout_s: float) -> str:
    for method, path, body in (("GET", "/health", None), ("POST", _QUERY, json.dumps({"max_results": 1}))):
        connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        finally:
            connection.close()
        if response.status != 200:
            return f"{method} {path} was answered with {response.status}: {text.strip()[:_LONGEST_BODY]}"
    return ""
