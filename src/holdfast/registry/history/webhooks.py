"""Posting an event to somebody else's server, signed as Standard Webhooks have it (standardwebhooks.com).

The signature is HMAC-SHA256 over `ID.TIMESTAMP.BODY`, base64, in the header `webhook-signature` as `v1,…`; `webhook-id`
is the same with every attempt at one event, so that a receiver can leave out what it has seen.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from holdfast.core.history import Event
from holdfast.errors import SettingsError
from holdfast.settings.webhooks import host_of

if TYPE_CHECKING:
    import requests

_CONNECT_S, _ANSWER_S = 2.0, 4.0
_LONGEST_WAIT_S = 3600.0
# Refusals that another moment may change.
_PASSING = (408, 425, 429)
_PREFIX = "whsec_"


@dataclass(frozen=True)
class Webhook:
    """Somebody who is told.

    Attributes:
        url: Where; never shown, for it may hold a secret.
        events: The kinds of events; empty for all.
        models: Names or patterns of models; empty for all.
    """

    url: str = field(repr=False)
    events: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """Scheme and host, for people."""
        return host_of(self.url)

    @property
    def key(self) -> str:
        """Tells it from others, and nothing about its URL."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:12]

    def is_for(self, model: str) -> bool:
        """Whether it is told of a model."""
        return not self.models or any(fnmatch.fnmatchcase(model, pattern) for pattern in self.models)

    def wants(self, event: Event) -> bool:
        """Whether it is told of an event."""
        return not self.events or event.kind.value in self.events


@dataclass(frozen=True)
class Answer:
    """What became of an attempt.

    Attributes:
        reason: Why it failed, without anything of the URL or of what the server wrote; empty where it worked.
        is_final: Whether another attempt would be refused in the same way.
        wait_s: How long the server asks to be left alone, in seconds.
    """

    reason: str = ""
    is_final: bool = False
    wait_s: float = 0.0

    @property
    def is_ok(self) -> bool:
        """Whether the server took it."""
        return not self.reason


def webhooks_of(tables: Sequence[Mapping[str, Any]]) -> tuple[Webhook, ...]:
    """Return the webhooks of the settings."""
    return tuple(Webhook(str(item["url"]), tuple(item["events"]), tuple(item["models"])) for item in tables)


def body_of(event: Event) -> bytes:
    """Return what is posted: `type` (`model.rolled_back`), `timestamp` and the event itself as `data`."""
    kind = event.kind.value.replace(" ", "_")
    content = {"type": f"model.{kind}", "timestamp": event.at, "data": event.to_dict()}
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def sign(secrets: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature`, one `v1,…` for each secret.

    Args:
        secrets: One or more, with blanks between; `whsec_…` holds its key as base64, another is the key itself.
        webhook_id: The value of `webhook-id`.
        timestamp: The value of `webhook-timestamp`, seconds since the epoch.
        body: What is sent.

    Raises:
        SettingsError: A secret that begins with `whsec_` is no base64.
    """
    content = f"{webhook_id}.{timestamp}.".encode() + body
    digests = (hmac.digest(_key(secret), content, hashlib.sha256) for secret in secrets.split())
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def _key(secret: str) -> bytes:
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise SettingsError(
            "HOLDFAST_WEBHOOK_SECRET begins with whsec_, and what follows is no base64.", "copy it again, whole"
        ) from None


def post(hook: Webhook, secrets: str, event: Event) -> Answer:
    """Make one attempt to post an event; it takes six seconds at most where the server keeps to HTTP.

    Redirects are not followed: the receiver is who the settings name.
    """
    import requests

    body, now = body_of(event), int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "holdfast",
        "webhook-id": event.id,
        "webhook-timestamp": str(now),
        "webhook-signature": sign(secrets, event.id, now, body),
    }
    try:
        with requests.post(
            hook.url, data=body, headers=headers, timeout=(_CONNECT_S, _ANSWER_S), allow_redirects=False, stream=True
        ) as answer:
            return _judged(answer)
    except requests.exceptions.SSLError:
        return Answer("its certificate is not accepted")
    except requests.exceptions.Timeout:
        return Answer("it did not answer in time")
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError):
        return Answer("its URL is not valid", is_final=True)
    except requests.exceptions.RequestException as error:
        # Not its text, which holds the URL.
        return Answer(f"it cannot be reached ({type(error).__name__})")


def _judged(answer: requests.Response) -> Answer:
    status = answer.status_code
    if 200 <= status < 300:
        return Answer()
    reason = f"HTTP {status}" + (", a redirect, which is not followed" if 300 <= status < 400 else "")
    is_final = 300 <= status < 500 and status not in _PASSING
    return Answer(reason, is_final, _retry_after_s(answer.headers.get("Retry-After", "")))


def _retry_after_s(header: str) -> float:
    if re.fullmatch(r"\d{1,9}", header.strip()):
        return min(float(header), _LONGEST_WAIT_S)
    from email.utils import parsedate_to_datetime

    try:
        wait_s = parsedate_to_datetime(header).timestamp() - time.time()
    except (ValueError, TypeError):
        return 0.0
    return min(max(wait_s, 0.0), _LONGEST_WAIT_S)
