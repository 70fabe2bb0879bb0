"""Files that an MLflow server keeps for its clients (`mlflow-artifacts:`), without MLflow.

The server's API has no checksums: what is fetched is checked for its size only, and what is there already is sent
again. Where that is not enough, give the experiment an `s3://` root.
"""

from __future__ import annotations

import os
import posixpath
import re
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import requests

from holdfast.artifacts.landing import disk_errors, landing, target_in
from holdfast.artifacts.proxy_requests import Lost, NotThereError, ProxyRequests
from holdfast.artifacts.sources import look_at, open_source
from holdfast.artifacts.team import in_parallel
from holdfast.artifacts.transfer import SILENT, Item, Meter, Sent, StoredFile
from holdfast.core.login import Login
from holdfast.core.uris import mask_uri, scheme_of
from holdfast.errors import ArtifactError, InvalidInputError

API = "/api/2.0/mlflow-artifacts/artifacts"
_THREADS = 8
_CHUNK_BYTES = 1 << 20


class ProxiedFiles:
    """Files under `mlflow-artifacts:/path`, kept by the tracking server, and `mlflow-artifacts://host:port/path`.

    Args:
        tracking_uri: `http(s)://…`; a user and password in it win over those of `login`.
        login: How to log in.
        deadline_s: How long each file is tried again.
        threads: How many files are under way at once.

    Raises:
        InvalidInputError: The tracking URI is no `http(s)://…`.
    """

    def __init__(
        self, tracking_uri: str, login: Login | None = None, deadline_s: float = 120.0, threads: int = _THREADS
    ) -> None:
        if scheme_of(tracking_uri) not in ("http", "https"):
            raise InvalidInputError(
                f"mlflow-artifacts: URIs go through a server, and {mask_uri(tracking_uri)} is none.",
                "set MLFLOW_TRACKING_URI=http://host:5000",
            )
        self._tracking_uri = tracking_uri
        self._login = login or Login()
        self._deadline_s = deadline_s
        self._threads = threads
        self._lock = threading.Lock()
        self._servers: dict[str, ProxyRequests] = {}

    def __repr__(self) -> str:
        return f"ProxiedFiles({mask_uri(self._tracking_uri)!r})"

    def upload(self, items: Sequence[Item], meter: Meter = SILENT) -> Sent:
        """Send files.

        Raises:
            ArtifactError: A file cannot be read or is no regular one, or the server refused it or cannot be reached.
        """
        with disk_errors("Cannot send files"):
            meter.begin(len(items), sum(look_at(item.local).st_size for item in items))
        stop = threading.Event()

        def send(item: Item) -> int:
            with disk_errors(f"Cannot send {item.local}"):
                size_bytes = self._send(item, meter, stop)
            meter.file_done()
            return size_bytes

        tasks = (partial(send, item) for item in items)
        sent = in_parallel(tasks, min(self._threads, len(items) or 1), stop)
        return Sent(files=len(sent), sent_bytes=sum(sent))

    def list_files(self, root_uri: str, folder: str = "") -> list[StoredFile]:
        """Return what lies directly under a folder, by path.

        Raises:
            ArtifactError: The server refuses or cannot be reached.
        """
        server, root = self._place(root_uri)
        return list_folder(server, root, checked(folder))

    def download(self, root_uri: str, path: str, into: Path, meter: Meter = SILENT) -> Path:
        """Fetch a file, or all files below a folder, to `into/path`; return that path.

        Raises:
            ArtifactError: There is no such file, the server refuses or cannot be reached, or the disk does.
        """
        server, root = self._place(root_uri)
        target = target_in(into, checked(path))
        found = list_folder(server, root, path)
        if not found and path:
            files: Iterator[StoredFile] = iter([StoredFile(path, False, None)])
        else:
            files = _walk(server, root, found)
            with disk_errors(f"Cannot fetch {path or 'files'}"):
                target.mkdir(parents=True, exist_ok=True)
        stop = threading.Event()

        def fetch(file: StoredFile) -> None:
            meter.begin(1, file.size_bytes or 0)
            with disk_errors(f"Cannot fetch {file.path}"):
                _fetch(server, root, file, target_in(into, file.path), meter, stop)
            meter.file_done()

        try:
            in_parallel((partial(fetch, file) for file in files), self._threads if found else 1, stop)
        except ArtifactError as error:
            # Older servers (MLflow 3.0) fail so where there is no such file.
            if error.code == "HTTP 500" and not found and _is_missing(server, root, path):
                raise NotThereError(error.message, "see what is there with list_artifacts") from None
            raise
        return target

    def delete(self, root_uri: str, path: str = "") -> None:
        """Delete a file, or all files below a folder; what is not there is fine.

        Raises:
            ArtifactError: The server refuses or cannot be reached.
        """
        server, root = self._place(root_uri)
        where = posixpath.join(root, checked(path)).rstrip("/")
        what = f"Cannot delete {where} at {server.shown}"

        def ask() -> None:
            with server.asked(what, "DELETE", f"{API}/{quote(where)}"):
                pass

        try:
            server.run(what, ask)
        except NotThereError:
            return

    def _send(self, item: Item, meter: Meter, stop: threading.Event) -> int:
        server, path = self._place(item.uri)
        what = f"Cannot store {path} at {server.shown}"

        def ask() -> int:
            with os.fdopen(open_source(item.local), "rb") as file:
                body = _Body(file, meter)
                try:
                    with server.asked(what, "PUT", f"{API}/{quote(path)}", body if len(body) else b"", None, len(body)):
                        return len(body)
                except BaseException:
                    meter.advance(-body.told_bytes)
                    raise

        return server.run(what, ask, stop)

    def _place(self, uri: str) -> tuple[ProxyRequests, str]:
        """Return the server of a URI and the path that it knows."""
        url, path = resolve(uri, self._tracking_uri)
        with self._lock:
            server = self._servers.get(url)
            if server is None:
                server = self._servers[url] = ProxyRequests(url, self._login, self._deadline_s, self._threads)
        return server, checked(path)


