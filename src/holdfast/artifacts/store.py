"""The artifact store of a project: upload, list, download, whatever the scheme."""

from __future__ import annotations

import os
import posixpath
import re
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.landing import PART_PREFIX
from holdfast.artifacts.progress import meter_for
from holdfast.artifacts.transfer import SILENT, FileStore, Item, Meter, Sent, StoredFile
from holdfast.core.login import Login
from holdfast.core.uris import file_uri, scheme_of
from holdfast.errors import InvalidInputError
from holdfast.logs import get_logger

if TYPE_CHECKING:
    from holdfast.artifacts.s3 import S3Files

_log = get_logger(__name__)
# `s3://bucket`, or a drive of Windows; a colon alone is a letter like any other.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|[A-Za-z]:[/\\]")


class ArtifactStore:
    """Reads and writes artifacts with one project's credentials. Threads may share it; nothing is opened before use.

    Args:
        access: How the project reaches S3.
        tracking_uri: The server that `mlflow-artifacts:` URIs go through.
        login: How to log in there.
    """

    def __init__(self, access: S3Access, tracking_uri: str, login: Login | None = None) -> None:
        self.access = access
        self._tracking_uri = tracking_uri
        self._login = login or Login()
        self._lock = threading.Lock()
        self._stores: dict[str, FileStore] = {}

    def upload(self, items: Sequence[Item], meter: Meter = SILENT) -> Sent:
        """Store files; what is there already with the same content is not sent again.

        Raises:
            ArtifactError: The store refused one, or cannot be reached; the same call goes on where it was.
        """
        sent = Sent()
        by_kind: dict[str, list[Item]] = {}
        for item in items:
            by_kind.setdefault(_kind_of(item.uri), []).append(item)
        for kind, group in by_kind.items():
            sent += self._store(kind).upload(group, meter)
        return sent

    def upload_file(self, local: Path, root_uri: str, folder: str = "") -> Sent:
        """Store one file under `root_uri/folder`, by its own name.

        Raises:
            InvalidInputError: There is no such file, or it is a folder, or `folder` leaves the root.
            ArtifactError: The store refused it.
        """
        return self.upload_shown([Item(path, file_uri(root_uri, name)) for path, name in file_sources(local, folder)])

    def upload_folder(self, local: Path, root_uri: str, folder: str = "") -> Sent:
        """Store all files below a folder under `root_uri/folder`, with their paths.

        Raises:
            InvalidInputError: There is no such folder, or `folder` leaves the root.
            ArtifactError: The store refused one.
        """
        return self.upload_shown([Item(path, file_uri(root_uri, name)) for path, name in folder_sources(local, folder)])

    def upload_shown(self, items: Sequence[Item]) -> Sent:
        """Store files as `upload` does, with a progress bar where somebody looks and it takes a while."""
        meter = meter_for(doing="upload")
        try:
            return self.upload(items, meter)
        finally:
            meter.end()

    def list_files(self, root_uri: str, folder: str = "") -> list[StoredFile]:
        """Return what lies directly under `root_uri/folder`; empty where there is nothing."""
        return self._store(_kind_of(root_uri)).list_files(root_uri, check_path(folder))

    def download(self, root_uri: str, path: str, into: Path | None = None) -> Path:
        """Fetch a file or folder, checked; return where it lies now (a new temporary folder where `into` is None)."""
        target = into or Path(tempfile.mkdtemp(prefix="holdfast-"))
        meter = meter_for(doing="download")
        try:
            return self._store(_kind_of(root_uri)).download(root_uri, check_path(path), target, meter)
        finally:
            meter.end()

    def put_once(self, root_uri: str, path: str, content: bytes, stop: threading.Event | None = None) -> bool:
        """Store a small file under a path that has none yet; it is durable when this returns.

        Args:
            root_uri: Where.
            path: Below it.
            content: All of it.
            stop: Ends the waiting between attempts at S3.

        Returns:
            Whether it was written; False where a file is there, which stays as it is. MLflow's server, and the stores
            that only MLflow knows, have no conditional write: there it is always written.

        Raises:
            ArtifactError: It could not be stored.
        """
        from holdfast.artifacts import objects

        kind, where = _kind_of(root_uri), check_path(path)
        if kind == "file":
            return objects.put_in_folder(root_uri, where, content)
        files = self._store(kind)
        if kind == "s3":
            return objects.put_in_bucket(cast("S3Files", files), root_uri, where, content, stop)
        return objects.put_elsewhere(files, root_uri, where, content)

    def delete(self, root_uri: str, path: str = "") -> None:
        """Delete a file, or all files below a folder; what is not there is fine."""
        self._store(_kind_of(root_uri)).delete(root_uri, check_path(path))

    def _store(self, kind: str) -> FileStore:
        with self._lock:
            found = self._stores.get(kind)
            if found is None:
                found = self._stores[kind] = self._open(kind)
            return found

    def _open(self, kind: str) -> FileStore:
        if kind == "s3":
            from holdfast.artifacts.s3 import S3Files

            return S3Files(self.access)
        if kind == "mlflow-artifacts":
            from holdfast.artifacts.proxied import ProxiedFiles

            return ProxiedFiles(self._tracking_uri, self._login, self.access.deadline_s)
        if kind == "file":
            from holdfast.artifacts.local import LocalFiles

            return LocalFiles()
        from holdfast.artifacts.others import MlflowFiles

        return MlflowFiles()


