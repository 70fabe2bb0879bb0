"""MLflow's searches, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

PAGE = 1000


def all_of(search: Any, page: int = PAGE, **arguments: Any) -> Iterator[Any]:
    """Yield all that a search of MLflow's client finds, `page` at once."""
    token: str | None = None
    while True:
        found = search(max_results=page, page_token=token, **arguments)
        yield from found
        token = found.token
        if not token:
            return