def resolve(uri: str, tracking_uri: str) -> tuple[str, str]:
    """Return the server that an `mlflow-artifacts:` URI means, and the path there, as MLflow does.

    The server is the one of the tracking URI; where the URI has a host of its own, that one, by the tracking URI's
    scheme and below its path.

    Raises:
        InvalidInputError: The URI has a port and no host.
    """
    # Not with urlsplit, which takes question marks and line breaks out of names.
    match = re.fullmatch(r"mlflow-artifacts:(?://(?P<host>[^/]*))?(?P<path>.*)", uri, re.DOTALL | re.IGNORECASE)
    host, path = (match["host"] or "", match["path"]) if match else ("", uri)
    if host.isdecimal():
        raise InvalidInputError(f"{uri} has a port and no host.", "write mlflow-artifacts://host:port/path")
    tracking = urlsplit(tracking_uri)
    url = urlunsplit((tracking.scheme, host or tracking.netloc, tracking.path.rstrip("/"), "", ""))
    return url, re.sub(r"//+", "/", path).strip("/")


def checked(path: str) -> str:
    """Return a path that the server takes for what it is.

    MLflow's server decodes paths until nothing changes, so it would store `a%20b` as `a b`.

    Raises:
        ArtifactError: It would take it for another one, or it leads out of the root.
    """
    target_in(Path("/"), path)
    if unquote(path) != path or re.search(r"[#?\x00-\x1f\x7f]", path):
        raise ArtifactError(
            f"MLflow's server cannot keep a file called {path!r} under its name.",
            "rename it: leave out %, # and ? and control characters",
            code="InvalidObjectName",
        )
    return path


def list_folder(server: ProxyRequests, root: str, folder: str) -> list[StoredFile]:
    """Return what lies directly under `root/folder`, by path below the root; empty where there is nothing, or a file.

    Raises:
        ArtifactError: The server refuses or cannot be reached.
    """
    where = posixpath.join(root, folder) if folder else root
    what = f"Cannot list {where or 'the root'} at {server.shown}"

    def ask() -> list[StoredFile]:
        with server.asked(what, "GET", API, query={"path": where}) as answer:
            return _files_of(answer, folder, what)

    try:
        found = server.run(what, ask)
    except NotThereError:
        return []
    # An older server lists a file as the one file in a folder of its own name; there are such folders too.
    own = f"{folder}/{posixpath.basename(folder)}"
    if folder and [(one.path, one.is_dir) for one in found] == [(own, False)]:
        above = list_folder(server, root, posixpath.dirname(folder))
        return found if (folder, True) in ((one.path, one.is_dir) for one in above) else []
    return found


def _files_of(answer: requests.Response, folder: str, what: str) -> list[StoredFile]:
    try:
        found = []
        for entry in answer.json().get("files", []):
            name, size = entry["path"], entry.get("file_size")
            if "/" in name or name in ("", ".", ".."):
                raise ValueError(f"it lists a file called {name!r}")
            path = f"{folder}/{name}" if folder else name
            found.append(StoredFile(path, bool(entry.get("is_dir")), None if size is None else int(size)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{what}: the answer is not MLflow's ({error}).", "mend MLFLOW_TRACKING_URI", code="NotMLflow"
        ) from None
    return sorted((one._replace(size_bytes=None) if one.is_dir else one) for one in found)


def _is_missing(server: ProxyRequests, root: str, path: str) -> bool:
    return path not in (one.path for one in list_folder(server, root, posixpath.dirname(path)))


def _walk(server: ProxyRequests, root: str, found: list[StoredFile]) -> Iterator[StoredFile]:
    for entry in found:
        if entry.is_dir:
            yield from _walk(server, root, list_folder(server, root, entry.path))
        else:
            yield entry


def _fetch(
    server: ProxyRequests, root: str, file: StoredFile, target: Path, meter: Meter, stop: threading.Event
) -> None:
    path = posixpath.join(root, file.path)
    what = f"Cannot fetch {path} from {server.shown}"

    def ask() -> None:
        got = 0
        try:
            with (
                server.asked(what, "GET", f"{API}/{quote(path)}", size_bytes=file.size_bytes or 1 << 30) as answer,
                landing(target) as landed,
            ):
                for chunk in answer.iter_content(_CHUNK_BYTES):
                    landed.write(chunk, got)
                    got += len(chunk)
                    meter.advance(len(chunk))
                _check_size(got, file.size_bytes, answer.headers.get("Content-Length"))
        except BaseException:
            meter.advance(-got)
            raise

    server.run(what, ask, stop)


def _check_size(got: int, listed: int | None, announced: str | None) -> None:
    for wanted in (listed, int(announced) if announced else None):
        if wanted is not None and got != wanted:
            raise Lost(f"{got} of {wanted} bytes came")


class _Body:
    """A file that is read by whoever sends it, and tells a meter."""

    def __init__(self, file: IO[bytes], meter: Meter) -> None:
        self._file = file
        self._meter = meter
        self._size_bytes = os.fstat(file.fileno()).st_size
        self.told_bytes = 0

    def __len__(self) -> int:
        return self._size_bytes

    def read(self, size: int = -1) -> bytes:
        # Never more than was announced: a file that grows meanwhile would break the connection.
        left = self._size_bytes - self.told_bytes
        chunk = self._file.read(left if size < 0 else min(max(size, 1 << 18), left))
        self.told_bytes += len(chunk)
        self._meter.advance(len(chunk))
        return chunk
