"""The copy of a history in the artifact store, so that losing or changing one of the two is found out.

Event 17 is the file `events/000017.json`, word for word what the registry keeps; the list of a version's files is
`manifests/<checksum>.json`. Each is written once, with the condition that there is none yet where the store knows such
a condition (S3, a folder); through MLflow's server it is written as it is, which changes nothing as long as nobody
meddles: the registry has decided by then what event 17 is. The files lie beside the artifacts of the history's run, not
among them: `mlflow gc` deletes those together with the run, and the copy is there for that very case.

The registry decides and the copy follows, so that the copy may lack what its writer did not get to: it was killed, or
the store did not answer. Nothing of that stays unnoticed:

* A change that shows in the registry (a move, an alias, a tag, a deletion) is written there after its copy. Whoever
  finds such a change half carried out finishes it, and the copy with it (`catch_up`).
* The writer after any other event, or after one of less than a minute ago, looks what is missing and writes that too.
* Where the store refused, a tag of the history's run says so, and the next writer writes what is missing.
* What is left (a kill in the moment between two words of the same kind, a file that somebody deleted) is found by
  `holdfast models audit`, and written by `holdfast models repair`.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from holdfast.artifacts.team import in_parallel
from holdfast.backend.history import HistoryRun
from holdfast.core.history import Event, Kind
from holdfast.core.manifest import Manifest
from holdfast.core.uris import join_uri, mask_uri
from holdfast.errors import HoldfastError
from holdfast.logs import get_logger
from holdfast.project import Project
from holdfast.registry.history.patience import within

_log = get_logger(__name__)
OWED_TAG = "holdfast.mirror.owed"
"""On a history's run: an event that could not be copied; empty where all are."""
_EVENTS, _LISTS = "events", "manifests"
_LIMIT_S = 5.0
_THREADS = 8
_NAMED = 5
_FRESH = timedelta(minutes=1)
_FILE = re.compile(r"([0-9]{6,})\.json")
_SHOWN = (
    *(Kind.MOVED, Kind.ROLLED_BACK, Kind.ALIAS_SET, Kind.ALIAS_REMOVED),
    *(Kind.TAGGED, Kind.UNTAGGED, Kind.DELETED),
)


