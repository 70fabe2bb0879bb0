"""Places: one form for every address that MLflow has, so that two that name the same files are seen to do so."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlparse, urlsplit
from urllib.request import url2pathname

from holdfast.artifacts.proxied import API, resolve
from holdfast.bucket.roots import normal_path, path_of_file_uri, plain_form
from holdfast.core.uris import join_uri, mask_uri, scheme_of
from holdfast.settings import Settings

_PROXIED = "mlflow-artifacts"
# What no key of a bucket can be told from: MLflow reads an address as a URL, and takes these off.
_URL_MARKS = re.compile(r"[?#]")


class Places:
    """Makes places of addresses.

    Args:
        tracking_uri: The project's tracking store, which `mlflow-artifacts:` addresses mean where it is a server.
        destination: Where that server keeps what it is sent; empty where nobody knows.
    """

    def __init__(self, tracking_uri: str, destination: str = "") -> None:
        self._tracking_uri = tracking_uri if scheme_of(tracking_uri) in ("http", "https") else ""
        self._folders: dict[str, str] = {}
        self._linked: dict[str, dict[str, None]] = {}
        self._sent: dict[str, str] = {}
        self._readings: dict[str, tuple[str, ...]] = {}
        self._destination = self._kept_below(destination) if destination else ""

    @property
    def destination(self) -> str:
        """The place where the server keeps what it is sent; empty where nobody knows."""
        return self._destination

    def addresses_of(self, place: str) -> tuple[str, ...]:
        """Return the paths that were asked for and lead to a place through a link; none where it was reached straight.

        They are whole, with no link followed: where a server keeps it, only those to its destination are.
        """
        return tuple(self._linked.get(place, ()))

    def sent_as(self, place: str) -> str:
        """Return how the server knows a place below its destination; an empty text for one that was not sent to it."""
        return self._sent.get(place, "")

    def readings(self) -> Iterator[tuple[str, str]]:
        """Yield each address that was asked for and can be read in several ways, with every place that it may mean."""
        for address, paths in self._readings.items():
            yield from ((address, path) for path in paths)

    def place_of(self, address: str) -> str:
        """Return the place of an address.

        A folder's is its path with no link in it, so that files that are reached in two ways are at one place. What
        the server keeps lies below its destination, where that is known. An address that may mean different places,
        or one that nobody here can find, comes back in a form that is no place: the rules keep what lies there.
        """
        scheme = scheme_of(address)
        if not address:
            return ""
        if scheme in ("http", "https"):
            return self._served(address)
        if scheme == _PROXIED:
            return self._proxied(address)
        return self._stored(address)

    def _stored(self, address: str) -> str:
        if scheme_of(address) in ("", "file"):
            return self._on_disk(address)
        kind, plain = plain_form(address)
        if kind == "s3" and not _URL_MARKS.search(plain):
            return plain
        # A slash at its end: it protects what it names, and nothing is deleted below it.
        return f"{address.rstrip('/')}/" if kind in ("s3", "relative") else address.rstrip("/")

    def _on_disk(self, address: str) -> str:
        """Return the place of a path or `file:` URI, where what MLflow takes it for is what others do.

        MLflow undoes escapes in plain paths too, leaves out what follows `?` and `#` in a URI, and a host.
        """
        kind, plain = plain_form(address)
        read = _as_mlflow_reads(address)
        if kind == "file" and normal_path(read) == plain:
            return self._local(plain)
        if not read.startswith("/"):
            return f"{address.rstrip('/')}/"
        written = path_of_file_uri(address) if scheme_of(address) else address
        paths = [path for path in (read, written) if path is not None and path.startswith("/")]
        # Straight, and over links.
        self._readings[address] = tuple(
            dict.fromkeys(way(path) for path in paths for way in (normal_path, os.path.realpath))
        )
        return f"{normal_path(read).rstrip('/')}/"

    def _kept_below(self, destination: str) -> str:
        """Return where a server keeps what it is sent; nobody but MLflow writes there."""
        if scheme_of(destination) not in ("", "file"):
            return self._stored(destination)
        read = _as_mlflow_reads(destination)
        return self._local(normal_path(read)) if read.startswith("/") else f"{destination.rstrip('/')}/"

    def _served(self, address: str) -> str:
        """Return the place of a URL; of another server's files nobody here knows what else lies there."""
        url, found, path = address.partition(API)
        if found and self._tracking_uri and _server_of(url) == _server_of(self._tracking_uri):
            return self._below(re.sub(r"//+", "/", path).strip("/"))
        return f"{mask_uri(address).rstrip('/')}/"

    def _proxied(self, address: str) -> str:
        if not self._tracking_uri:
            own = re.fullmatch(rf"{_PROXIED}:(?://)?(?P<path>/.*)?", address, re.DOTALL | re.IGNORECASE)
            return self._below((own["path"] or "").strip("/")) if own else f"{address.rstrip('/')}/"
        server, path = resolve(address, self._tracking_uri)
        is_own = _server_of(server) == _server_of(self._tracking_uri)
        return self._below(path) if is_own else f"{address.rstrip('/')}/"

    def _below(self, path: str) -> str:
        # The server decodes names until nothing changes, and refuses to go upwards.
        plain = _decoded(path)
        if ".." in plain.split("/") or not self._destination:
            return f"{_PROXIED}:/{plain}"
        where = join_uri(self._destination, plain)
        place = self._local(where) if is_local(where) else where
        self._sent[place] = f"{_PROXIED}:/{plain}"
        return place

    def _local(self, path: str) -> str:
        place = self._without_links(path)
        if place != path:
            self._linked.setdefault(place, {})[path] = None
        return place

    def _without_links(self, path: str) -> str:
        """Return a path with its links followed, as far as it exists; each folder above is looked at once."""
        folder, name = os.path.split(path)
        if not name:
            return path
        if folder not in self._folders:
            self._folders[folder] = self._without_links(folder)
        whole = os.path.join(self._folders[folder], name)
        return os.path.realpath(whole) if os.path.islink(whole) else whole


def places_for(settings: Settings, artifacts_destination: str | None = None) -> Places:
    """Return what makes places for a project.

    Args:
        settings: The project's.
        artifacts_destination: What `mlflow-artifacts:` leads to; that of the settings if None.
    """
    return Places(settings.tracking_uri, artifacts_destination or settings.artifacts_destination or "")


def is_local(place: str) -> bool:
    """Whether a place is on a disk of this machine."""
    return place.startswith("/")


def is_whole_store(place: str) -> bool:
    """Whether a place is a whole bucket, all that a server keeps, or the root of the disk."""
    if scheme_of(place) == _PROXIED:
        return not place.partition(":")[2].strip("/")
    return not place.strip("/") or bool(re.fullmatch(r"[a-z0-9+.\-]+://[^/]*/*", place))


def store_of(place: str) -> str:
    """Return what has to answer for a place: its bucket, its server, or this machine, an empty text."""
    if is_local(place):
        return ""
    scheme = scheme_of(place)
    return f"{scheme}://{place.partition('://')[2].partition('/')[0]}" if "://" in place else f"{scheme}:"


def _as_mlflow_reads(address: str) -> str:
    """Return the path that MLflow opens; the source is `mlflow.utils.file_utils.local_file_uri_to_path`."""
    return url2pathname(urlparse(address).path if scheme_of(address) == "file" else address)


def _server_of(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower(), parts.path.rstrip("/")


def _decoded(path: str) -> str:
    while (plain := unquote(path)) != path:
        path = plain
    return path