def _kind_of(uri: str) -> str:
    scheme = scheme_of(uri)
    if scheme in ("s3", "mlflow-artifacts"):
        return scheme
    return "file" if scheme in ("", "file") else "other"


def is_local(uri: str) -> bool:
    """Whether an artifact root is a folder of this machine (or one that is mounted here)."""
    return _kind_of(uri) == "file"


def file_sources(local: Path, folder: str = "") -> list[tuple[Path, str]]:
    """Return a file and the path it shall have among a run's artifacts.

    Raises:
        InvalidInputError: There is no such file, or it is a folder, or `folder` leaves the root.
    """
    if not local.is_file():
        what = (
            "is a folder; use log_artifacts_dir"
            if local.is_dir()
            else "is no file"
            if local.exists()
            else "does not exist"
        )
        raise InvalidInputError(f"The artifact {local} {what}.", "give the path of a file")
    return [(local, posixpath.join(check_path(folder), local.name))]


def folder_sources(local: Path, folder: str = "") -> list[tuple[Path, str]]:
    """Return all files below a folder, each with the path it shall have among a run's artifacts.

    Links to files are followed, links to folders are not, as with MLflow; a warning names them.

    Raises:
        InvalidInputError: There is no such folder, one in it cannot be read, or `folder` leaves the root.
    """
    if not local.is_dir():
        what = "is a file; use log_artifact" if local.is_file() else "does not exist"
        raise InvalidInputError(f"The artifact folder {local} {what}.", "give the path of a folder")
    below = check_path(folder)
    found = []
    for where, folders, names in os.walk(local, onerror=_unreadable):
        inside = Path(where).relative_to(local).as_posix()
        for name in folders:
            if os.path.islink(os.path.join(where, name)):
                _log.warning("a link to a folder is not followed", link=os.path.join(where, name))
        found += [
            (Path(where) / name, posixpath.normpath(posixpath.join(below, inside, name)))
            for name in names
            if not name.startswith(PART_PREFIX)  # what a killed download left behind
        ]
    return sorted(found, key=lambda source: source[1])


def _unreadable(error: OSError) -> None:
    raise InvalidInputError(
        f"The folder {error.filename} cannot be read: {error.strerror or error}.", "make it readable, or leave it out"
    )


def check_path(path: str) -> str:
    """Return a path inside an artifact root without empty parts.

    Raises:
        InvalidInputError: It is absolute or climbs out with `..`.
    """
    if not path:
        return ""
    # Elsewhere a backslash is a letter like any other.
    norm = posixpath.normpath(path.replace("\\", "/") if os.name == "nt" else path)
    if norm.startswith(("/", "../")) or norm == ".." or _ADDRESS.match(norm):
        raise InvalidInputError(
            f"{path!r} is no path inside a run's artifacts.", "use a relative path such as plots/roc"
        )
    return "" if norm == "." else norm
