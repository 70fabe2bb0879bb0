"""Other libraries' names of metrics, as MLflow takes them."""

from __future__ import annotations

import re
from functools import lru_cache

from holdfast.core.names import why_bad_key

_REFUSED = re.compile(r"[^\w/. :-]+", re.ASCII)
_MOST = 250


@lru_cache(maxsize=4096)
def metric_name(name: str) -> str:
    """Return a name that MLflow takes: `@` becomes `_at_`, other signs that it refuses and empty parts go."""
    if not why_bad_key(name):
        return name
    spelled = _REFUSED.sub("_", name.replace("@", "_at_"))
    parts = [part for part in spelled.split("/") if part.strip(".")]
    return "/".join(parts)[:_MOST].rstrip("/") or "unnamed"
