"""What lies below a place that an MLflow server keeps, and removing it through the server.

The server tells neither when a file was stored nor of older versions and unfinished uploads; and where its own store
refuses to delete something, it may say that all went well, so that what was deleted is looked for afterwards.
"""

from __future__ import annotations

import posixpath
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from urllib.parse import quote

from holdfast.artifacts.proxied import API, checked, list_folder, resolve
from holdfast.artifacts.proxy_requests import NotThereError, ProxyRequests
from holdfast.artifacts.removal.outcomes import Removal, Work, batches_of, failed_by, failure_of
from holdfast.artifacts.team import in_parallel
from holdfast.artifacts.transfer import StoredFile
from holdfast.core.cleanup.records import StoredObject
from holdfast.core.login import Login
from holdfast.core.uris import scheme_of
from holdfast.errors import ArtifactError, InvalidInputError

THREADS = 8
_BATCH = 100
_AT_ONCE = 256
# A server whose store is down answers 500 for each file; nobody waits for thousands of those.
_MOST_IN_A_ROW = 8
_SERVED = re.compile(r"(?P<url>https?://.*?)/api/2\.0/mlflow-artifacts/artifacts(?P<path>/.*)?", re.DOTALL)


class Servers:
    """The MLflow servers that places are kept by. Threads may share it.

    Args:
        tracking_uri: Of the project.
        login: How to log in.
        deadline_s: How long one request is tried again.
    """

    def __init__(self, tracking_uri: str, login: Login, deadline_s: float) -> None:
        self._tracking_uri = tracking_uri
        self._login = login
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._servers: dict[str, ProxyRequests] = {}

    def locate(self, address: str) -> tuple[ProxyRequests, str]:
        """Return the server of an address, and the path that it knows.

        Raises:
            InvalidInputError: It is no address of a server's files, or the tracking URI is no server.
        """
        url, path = self._split(address)
        with self._lock:
            if url not in self._servers:
                self._servers[url] = ProxyRequests(url, self._login, self._deadline_s, THREADS)
            return self._servers[url], path

    def _split(self, address: str) -> tuple[str, str]:
        if scheme_of(address) == "mlflow-artifacts":
            if scheme_of(self._tracking_uri) not in ("http", "https"):
                raise InvalidInputError(
                    f"{address} is kept by an MLflow server, and the tracking URI names none.",
                    "set MLFLOW_TRACKING_URI=http://host:5000",
                )
            return resolve(address, self._tracking_uri)
        match = _SERVED.fullmatch(address)
        if match is None:
            raise InvalidInputError(f"{address} is no address of files that an MLflow server keeps.")
        return match["url"], (match["path"] or "").strip("/")

    def list_place(self, place: str) -> Iterator[list[StoredObject]]:
        """Give the files of a place, its folders read several at once.

        Raises:
            ArtifactError: One cannot be listed, or has a name that the server takes for another one.
        """
        server, root = self.locate(place)
        found = list_folder(server, checked(root), "")
        own = posixpath.basename(root)
        if root and (not found or [(one.path, one.is_dir) for one in found] == [(own, False)]):
            above = list_folder(server, posixpath.dirname(root), "")
            itself = [one for one in above if (one.path, one.is_dir) == (own, False)]
            if itself:
                yield [_stored(place, itself[0].size_bytes)]
                # An older server lists a file as the one file in a folder of its own name.
                if (own, True) not in ((one.path, one.is_dir) for one in above):
                    return
        yield from _tree(server, root, place, found)

    def remove(self, objects: Sequence[StoredObject], work: Work) -> None:
        """Delete files, and look whether they are gone (`NotDeleted` where not)."""
        ordered = sorted(objects, key=lambda stored: stored.address)
        work.do(batches_of(ordered, _BATCH), _Remover(self, work).remove, 2)

    def prune(self, place: str) -> None:
        """Have the server delete a place that has no files any more, for the empty folders that it may have kept.

        Raises:
            ArtifactError: The server refuses or cannot be reached.
        """
        server, path = self.locate(place)
        if path and not any(self.list_place(place)):
            _unless_missing(lambda: self.delete(server, checked(path), threading.Event()))

    @staticmethod
    def delete(server: ProxyRequests, path: str, stop: threading.Event) -> None:
        """Delete one file; what is not there is fine.

        Raises:
            ArtifactError: The server refuses or cannot be reached.
        """
        what = f"Cannot delete {path} at {server.shown}"

        def ask() -> None:
            with server.asked(what, "DELETE", f"{API}/{quote(path)}"):
                pass

        _unless_missing(lambda: server.run(what, ask, stop))


