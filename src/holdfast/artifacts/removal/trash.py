"""Hiding objects under delete markers, and bringing them back."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import islice

from holdfast.artifacts.removal.buckets import THREADS, split_address, versioning_of
from holdfast.artifacts.removal.deletion import BATCH, Deleter, Wanted, is_fatal
from holdfast.artifacts.removal.outcomes import (
    Failure,
    Removal,
    Trashed,
    Versioning,
    Work,
    batches_of,
    failed_by,
    failure_of,
)
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.pages import Entry, version_pages
from holdfast.artifacts.team import in_parallel
from holdfast.core.cleanup.records import Form, StoredObject
from holdfast.errors import ArtifactError

_LOOKING_THREADS = 8
_UNCOVERED_AT_ONCE = 500
_REQUESTS_SAVED = 4


class Trasher:
    """Hides current objects.

    Args:
        connection: The way there.
        work: Takes up what came of each batch; its `removed` are the markers.
    """

    def __init__(self, connection: S3Connection, work: Work) -> None:
        self._connection = connection
        self._work = work

    def trash(self, objects: Sequence[StoredObject]) -> Trashed:
        """Delete without a version, which only adds a marker, in buckets that keep versions.

        Raises:
            ArtifactError: Whether the bucket does so cannot be asked; nothing was changed.
        """
        by_bucket: dict[str, list[StoredObject]] = {}
        for stored in objects:
            by_bucket.setdefault(split_address(stored.address)[0], []).append(stored)
        kept = {bucket: versioning_of(self._connection, bucket) for bucket in by_bucket}
        for bucket, found in by_bucket.items():
            if kept[bucket] is Versioning.ON:
                self._trash(bucket, found)
            else:
                self._work.note(Removal(failed=tuple(_unversioned(stored, kept[bucket]) for stored in found)))
        done = self._work.result()
        return Trashed(done.removed, done.failed, done.untried, done.error)

    def _trash(self, bucket: str, objects: Sequence[StoredObject]) -> None:
        current = [stored for stored in objects if stored.form is Form.OBJECT]
        others = [stored for stored in objects if stored.form is not Form.OBJECT]
        if others:
            self._work.note(Removal(failed=tuple(map(_not_current, others))))
        find = partial(find_markers, self._connection, bucket)
        deleter = Deleter(self._connection, bucket, self._work.stop, find)
        self._work.do(batches_of(current, BATCH), partial(_hide, deleter), THREADS)


def _hide(deleter: Deleter, batch: Sequence[StoredObject]) -> Removal:
    wanted = {Wanted(split_address(stored.address)[1]): stored for stored in batch}
    answers = deleter.delete(list(wanted))
    marked = {one: marker for one, marker in answers.gone.items() if marker}
    failed = [failed_by(wanted[one], error) for one, error in answers.refused.items()]
    failed += [_no_marker(wanted[one]) for one in answers.gone if one not in marked]
    return Removal(
        removed=tuple(
            StoredObject(wanted[one].address, 0, None, Form.MARKER, marker) for one, marker in marked.items()
        ),
        failed=tuple(failed),
        untried=tuple(
            stored for one, stored in wanted.items() if one not in answers.gone and one not in answers.refused
        ),
        error=answers.error,
    )


def find_markers(connection: S3Connection, bucket: str, wanted: Iterable[Wanted]) -> Mapping[Wanted, str]:
    """Return which keys are hidden by now, each with its marker's version id.

    Raises:
        ArtifactError: The versions cannot be listed.
    """

    def look(one: Wanted) -> tuple[Wanted, str]:
        found = [entry.version_id for entry in _of_key(connection, bucket, one.key) if _hides(entry)]
        return one, found[0] if found else ""

    tasks = [partial(look, one) for one in wanted]
    pairs = in_parallel(iter(tasks), min(_LOOKING_THREADS, len(tasks)) or 1, threading.Event())
    return {one: marker for one, marker in pairs if marker}


def untrash(connection: S3Connection, markers: Sequence[StoredObject], work: Work) -> Removal:
    """Remove markers that are still the newest of their keys.

    One that is gone counts as removed. One that something was written over since is left (`WrittenAgain`), as is one
    with nothing under it (`NothingUnder`).
    """
    by_bucket: dict[str, list[StoredObject]] = {}
    for marker in markers:
        by_bucket.setdefault(split_address(marker.address)[0], []).append(marker)
    for bucket, found in by_bucket.items():
        deleter = Deleter(connection, bucket, work.stop)
        work.do(
            batches_of(sorted(found, key=lambda one: one.address), _UNCOVERED_AT_ONCE),
            partial(_uncover, connection, deleter, work),
            THREADS,
        )
    return work.result()


def _uncover(connection: S3Connection, deleter: Deleter, work: Work, batch: Sequence[StoredObject]) -> Removal:
    bucket = split_address(batch[0].address)[0]
    if work.is_over:
        return Removal(untried=tuple(batch))
    try:
        listed = _listed_around(connection, bucket, sorted({split_address(marker.address)[1] for marker in batch}))
    except ArtifactError as error:
        if is_fatal(error):
            return Removal(untried=tuple(batch), error=error)
        listed = {}
    done, topmost = _sorted_out(connection, work, batch, listed)
    if done.error is not None:
        return done + Removal(untried=tuple(topmost.values()))
    answers = deleter.delete(list(topmost))
    return done + Removal(
        removed=tuple(marker for one, marker in topmost.items() if one in answers.gone),
        failed=tuple(failed_by(topmost[one], error) for one, error in answers.refused.items()),
        untried=tuple(
            marker for one, marker in topmost.items() if one not in answers.gone and one not in answers.refused
        ),
        error=answers.error,
    )


def _sorted_out(
    connection: S3Connection, work: Work, batch: Iterable[StoredObject], listed: Mapping[str, Sequence[Entry]]
) -> tuple[Removal, dict[Wanted, StoredObject]]:
    """Return what came of markers that are left alone or gone, and those that are to be removed."""
    done, topmost = Removal(), dict[Wanted, StoredObject]()
    for marker in batch:
        if work.is_over or done.error is not None:
            done += Removal(untried=(marker,))
            continue
        bucket, key = split_address(marker.address)
        try:
            verdict = _judged(marker, listed.get(key, ()))
            if verdict is not None:  # whatever a listing lacks, the key itself is asked
                verdict = _judged(marker, list(_of_key(connection, bucket, key)))
        except ArtifactError as error:
            done += Removal(failed=(failed_by(marker, error),), error=error if is_fatal(error) else None)
            continue
        if verdict is None:
            topmost[Wanted(key, marker.version_id)] = marker
        else:
            done += Removal(removed=(marker,)) if verdict is _GONE else Removal(failed=(verdict,))
    return done, topmost


def _listed_around(connection: S3Connection, bucket: str, keys: Sequence[str]) -> dict[str, list[Entry]]:
    """Return what a listing from the first to the last of some keys, in order, says of them; it may lack some.

    Nothing where it is so long that one request for each would not be many more.
    """
    if len(keys) < _REQUESTS_SAVED:
        return {}
    found: dict[str, list[Entry]] = {key: [] for key in keys}
    prefix = os.path.commonprefix(keys)  # noqa: RUF071 - of characters, as S3 has it
    # A text that comes just before the first key, for S3 gives what comes after.
    pages = version_pages(connection, bucket, prefix, after=keys[0][:-1])
    for page in islice(pages, len(keys) // _REQUESTS_SAVED):
        for entry in page:
            if entry.key in found:
                found[entry.key].append(entry)
        if page and page[-1].key > keys[-1]:
            return found
    return found if next(pages, None) is None else {}


_GONE = Failure("", "", "", "")


def _judged(marker: StoredObject, versions: Sequence[Entry]) -> Failure | None:
    """Return why a marker is left alone; None where it is to be removed, `_GONE` where it is no more."""
    ours = next((entry for entry in versions if entry.version_id == marker.version_id), None)
    if ours is None:
        return _GONE
    if not ours.is_latest:
        return failure_of(marker, "WrittenAgain", f"{marker.address} was written again since; it is left as it is")
    if all(entry.is_marker for entry in versions):
        message = f"Nothing of {marker.address} is left that could be brought back"
        return failure_of(marker, "NothingUnder", message)
    return None


def _of_key(connection: S3Connection, bucket: str, key: str) -> Iterable[Entry]:
    """Give the versions and markers of one key; it is the first of those that begin so."""
    for page in version_pages(connection, bucket, key):
        yield from (entry for entry in page if entry.key == key)
        if not page or page[-1].key != key:
            return


def _hides(entry: Entry) -> bool:
    return entry.is_marker and entry.is_latest


def _unversioned(stored: StoredObject, versioning: Versioning) -> Failure:
    hint = {
        Versioning.SUSPENDED: "its versioning is suspended; enable it",
        Versioning.OFF: "it has no versioning; enable it, or delete for good",
        Versioning.UNKNOWN: "let the key do s3:GetBucketVersioning",
    }[versioning]
    return failure_of(stored, "NotVersioned", f"{stored.address} is not put in the bucket's trash: {hint}")


def _not_current(stored: StoredObject) -> Failure:
    return failure_of(stored, "NotCurrent", f"The {stored.form.value} of {stored.address} cannot be put in the trash")


def _no_marker(stored: StoredObject) -> Failure:
    message = f"{stored.address} was deleted, and the server names no marker by which it could be brought back"
    return failure_of(stored, "NoMarker", message)
