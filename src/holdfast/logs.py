"""Structured logging through the standard library, with passwords in URIs hidden.

Importing adds no handler and sets no level: where the records go is the application's choice.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import structlog

from holdfast.core.redaction import names_a_secret
from holdfast.core.uris import MASK, mask_passwords_in


def get_logger(name: str) -> Any:
    """Return the logger of a module: `log.warning("what happened", run=run_id)`."""
    return structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            _hide_secrets,
            _render,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _hide_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if names_a_secret(key):
            event[key] = MASK
        elif isinstance(value, str):
            event[key] = mask_passwords_in(value)
    return event


def _render(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    details = " ".join(f"{key}={value}" for key, value in event.items() if key != "event")
    return f"{event['event']} ({details})" if details else str(event["event"])
