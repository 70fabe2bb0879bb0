"""All that is stored below places, whatever keeps it: listed in every form, removed, hidden and brought back."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from urllib.parse import unquote

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.removal import folders
from holdfast.artifacts.removal.outcomes import OnBatch, Removal, Trashed, Versioning, Work, tell_nobody
from holdfast.artifacts.removal.served import Servers
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.core.cleanup.records import Form, StoredObject
from holdfast.core.login import Login
from holdfast.core.uris import mask_uri, scheme_of
from holdfast.errors import InvalidInputError

_KINDS = {"s3": "s3", "mlflow-artifacts": "server", "http": "server", "https": "server", "": "folder", "file": "folder"}


class Holdings:
    """What one project's keys see below places. Threads may share it; nothing is opened before use.

    A place is an address without a slash at its end: `s3://bucket/prefix`, `/absolute/path`, `mlflow-artifacts:/path`
    or the URL of a server's files. It covers the object of just that name, and all below it.

    Args:
        access: How the project reaches S3.
        tracking_uri: The server that `mlflow-artifacts:` places are kept by; may be empty where there are none.
        login: How to log in there.
    """

    def __init__(self, access: S3Access, tracking_uri: str = "", login: Login | None = None) -> None:
        self._access = access
        self._servers = Servers(tracking_uri, login or Login(), access.deadline_s)

    @cached_property
    def _connection(self) -> S3Connection:
        # Of its own: it reads listings in another way than a file store does.
        return S3Connection(self._access)

    def list_place(self, place: str, whole_store: bool = False) -> Iterator[list[StoredObject]]:
        """Give all that is stored below a place, in all forms, page by page; nothing where there is nothing.

        In a bucket with versions: `OBJECT` is what a reader sees; `MARKER` is a marker that hides a key now, and the
        versions of that key are all `OLD`, the latest of them being what it hides; other markers are `OLD` too, with
        no size. Uploads have the size of their parts. Of a folder: every file, hidden ones too; half-written ones are
        `UPLOAD`; a link is an object of no size, and not followed. Of a server: its files, without times.

        Args:
            place: Where.
            whole_store: Whether a whole bucket, a whole server or `/` may be meant.

        Raises:
            InvalidInputError: The place is empty, not absolute, of no kind that is known here, or a whole store.
            ArtifactError: Not all can be listed: there is no such bucket (code `NoSuchBucket`), or something may not
                be listed, and the hint names the permission. What was given before is no whole list then.
        """
        kind, where = _checked(place, whole_store)
        if kind == "folder":
            return folders.list_folder_tree(where)
        if kind == "server":
            return self._servers.list_place(where)
        from holdfast.artifacts.removal.buckets import list_bucket, split_address

        return list_bucket(self._connection, *split_address(where))

    def versioning_of(self, place: str) -> Versioning:
        """Return whether a place keeps the versions of what is deleted.

        Raises:
            InvalidInputError: As of `list_place`.
            ArtifactError: There is no such bucket, or the server cannot be reached.
        """
        kind, where = _checked(place, whole_store=True)
        if kind != "s3":
            return Versioning.OFF if kind == "folder" else Versioning.UNKNOWN
        from holdfast.artifacts.removal.buckets import split_address, versioning_of

        return versioning_of(self._connection, split_address(where)[0])

    def remove(
        self,
        objects: Iterable[StoredObject],
        root: str = "",
        on_batch: OnBatch = tell_nobody,
        stop: threading.Event | None = None,
    ) -> Removal:
        """Remove what was listed, for good.

        An object of a versioned bucket is removed by its version, so that one that was written since stays. What
        cannot be removed is told of, and the rest goes on; after an error that all others would meet too (the server
        is gone, the keys are no good) no more is tried.

        Args:
            objects: As `list_place` gave them.
            root: All of them lie below it. Needed for files: its path has no link in it, no link between it and a file
                is followed, and empty folders below it are removed.
            on_batch: Is told of each finished batch, on some thread, one after the other; what it raises ends all.
            stop: Ends it soon, between two batches.

        Raises:
            InvalidInputError: One is no object, or not below the root; nothing was removed.
            CredentialsError: The keys cannot be had.
        """
        by_kind = _sorted_out(objects, root)
        work = Work(on_batch, stop or threading.Event())
        if by_kind["folder"]:
            folders.remove_files(by_kind["folder"], _checked(root, whole_store=True)[1], work)
        if by_kind["server"]:
            self._servers.remove(by_kind["server"], work)
        if by_kind["s3"]:
            from holdfast.artifacts.removal.buckets import remove_from_buckets

            remove_from_buckets(self._connection, by_kind["s3"], work)
        return work.result()

    def prune(self, place: str, root: str) -> None:
        """Remove the empty folders that a place is left with, and those above it that are empty then, below the root.

        Buckets have none. A server is asked to delete the place itself, after it has listed no file there.

        Raises:
            InvalidInputError: The place is not below the root.
            ArtifactError: The server refuses or cannot be reached.
        """
        (kind, where), (_, top) = _checked(place, whole_store=False), _checked(root, whole_store=True)
        _check_below([where], top)
        if kind == "folder":
            folders.prune(where, top)
        elif kind == "server":
            self._servers.prune(where)

    def trash(
        self,
        objects: Iterable[StoredObject],
        on_batch: OnBatch = tell_nobody,
        stop: threading.Event | None = None,
    ) -> Trashed:
        """Hide current objects under delete markers, by which `untrash` brings them back.

        Only in buckets whose versioning is on: where it is off or suspended, a deletion could destroy something, and
        each object is a failure (`NotVersioned`). Older versions, markers and uploads are failures too
        (`NotCurrent`); they need not be hidden.

        Args:
            objects: As `list_place` gave them.
            on_batch: As of `remove`; what is removed are the markers.
            stop: As of `remove`.

        Raises:
            InvalidInputError: One is no object in S3; nothing was changed.
            ArtifactError: A bucket's versioning cannot be asked for; nothing was changed.
            CredentialsError: The keys cannot be had.
        """
        from holdfast.artifacts.removal.trash import Trasher

        found = _only_in_buckets(objects)
        return Trasher(self._connection, Work(on_batch, stop or threading.Event())).trash(found)

    def untrash(
        self,
        markers: Iterable[StoredObject],
        on_batch: OnBatch = tell_nobody,
        stop: threading.Event | None = None,
    ) -> Removal:
        """Remove the markers that `trash` returned, so that what they hide is seen again.

        A marker that is gone counts as removed. One that is not the newest version any more is a failure
        (`WrittenAgain`), as is one with nothing under it (`NothingUnder`).

        Raises:
            InvalidInputError: One is no marker in S3 with a version id; nothing was changed.
            CredentialsError: The keys cannot be had.
        """
        from holdfast.artifacts.removal.trash import untrash

        found = _only_in_buckets(markers)
        wrong = [marker for marker in found if marker.form is not Form.MARKER or not marker.version_id]
        if wrong:
            raise InvalidInputError(f"{wrong[0].address} is no delete marker with a version id.")
        return untrash(self._connection, found, Work(on_batch, stop or threading.Event()))


def _checked(place: str, whole_store: bool) -> tuple[str, str]:
    """Return what keeps a place, and the place in the form that its objects' addresses begin with.

    Raises:
        InvalidInputError: As of `Holdings.list_place`.
    """
    kind = _kind_of(place)
    if kind == "folder":
        where = _path_of(place)
        is_whole = where == "/"
    else:
        where = place.rstrip("/")
        is_whole = _is_whole[kind](where)
    if is_whole and not whole_store:
        raise InvalidInputError(f"{mask_uri(place)} is a whole store.", "name a place in it")
    return kind, where


def _kind_of(address: str) -> str:
    kind = _KINDS.get(scheme_of(address), "")
    if not address.strip() or not kind or (kind == "s3" and not address[5:].strip("/")):
        raise InvalidInputError(
            f"Clean-up knows no place {mask_uri(address)!r}.",
            "it takes s3://bucket/prefix, an absolute path, and mlflow-artifacts:/path",
        )
    return kind


def _path_of(place: str) -> str:
    path = place
    if scheme_of(place) == "file":
        path = unquote(place[5:])
        path = f"/{path.lstrip('/')}" if not path.startswith("//") or path.startswith("///") else path
    if not path.startswith("/") or path.startswith("//") or ".." in path.split("/") or "\0" in path:
        raise InvalidInputError(f"{place!r} is no absolute path.", "write it from / on, without ..")
    return os.path.normpath(path)


def _is_whole_server(place: str) -> bool:
    path = place.partition("/api/2.0/mlflow-artifacts/artifacts")[2]
    if scheme_of(place) == "mlflow-artifacts":
        rest = place.partition(":")[2]
        path = rest[2:].partition("/")[2] if rest.startswith("//") else rest
    return not path.strip("/")


_is_whole: dict[str, Callable[[str], bool]] = {
    "s3": lambda place: "/" not in place[5:],
    "server": _is_whole_server,
}


def _sorted_out(objects: Iterable[StoredObject], root: str) -> dict[str, list[StoredObject]]:
    found = list(dict.fromkeys(objects))
    by_kind: dict[str, list[StoredObject]] = {"s3": [], "server": [], "folder": []}
    for stored in found:
        by_kind[_kind_of(stored.address)].append(stored)
    _check_objects(by_kind["s3"])
    wrong = [one for one in by_kind["server"] if _is_whole_server(one.address)]
    wrong += [one for one in by_kind["folder"] if _path_of(one.address) != one.address]
    if wrong:
        raise InvalidInputError(f"{wrong[0].address!r} is no address of a file.")
    if by_kind["folder"] and not root:
        raise InvalidInputError("Files are removed below a root, and none is given.", "give the artifact root")
    if root:
        top = _checked(root, whole_store=True)[1]
        _check_below([stored.address for stored in found], top)
        if any(stored.address == top for stored in by_kind["folder"]):
            raise InvalidInputError(f"{top} is a file, and cannot be the root of itself.", "give the folder above")
    return by_kind


def _check_objects(objects: Sequence[StoredObject]) -> None:
    for stored in objects:
        if not stored.address[5:].partition("/")[2] or not stored.address.startswith("s3://"):
            raise InvalidInputError(f"{stored.address!r} is no address of an object.")
        if stored.form is not Form.OBJECT and not stored.version_id:
            raise InvalidInputError(f"The {stored.form.value} of {stored.address} has no id.")


def _check_below(addresses: Iterable[str], root: str) -> None:
    below = root if root.endswith("/") else f"{root}/"
    for address in addresses:
        if address != root and not address.startswith(below):
            raise InvalidInputError(f"{mask_uri(address)} does not lie below {mask_uri(root)}.")


def _only_in_buckets(objects: Iterable[StoredObject]) -> list[StoredObject]:
    found = list(dict.fromkeys(objects))
    for stored in found:
        if _kind_of(stored.address) != "s3":
            raise InvalidInputError(f"{stored.address} is in no bucket, and has no versions.")
    _check_objects(found)
    return found
