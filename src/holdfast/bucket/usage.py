"""What is stored where: by experiment, by age, by storage class; with what is not current beside it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.artifacts.s3.asking import is_denied
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.transfer import SILENT, Meter
from holdfast.backend.locations_by_api import read_experiments
from holdfast.bucket.inventory import Bucketful, Stored, files_below
from holdfast.bucket.posture import Answer
from holdfast.bucket.roots import Root, root_of
from holdfast.core.uris import mask_uri, sqlite_path
from holdfast.errors import ArtifactError, HoldfastError, InvalidInputError
from holdfast.project import Project

# S3 charges some classes for at least so much of each object.
SMALL_BYTES = 128 << 10
_DAY_S = 86400.0
AGES = (("0-7 d", 7.0), ("8-30 d", 30.0), ("31-90 d", 90.0), ("91-365 d", 365.0), ("older", float("inf")))
# Beyond so many folders that belong to no experiment they are counted together.
_MOST_STRANGERS = 1000
_OTHERS = "(further folders)"
_LOOSE = "(files at the top)"


@dataclass
class Tally:
    """How much there is of something.

    Attributes:
        objects: How many.
        size_bytes: Their size.
        small: How many of them are smaller than 128 KiB.
        small_bytes: The size of those.
    """

    objects: int = 0
    size_bytes: int = 0
    small: int = 0
    small_bytes: int = 0

    def add(self, size_bytes: int) -> None:
        """Count one more."""
        self.objects += 1
        self.size_bytes += size_bytes
        if size_bytes < SMALL_BYTES:
            self.small += 1
            self.small_bytes += size_bytes

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.objects + other.objects,
            self.size_bytes + other.size_bytes,
            self.small + other.small,
            self.small_bytes + other.small_bytes,
        )


@dataclass
class Group:
    """An experiment, or a folder below the root that belongs to none.

    Attributes:
        name: The experiment's name, or the folder's.
        path: The folder, below the root.
        is_experiment: Which of the two it is.
        tallies: How much there is, by age (see `AGES`) and storage class.
    """

    name: str
    path: str
    is_experiment: bool
    tallies: dict[tuple[str, str], Tally] = field(default_factory=dict)

    def add(self, age: str, storage_class: str, size_bytes: int) -> None:
        """Count one more."""
        self.tallies.setdefault((age, storage_class), Tally()).add(size_bytes)

    @property
    def total(self) -> Tally:
        """All of it."""
        return sum(self.tallies.values(), Tally())


@dataclass
class Usage:
    """What lies below a root.

    Attributes:
        root: The root.
        groups: What there is, the largest first.
        old_versions: Versions that are not current, by storage class; None where nobody says.
        uploads: Uploads in parts that were never completed, by storage class; None where nobody says.
        notes: What could not be asked, and why.
        elsewhere: How many experiments keep their files outside of this root.
    """

    root: Root
    groups: list[Group] = field(default_factory=list)
    old_versions: dict[str, Tally] | None = None
    uploads: dict[str, Tally] | None = None
    notes: list[str] = field(default_factory=list)
    elsewhere: int = 0

    @property
    def total(self) -> Tally:
        """All current objects."""
        return sum((group.total for group in self.groups), Tally())

    def by_age(self) -> dict[str, Tally]:
        """Return how much there is of each age, the youngest first."""
        found = self._by(0)
        return {age: found[age] for age, _ in AGES if age in found}

    def by_class(self) -> dict[str, Tally]:
        """Return how much there is in each storage class."""
        return dict(sorted(self._by(1).items()))

    def _by(self, part: int) -> dict[str, Tally]:
        found: dict[str, Tally] = {}
        for group in self.groups:
            for key, tally in group.tallies.items():
                found[key[part]] = found.get(key[part], Tally()) + tally
        return found

    def as_document(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "root": mask_uri(self.root.uri),
            "objects": self.total.objects,
            "bytes": self.total.size_bytes,
            "by_experiment": [
                {
                    "name": group.name,
                    "is_experiment": group.is_experiment,
                    "path": group.path,
                    "objects": group.total.objects,
                    "bytes": group.total.size_bytes,
                }
                for group in self.groups
            ],
            "by_age": _plain(self.by_age()),
            "by_class": _plain(self.by_class()) if self.root.kind == "s3" else None,
            "old_versions": None if self.old_versions is None else _plain(self.old_versions),
            "unfinished_uploads": None if self.uploads is None else _plain(self.uploads),
            "experiments_elsewhere": self.elsewhere,
            "notes": self.notes,
        }


def usage_of(project: Project, uri: str = "", meter: Meter = SILENT) -> Usage:
    """Return what lies below a root.

    Args:
        project: Whose keys are used, and whose experiments give the names.
        uri: `s3://bucket/prefix` or a folder; the project's artifact root if it is empty.
        meter: Is told of every page.

    Raises:
        InvalidInputError: The root is neither a folder nor in S3.
        ArtifactError: It cannot be listed, or is a folder that somebody names and that is not there.
    """
    root = _root(project, uri)
    usage = Usage(root)
    if root.kind == "file":
        _see_folder(root, usage, is_named=bool(uri))
    sorting = _Sorting(_places(project, usage))
    if root.kind == "file":
        _take(files_below(root.uri), sorting.add, meter)
    else:
        try:
            _look_into(project, root, sorting, usage, meter)
        except ArtifactError as error:
            raise _with_right(error, root) from None
    usage.groups = sorting.groups()
    return usage


def _see_folder(root: Root, usage: Usage, is_named: bool) -> None:
    if os.path.isdir(root.uri):
        return
    if is_named:
        raise ArtifactError(
            f"There is no folder {root.uri}.", "see whether its disk is mounted, or name another root", code="ENOENT"
        )
    usage.notes.append(f"there is no folder {root.uri} yet; the first file that is stored makes it")


def _with_right(error: ArtifactError, root: Root) -> ArtifactError:
    """Return the error with the right that it takes to count, where the key lacks it."""
    if is_denied(error):
        error.hint = (
            f"counting takes s3:ListBucket: use a key that may list (--profile NAME), or let this one do what "
            f"`holdfast s3 policy --role reader {root.uri}` prints"
        )
    return error


def _root(project: Project, uri: str) -> Root:
    settings = project.settings
    root = uri or settings.artifact_root or settings.artifacts_destination
    if not root:
        raise InvalidInputError(
            "The project's settings name no artifact root: the tracking server decides where files go.",
            "name it: holdfast s3 usage s3://bucket/prefix",
        )
    return root_of(root, "the artifact root")


def _places(project: Project, usage: Usage) -> dict[str, str]:
    """Return the experiments' names by their folders below the root; without a tracking store there are none."""
    path = sqlite_path(project.settings.tracking_uri)
    if path is not None and not path.exists():
        usage.notes.append(f"nothing is tracked yet ({path}), so that no folder is known as an experiment's")
        return {}
    try:
        experiments = read_experiments(project.connection)
    except HoldfastError as error:
        usage.notes.append(f"the experiments' names are not known: {error.message}")
        return {}
    found = {
        below: f"{item.name} (deleted)" if item.is_deleted else item.name
        for item in experiments
        if (below := usage.root.path_of(item.location)) is not None
    }
    usage.elsewhere = len(experiments) - len(found)
    return found


