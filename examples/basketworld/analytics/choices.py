"""What a command lets one choose among: a module that its help can import at once."""

from __future__ import annotations

from enum import StrEnum


class Pairings(StrEnum):
    """Who plays whom."""

    SEQUENTIAL = "sequential"
    ROUND_ROBIN = "round-robin"
    SPARSE = "sparse"


class Format(StrEnum):
    """Of films."""

    GIF = "gif"
    MP4 = "mp4"
