"""What to say where the journal itself is in trouble, and not the server."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.journal.segment import HINTS


def disk_reason(error: OSError, root: Path) -> str:
    """Return why a journal cannot be delivered from, with the remedy, which is another one than waiting.

    Args:
        error: What the file system said.
        root: The journal.
    """
    if isinstance(error, ConnectionError | TimeoutError):
        return str(error)
    where = f" ({os.fspath(error.filename)!s})" if error.filename is not None else ""
    remedy = HINTS.get(error.errno or 0, f"see `ls -ld '{root}'`, or set HOLDFAST_JOURNAL to another folder")
    return f"the journal {root} cannot be written to: {error.strerror or error}{where}; {remedy}"