def _unless_missing(call: Callable[[], None]) -> None:
    """Call; that there is no such file is fine."""
    try:
        call()
    except NotThereError:
        return


def _tree(server: ProxyRequests, root: str, place: str, top: Sequence[StoredFile]) -> Iterator[list[StoredObject]]:
    def look(folder: str) -> list[StoredFile]:
        return list_folder(server, root, checked(folder))

    found = list(top)
    folders: list[str] = []
    while True:
        yield [_stored(f"{place}/{one.path}", one.size_bytes) for one in found if not one.is_dir]
        folders += [one.path for one in found if one.is_dir]
        if not folders:
            return
        now, folders = folders[-_AT_ONCE:], folders[:-_AT_ONCE]
        tasks = (partial(look, folder) for folder in now)
        pages = in_parallel(tasks, min(THREADS, len(now)), threading.Event())
        found = [one for page in pages for one in page]


def _stored(address: str, size_bytes: int | None) -> StoredObject:
    return StoredObject(address, size_bytes or 0, None)


class _Remover:
    def __init__(self, servers: Servers, work: Work) -> None:
        self._servers = servers
        self._work = work
        self._failed_in_a_row = 0

    def remove(self, batch: Sequence[StoredObject]) -> Removal:
        """Delete files and look for them."""
        halt = threading.Event()
        tasks = (partial(self._remove_one, stored, halt) for stored in batch)
        done = sum(in_parallel(tasks, THREADS // 2, threading.Event()), Removal())
        if done.error is not None or not done.removed:
            return done
        try:
            there = self._still_there(done.removed)
        except ArtifactError as error:
            failed = tuple(failed_by(stored, error) for stored in done.removed)
            return Removal((), done.failed + failed, done.untried, error if error.retryable else None)
        left = tuple(
            failure_of(stored, "NotDeleted", f"The server said that {stored.address} is deleted, and lists it still")
            for stored in done.removed
            if stored in there
        )
        return Removal(
            tuple(stored for stored in done.removed if stored not in there), done.failed + left, done.untried
        )

    def _remove_one(self, stored: StoredObject, halt: threading.Event) -> Removal:
        if halt.is_set() or self._work.is_over:
            return Removal(untried=(stored,))
        server, path = self._servers.locate(stored.address)
        try:
            self._servers.delete(server, checked(path), self._work.stop)
        except ArtifactError as error:
            self._failed_in_a_row += error.retryable
            is_fatal = self._is_fatal(error)
            if is_fatal:
                halt.set()
            return Removal(failed=(failed_by(stored, error),), error=error if is_fatal else None)
        self._failed_in_a_row = 0
        return Removal(removed=(stored,))

    def _is_fatal(self, error: ArtifactError) -> bool:
        """Whether no other file would fare better."""
        if error.code in ("HTTP 401", "Certificate"):
            return True
        # Of one file alone the server's store may refuse the deletion, which it calls 500.
        return error.retryable and (error.code != "HTTP 500" or self._failed_in_a_row >= _MOST_IN_A_ROW)

    def _still_there(self, removed: Sequence[StoredObject]) -> set[StoredObject]:
        by_folder: dict[str, list[StoredObject]] = {}
        for stored in removed:
            by_folder.setdefault(stored.address.rpartition("/")[0], []).append(stored)

        def look(folder: str) -> list[StoredObject]:
            server, path = self._servers.locate(folder)
            names = {one.path for one in list_folder(server, path, "") if not one.is_dir}
            return [stored for stored in by_folder[folder] if stored.address.rpartition("/")[2] in names]

        tasks = (partial(look, folder) for folder in by_folder)
        found = in_parallel(tasks, min(THREADS, len(by_folder)), threading.Event())
        return {stored for page in found for stored in page}
