"""Whether one artifact location lies below another, in whichever of their forms both are written."""

from __future__ import annotations

from holdfast.core.uris import normalize_artifact_root
from holdfast.errors import InvalidInputError

PROBES = ".holdfast-doctor"
"""The folder below an artifact root where it is tried whether files can be stored; a writer may delete there."""


def lies_below(location: str, root: str) -> bool:
    """Whether a location is a root or lies below it: `s3://b/a/x` does below `s3://b/a`, and `s3://b/ab` does not."""
    below, above = _plain(location), _plain(root)
    return below == above or below.startswith(above.rstrip("/") + "/")


def _plain(uri: str) -> str:
    try:
        return normalize_artifact_root(uri)
    except InvalidInputError:
        return uri
