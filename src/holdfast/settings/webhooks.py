"""`[tool.holdfast] webhooks`: who is told what happens to models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from holdfast.core.history import Kind
from holdfast.errors import InvalidInputError

if TYPE_CHECKING:
    from holdfast.settings.values import Where

_KEYS = ("url", "events", "models")
_FORM = 'write [{ url = "https://host/path", events = ["moved"], models = ["name"] }]'


def webhooks(value: object, where: Where) -> tuple[Mapping[str, Any], ...]:
    """Return webhooks from a list of tables, or such a list as JSON.

    Each has a `url`; `events`, kinds of events (all if not given), spelt as in the history, or with `-` or `_` for a
    blank; and `models`, names or patterns such as `game-*` (all if not given). Secrets in a URL are not shown.

    Raises:
        InvalidInputError: Names everything that is wrong with every one of them.
    """
    found = _parsed(value) if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(item, Mapping) for item in found):
        raise InvalidInputError(f"{where.name} is no list of tables.", _FORM)
    problems: list[str] = []
    hooks = tuple(_hook(item, f"{where.name}[{number}]", problems) for number, item in enumerate(found, 1))
    urls = [hook["url"] for hook in hooks]
    twice = [number for number, url in enumerate(urls, 1) if url and url in urls[: number - 1]]
    problems += [f"{where.name}[{number}] has the URL of an earlier one" for number in twice]
    if problems:
        raise InvalidInputError("; ".join(problems) + ".", _FORM)
    return hooks


def host_of(url: str) -> str:
    """Return all of a webhook's URL that is shown: scheme, host and port; what follows may be a secret."""
    parts = urlsplit(url)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{parts.hostname or '?'}{port}"


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _hook(item: Mapping[str, Any], name: str, problems: list[str]) -> Mapping[str, Any]:
    unknown = [str(key) for key in item if key not in _KEYS]
    if unknown:
        problems.append(f"{name} holds {', '.join(unknown)}, which is not known (known: {', '.join(_KEYS)})")
    return MappingProxyType(
        {
            "url": _url(item.get("url"), name, problems),
            "events": tuple(_kind(word, name, problems) for word in _texts(item, "events", name, problems)),
            "models": tuple(_texts(item, "models", name, problems)),
        }
    )


def _url(value: object, name: str, problems: list[str]) -> str:
    url = value.strip() if isinstance(value, str) else ""
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_whole = False
    if not is_whole or not url.isprintable():
        problems.append(f"{name}.url is no http(s) URL with a host")
    return url


def _texts(item: Mapping[str, Any], key: str, name: str, problems: list[str]) -> list[str]:
    value = item.get(key, [])
    if isinstance(value, list | tuple) and all(isinstance(text, str) and text.strip() for text in value):
        return [text.strip() for text in value]
    problems.append(f"{name}.{key} is no list of texts")
    return []


def _kind(word: str, name: str, problems: list[str]) -> str:
    plain = " ".join(word.lower().replace("-", " ").replace("_", " ").split())
    known = [kind.value for kind in Kind]
    if plain not in known:
        problems.append(f"{name}.events has {word!r}, which is no kind of event (known: {', '.join(known)})")
    return plain
