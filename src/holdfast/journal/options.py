"""How a journal is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SyncPolicy = Literal["interval", "always", "process"]


@dataclass(frozen=True)
class JournalOptions:
    """How a journal is kept.

    Attributes:
        sync: When what was logged is forced to the disk: every `sync_interval_s`, after each call (`always`), or
            never (`process`: a killed process loses nothing, a power cut may).
        sync_interval_s: The interval, in seconds.
        limit_bytes: How large the journal may grow. Delivered segments are deleted early where it is reached.
        when_full: What happens to a call that finds it full: `error`, or `block` until there is room.
        segment_bytes: How large a segment may grow.
        keep_s: How long delivered runs are kept for `holdfast verify`, in seconds.
    """

    sync: SyncPolicy = "interval"
    sync_interval_s: float = 1.0
    limit_bytes: int = 10 << 30
    when_full: Literal["error", "block"] = "error"
    segment_bytes: int = 16 << 20
    keep_s: float = 7 * 86400.0