def _look_into(project: Project, root: Root, sorting: _Sorting, usage: Usage, meter: Meter) -> None:
    bucket, _, prefix = root.uri.partition("://")[2].partition("/")
    there = Bucketful(S3Connection(project.artifacts.access), bucket, prefix)
    _take(there.objects(), sorting.add, meter)
    usage.old_versions = _by_class(there.old_versions(), "versions that are not current", usage.notes, meter)
    uploads = there.uploads()
    pages: Answer[Iterator[list[Stored]]] = Answer(
        None if uploads.value is None else iter([uploads.value]), uploads.why_not, uploads.action
    )
    usage.uploads = _by_class(pages, "unfinished uploads", usage.notes, meter)


def _by_class(
    answer: Answer[Iterator[list[Stored]]], what: str, notes: list[str], meter: Meter
) -> dict[str, Tally] | None:
    if answer.value is None:
        why = f"the key may not ({answer.action})" if answer.why_not == "denied" else "the server lacks the call"
        notes.append(f"{what} are not counted: {why}")
        return None
    found: dict[str, Tally] = {}
    _take(answer.value, lambda item: found.setdefault(item.storage_class, Tally()).add(item.size_bytes), meter)
    return found


def _take(pages: Iterable[Sequence[Stored]], add: Callable[[Stored], None], meter: Meter) -> None:
    for page in pages:
        size_bytes = sum(item.size_bytes for item in page)
        meter.begin(len(page), size_bytes)
        for item in page:
            add(item)
            meter.file_done()
        meter.advance(size_bytes)


class _Sorting:
    """Finds out what each object belongs to: the innermost experiment's folder around it."""

    def __init__(self, experiments: Mapping[str, str]) -> None:
        self._groups = {path: Group(name, path, True) for path, name in experiments.items()}
        self._strangers: dict[str, Group] = {}
        self._folder, self._group = "", Group("", "", False)
        self._now_s = time.time()

    def add(self, item: Stored) -> None:
        """Count one more."""
        folder = item.path.rpartition("/")[0]
        # Listings come by name, so that the next one mostly lies beside this one.
        if folder != self._folder or not self._group.path:
            self._folder, self._group = folder, self._group_of(folder)
        self._group.add(_age(self._now_s - item.modified_s), item.storage_class, item.size_bytes)

    def groups(self) -> list[Group]:
        """Return all that hold something, the largest first."""
        found = [group for group in (*self._groups.values(), *self._strangers.values()) if group.tallies]
        return sorted(found, key=lambda group: (-group.total.size_bytes, group.name))

    def _group_of(self, folder: str) -> Group:
        around = folder
        while True:
            if around in self._groups:
                return self._groups[around]
            if not around:
                return self._stranger(folder.partition("/")[0])
            around = around.rpartition("/")[0]

    def _stranger(self, top: str) -> Group:
        name = top or _LOOSE
        if name not in self._strangers and len(self._strangers) >= _MOST_STRANGERS:
            name = _OTHERS
        return self._strangers.setdefault(name, Group(name, top, False))


def _age(age_s: float) -> str:
    return next(name for name, days in AGES if age_s <= days * _DAY_S)


def _plain(tallies: Mapping[str, Tally]) -> dict[str, dict[str, int]]:
    return {name: {"objects": tally.objects, "bytes": tally.size_bytes} for name, tally in tallies.items()}