class Mirror:
    """The files of one history.

    Args:
        project: With whose keys.
        kept: The history as the registry keeps it.
    """

    def __init__(self, project: Project, kept: HistoryRun) -> None:
        self._project = project
        self._kept = kept

    @property
    def place(self) -> str:
        """Where the files lie, as an address."""
        return place_beside(self._kept.artifact_uri)

    def put(self, event: Event, before: Event | None) -> bool:
        """Write an event, and what its predecessors may have left out; mostly one request.

        It never fails and takes a few seconds at most: the event is in the history whatever becomes of its copy. What
        could not be written is said in a warning.

        Args:
            event: The last one of the history.
            before: The one before, or None where this process knows that its copy was written.

        Returns:
            Whether its copy was written.
        """
        is_owed = bool(self._kept.tags.get(OWED_TAG))
        if is_owed or (before is not None and _may_be_missing(before)):
            return self._tried(self._fill_and_settle if is_owed else self._fill, event.number)
        return self._tried(partial(self._put, event.number, event.to_json()), event.number)

    def catch_up(self) -> None:
        """Write what is missing, after somebody who did not come to the end of a change; like `put` it never fails."""
        self._tried(self._fill, len(self._kept.texts))

    def put_manifest(self, manifest: Manifest) -> None:
        """Write the list of a version's files, under its checksum; like `put` it never fails."""
        content = manifest.to_json().encode()
        path = _manifest_path(manifest.checksum)
        self._tried(lambda stop: self._project.artifacts.put_once(self.place, path, content, stop), None)

    def missing(self) -> list[int]:
        """Return the numbers of the events that have no copy.

        Raises:
            HoldfastError: The store cannot be read.
        """
        there = set(self._numbers())
        return [number for number in range(1, len(self._kept.texts) + 1) if number not in there]

    def lost(self) -> list[int]:
        """Return the numbers of the events that the registry does not have (any more), and that have a copy.

        Raises:
            HoldfastError: The store cannot be read.
        """
        there = {*range(1, len(self._kept.texts) + 1), *self._kept.beyond}
        return sorted(number for number in self._numbers() if number not in there)

    def fill(self) -> list[int]:
        """Write the copies that are missing; return the numbers of their events.

        Raises:
            HoldfastError: The store cannot be read or written; what was written until then stays.
        """
        filled = self._fill(threading.Event())
        if self._kept.tags.get(OWED_TAG):
            self._project.histories.set_tag(self._kept.run_id, OWED_TAG, "")
        return filled

    def texts(self) -> dict[int, str]:
        """Return all copies, by number; empty where there are none.

        Raises:
            HoldfastError: The store cannot be read.
        """
        if not self._numbers():
            return {}
        with tempfile.TemporaryDirectory(prefix="holdfast-history-") as scratch:
            folder = self._project.artifacts.download(self.place, _EVENTS, Path(scratch))
            files = {int(match[1]): path for path in folder.iterdir() if (match := _FILE.fullmatch(path.name))}
            return {number: files[number].read_text("utf-8", errors="replace") for number in sorted(files)}

    def manifest(self, checksum: str) -> Manifest | None:
        """Return the list of files that has this checksum, or None where nobody kept it, or what is kept is another.

        Raises:
            HoldfastError: The store cannot be read.
        """
        path = _manifest_path(checksum)
        if not (checksum and self._kept.artifact_uri):
            return None  # nobody measured it, or there is no history yet
        if path not in (item.path for item in self._project.artifacts.list_files(self.place, _LISTS)):
            return None
        with tempfile.TemporaryDirectory(prefix="holdfast-history-") as scratch:
            found = self._project.artifacts.download(self.place, path, Path(scratch))
            manifest = Manifest.from_json(found.read_text("utf-8", errors="replace"))
        return manifest if manifest.checksum == checksum else None

    def changes(self, checksum: str, now: Manifest) -> str:
        """Say in which files a version differs from the one of a checksum; only that it does, where nobody can tell."""
        try:
            before = self.manifest(checksum)
        except HoldfastError:  # the caller has something more important to say
            before = None
        said = [] if before is None else before.differences(now)
        more = f" and {len(said) - _NAMED} more" if len(said) > _NAMED else ""
        return "; ".join(said[:_NAMED]) + more if said else f"{now.checksum} is not {checksum}"

    # -- inside -----------------------------------------------------------------------

    def _numbers(self) -> list[int]:
        found = self._project.artifacts.list_files(self.place, _EVENTS)
        names = (_FILE.fullmatch(item.path.rpartition("/")[2]) for item in found if not item.is_dir)
        return [int(match[1]) for match in names if match]

    def _put(self, number: int, text: str, stop: threading.Event) -> None:
        if not self._project.artifacts.put_once(self.place, event_path(number), text.encode(), stop):
            self._compare(number, text)

    def _compare(self, number: int, text: str) -> None:
        """Look at a copy that was there already: somebody may have finished it, or put something else there."""
        with tempfile.TemporaryDirectory(prefix="holdfast-history-") as scratch:
            there = self._project.artifacts.download(self.place, event_path(number), Path(scratch))
            if there.read_bytes() == text.encode():
                return
        _log.warning(
            "the copy of an event is not what the registry keeps",
            model=self._kept.model,
            number=number,
            place=mask_uri(join_uri(self.place, event_path(number))),
            hint=f"holdfast models audit {self._kept.model}",
        )

    def _fill(self, stop: threading.Event) -> list[int]:
        numbers = self.missing()
        tasks = (partial(self._put, number, self._kept.texts[number - 1], stop) for number in numbers)
        in_parallel(tasks, min(_THREADS, len(numbers) or 1), stop)
        return numbers

    def _fill_and_settle(self, stop: threading.Event) -> None:
        self._fill(stop)
        self._project.histories.set_tag(self._kept.run_id, OWED_TAG, "")

    def _tried(self, work: Callable[[threading.Event], object], number: int | None) -> bool:
        """Do it within the limit; say what became of it where it failed."""
        try:
            within(_LIMIT_S, work)
        except (HoldfastError, OSError, TimeoutError) as error:
            self._say(error)
            if number is not None:
                self._owe(number)
            return False
        return True

    def _say(self, error: Exception) -> None:
        reason = error.message if isinstance(error, HoldfastError) else str(error)
        _log.warning(
            "the history's copy in the artifact store could not be written; the registry has all of it",
            model=self._kept.model,
            place=mask_uri(self.place),
            reason=self._project.redact(reason),
            hint=f"holdfast models repair {self._kept.model}",
        )

    def _owe(self, number: int) -> None:
        if not self._kept.tags.get(OWED_TAG):
            with suppress(HoldfastError):  # the next audit finds it as well
                self._project.histories.set_tag(self._kept.run_id, OWED_TAG, str(number))


def in_order(copies: Mapping[int, str]) -> list[str]:
    """Return the copies of the first events, up to the first that is missing."""
    found: list[str] = []
    while (number := len(found) + 1) in copies:
        found.append(copies[number])
    return found


def place_beside(artifact_uri: str) -> str:
    """Return where the files of a history lie whose run has its artifacts there: beside them."""
    return join_uri(artifact_uri.rstrip("/").removesuffix("/artifacts"), "history")


def event_path(number: int) -> str:
    """Return the path of an event's copy."""
    return f"{_EVENTS}/{number:06d}.json"


def _manifest_path(checksum: str) -> str:
    return f"{_LISTS}/{checksum.removeprefix('sha256:')}.json"


def _may_be_missing(before: Event) -> bool:
    """Whether its writer may have stopped short of the copy, and nothing else would tell."""
    age = datetime.now(UTC) - datetime.fromisoformat(before.at)
    return before.kind not in _SHOWN or abs(age) < _FRESH
