"""Counting what is stored, in one pass over objects that may be many millions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from holdfast.core.cleanup.plan import Holding
from holdfast.core.cleanup.records import Form, StoredObject

_DIGEST_BYTES = 16
_MODULUS = 1 << (8 * _DIGEST_BYTES)


@dataclass(slots=True)
class Tally:
    """What was counted so far for one place.

    Attributes:
        objects: How many current objects; the other counts are named as a holding's.
        newest_ms: When the newest was stored, delete markers left out.
        touched_ms: When the newest was stored, or deleted.
        has_unknown: Whether the store does not say of all of it when it was stored.
        digest: The sum of the digests of each: the same in whatever order they come, and told from another where two
            that are alike were counted once.
    """

    objects: int = 0
    size_bytes: int = 0
    old_versions: int = 0
    old_bytes: int = 0
    markers: int = 0
    uploads: int = 0
    upload_bytes: int = 0
    newest_ms: int | None = None
    touched_ms: int | None = None
    has_unknown: bool = False
    digest: int = 0

    def add(self, found: StoredObject) -> None:
        """Count something that is stored."""
        if found.form is Form.OBJECT:
            self.objects += 1
            self.size_bytes += found.size_bytes
        elif found.form is Form.OLD:
            self.old_versions += 1
            self.old_bytes += found.size_bytes
        elif found.form is Form.MARKER:
            self.markers += 1
        else:
            self.uploads += 1
            self.upload_bytes += found.size_bytes
        self._add_time(found)
        self.digest = (self.digest + _digest(found)) % _MODULUS

    def _add_time(self, found: StoredObject) -> None:
        if found.modified_ms is None:
            self.has_unknown = True
            return
        self.touched_ms = later(self.touched_ms, found.modified_ms)
        if found.form is not Form.MARKER:
            self.newest_ms = later(self.newest_ms, found.modified_ms)

    def merge(self, other: Tally) -> None:
        """Count all that another tally has counted."""
        self.objects += other.objects
        self.size_bytes += other.size_bytes
        self.old_versions += other.old_versions
        self.old_bytes += other.old_bytes
        self.markers += other.markers
        self.uploads += other.uploads
        self.upload_bytes += other.upload_bytes
        self.newest_ms = later(self.newest_ms, other.newest_ms)
        self.touched_ms = later(self.touched_ms, other.touched_ms)
        self.has_unknown = self.has_unknown or other.has_unknown
        self.digest = (self.digest + other.digest) % _MODULUS

    def holding(self) -> Holding:
        """Return what was counted as it stands in a plan."""
        return Holding(
            objects=self.objects,
            size_bytes=self.size_bytes,
            old_versions=self.old_versions,
            old_bytes=self.old_bytes,
            markers=self.markers,
            uploads=self.uploads,
            upload_bytes=self.upload_bytes,
            newest_ms=self.newest_ms,
            digest=f"{self.digest:032x}",
        )


def later(one: int | None, other: int | None) -> int | None:
    """Return the later of two times, of which either may be unknown."""
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


def _digest(found: StoredObject) -> int:
    # The representation of a tuple of texts tells apart what plain joining would confuse.
    told = repr((found.address, found.version_id, found.size_bytes, found.modified_ms, found.form.value))
    # Keys may hold what is no Unicode; it becomes a representation of its own, never an error.
    made = hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
    return int.from_bytes(made, "big")
