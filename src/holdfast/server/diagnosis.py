"""From what a server wrote to one error with the command that mends it."""

from __future__ import annotations

import re

from holdfast.backend import diagnosis
from holdfast.errors import ServerError

_PORT_TAKEN = re.compile(r"[Aa]ddress already in use|Connection in use")


def diagnose(text: str, backend_store_uri: str) -> ServerError | None:
    """Return the error for the cause that `text` (a log, an exception's text) tells of, or None."""
    if _PORT_TAKEN.search(text):
        return ServerError(
            "The port of the MLflow server was taken by another process.",
            "choose another one with --port (--port 0 finds a free one)",
            retryable=True,
        )
    known = diagnosis.diagnose(text, backend_store_uri, "MLFLOW_BACKEND_STORE_URI")
    return ServerError(known.message, known.hint, known.retryable) if known else None


def last_lines(text: str, count: int = 15) -> str:
    """Return the last `count` lines that are not blank."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-count:])
