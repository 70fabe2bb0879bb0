"""Places, and which of many covers an address.

Addresses are compared as they are, text by text: a key of a bucket may hold anything, empty segments and `..` too, and
two keys that differ in a single slash are two keys.
"""

from __future__ import annotations

import posixpath
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_BUCKET = re.compile(r"[a-z][a-z0-9+.\-]*://[^/\s]+(?:/.*)?", re.DOTALL)
_PROXIED = "mlflow-artifacts:"


def covers(outer: str, inner: str) -> bool:
    """Whether an address is a place or lies below it: `s3://b/a` covers `s3://b/a/x`, and nothing of `s3://b/ab`."""
    return inner.startswith(outer) and (len(inner) == len(outer) or inner[len(outer)] == "/")


def overlap(one: str, other: str) -> bool:
    """Whether one of two places covers the other."""
    return covers(one, other) or covers(other, one)


def is_understood(place: str) -> bool:
    """Whether a place is one below which something may be deleted.

    It is absolute, ends without a slash, and is neither the whole disk nor the whole of a server's artifacts; a path,
    which means the same as another where it holds `..`, holds none.
    """
    if not place or place.endswith("/") or "\x00" in place:
        return False
    path = place.removeprefix(_PROXIED)
    if path.startswith("/") and not path.startswith("//"):
        return posixpath.normpath(path) == path
    return path == place and _BUCKET.fullmatch(place) is not None


def protecting(place: str) -> str:
    """Return the form of a place in which it protects, however it was written: without slashes at its end or `..`."""
    head = _PROXIED if place.startswith(_PROXIED + "/") else ""
    path = place.removeprefix(head)
    if path.startswith("/"):
        path = "/" + posixpath.normpath(path).lstrip("/")
    return (head + path).rstrip("/")


class PlaceMap(Generic[T]):
    """Places with their owners; looking one up takes as long as its address has slashes, however many there are."""

    def __init__(self, pairs: Iterable[tuple[str, T]] = ()) -> None:
        self._owners: dict[str, list[T]] = {}
        self._sorted: list[str] | None = None
        self._shortest = 0
        for place, owner in pairs:
            self.add(place, owner)

    def __len__(self) -> int:
        return len(self._owners)

    def __contains__(self, place: str) -> bool:
        return place in self._owners

    def __iter__(self) -> Iterator[str]:
        return iter(self._owners)

    def add(self, place: str, owner: T) -> None:
        """Add an owner to a place."""
        if place not in self._owners:
            self._sorted = None
            self._shortest = min(self._shortest, len(place)) if self._owners else len(place)
        self._owners.setdefault(place, []).append(owner)

    def at(self, place: str) -> list[T]:
        """Return the owners of just this place."""
        return list(self._owners.get(place, ()))

    def deepest(self, address: str) -> str | None:
        """Return the longest place that covers an address, or None."""
        return next(self._up(address), None)

    def at_or_above(self, place: str) -> Iterator[tuple[str, T]]:
        """Yield each place that covers this one with each of its owners, the longest first."""
        for found in self._up(place):
            for owner in self._owners[found]:
                yield found, owner

    def below(self, place: str) -> Iterator[tuple[str, T]]:
        """Yield each place that lies below this one, itself left out, with each of its owners."""
        if self._sorted is None:
            self._sorted = sorted(self._owners)
        start = bisect_left(self._sorted, place + "/")
        # What follows a slash in the order of characters is 0: the places below stand together.
        end = bisect_left(self._sorted, place + "0", lo=start)
        for found in self._sorted[start:end]:
            for owner in self._owners[found]:
                yield found, owner

    def around(self, place: str) -> Iterator[tuple[str, T]]:
        """Yield each place at, above or below this one with each of its owners."""
        yield from self.at_or_above(place)
        yield from self.below(place)

    def _up(self, address: str) -> Iterator[str]:
        place, owners, shortest = address, self._owners, self._shortest
        while len(place) >= shortest:
            if place in owners:
                yield place
            cut = place.rfind("/")
            if cut < 0:
                return
            place = place[:cut]
