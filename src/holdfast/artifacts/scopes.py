"""Which project's keys serve an S3 address in this process.

Plain `mlflow.log_artifact` names an address and no project. Projects that are open say here which addresses are
theirs; for one that nobody has claimed, the settings of the working directory count.
"""

from __future__ import annotations

import threading

from holdfast.artifacts.access import S3Access

_lock = threading.Lock()
_claims: dict[str, list[tuple[object, S3Access]]] = {}


class Claim:
    """An address and all below it that belongs to a project until it is let go; of two for one, the later counts.

    Args:
        root_uri: `s3://bucket/prefix`.
        access: The project's way to it.
    """

    def __init__(self, root_uri: str, access: S3Access) -> None:
        self._root = root_uri.rstrip("/")
        with _lock:
            _claims.setdefault(self._root, []).append((self, access))

    def release(self) -> None:
        """Let it go; nothing happens where that was done before."""
        with _lock:
            left = [entry for entry in _claims.get(self._root, []) if entry[0] is not self]
            if left:
                _claims[self._root] = left
            else:
                _claims.pop(self._root, None)


def access_for(uri: str) -> S3Access | None:
    """Return the access of the project that has claimed an address, or the closest one above it; None for nobody's."""
    root = uri.rstrip("/")
    with _lock:
        while root.count("/") >= 2 and root != "s3:/":
            found = _claims.get(root)
            if found:
                return found[-1][1]
            root = root.rpartition("/")[0]
    return None
