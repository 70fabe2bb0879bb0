"""Listing many places at once, without keeping in memory what is found, and going on where one cannot be listed."""

from __future__ import annotations

import marshal
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType

from holdfast.artifacts.removal.holdings import Holdings
from holdfast.artifacts.team import in_parallel
from holdfast.artifacts.transfer import SILENT, Meter
from holdfast.core.cleanup.places import PlaceMap
from holdfast.core.cleanup.records import ExperimentRecord, Form, State, StoredObject
from holdfast.core.uris import scheme_of
from holdfast.errors import HoldfastError, InvalidInputError
from holdfast.maintenance.places import is_local, store_of
from holdfast.maintenance.troubles import Trouble, trouble_of

THREADS = 8
_IN_MEMORY_BYTES = 32 << 20
_FORMS = {form.value: form for form in Form}
# After these no other place of the same bucket or server would fare better.
_FATAL = ("NoSuchBucket", "HTTP 401", "Certificate", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")


class Findings:
    """What was listed: a million objects take a file, not memory. Threads may add to it; then it can be gone through.

    Attributes:
        count: How many objects there are.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115
        self._lock = threading.Lock()
        self.count = 0

    def add(self, page: Sequence[StoredObject]) -> None:
        """Take up objects."""
        rows = [(one.address, one.size_bytes, one.modified_ms, one.form.value, one.version_id) for one in page]
        data = marshal.dumps(rows)
        with self._lock:
            self._file.write(len(data).to_bytes(8, "big") + data)
            self.count += len(page)

    def __iter__(self) -> Iterator[StoredObject]:
        """Give all objects, in the order in which they came."""
        self._file.seek(0)
        while head := self._file.read(8):
            # A file without a name, written by this object alone.
            rows = marshal.loads(self._file.read(int.from_bytes(head, "big")))  # noqa: S302
            for address, size_bytes, modified_ms, form, version_id in rows:
                yield StoredObject(address, size_bytes, modified_ms, _FORMS[form], version_id)
        self._file.seek(0, os.SEEK_END)

    def __enter__(self) -> Findings:
        return self

    def __exit__(
        self, error: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


@dataclass
class Lister:
    """Lists places.

    Attributes:
        holdings: What lists one.
        findings: Takes up what is found.
        meter: Is told of every page.
        troubles: The places that could not be listed, or not to their end; what was found of these is no whole list.
    """

    holdings: Holdings
    findings: Findings
    meter: Meter = SILENT
    troubles: list[Trouble] = field(default_factory=list)
    _lost: dict[str, HoldfastError] = field(default_factory=dict)

    def list_all(self, places: Sequence[str]) -> None:
        """List places, several at once; none of them may lie in another one."""
        tasks = (partial(self._list, place) for place in places)
        in_parallel(tasks, min(THREADS, len(places)) or 1, threading.Event())
        self.troubles = _joined(self.troubles, places)

    def _list(self, place: str) -> None:
        store = store_of(place)
        try:
            if store in self._lost:
                raise self._lost[store]
            for page in self.holdings.list_place(place, whole_store=True):
                self._take(page)
        except HoldfastError as error:
            if store and _is_fatal(error):
                self._lost[store] = error
            self.troubles.append(trouble_of(place, _mended(place, error)))

    def _take(self, page: Sequence[StoredObject]) -> None:
        if not page:
            return
        self.findings.add(page)
        size_bytes = sum(one.size_bytes for one in page)
        self.meter.begin(len(page), size_bytes)
        for _ in page:
            self.meter.file_done()
        self.meter.advance(size_bytes)


def _is_fatal(error: HoldfastError) -> bool:
    return error.retryable or getattr(error, "code", "") in _FATAL or not hasattr(error, "code")


def _mended(place: str, error: HoldfastError) -> HoldfastError:
    """Return an error with the hint that clean-up has for it."""
    if isinstance(error, InvalidInputError) and scheme_of(place) == "mlflow-artifacts":
        hint = "set MLFLOW_ARTIFACTS_DESTINATION to the place that the server keeps files in"
        return InvalidInputError(error.message, hint)
    return error


def _joined(troubles: Sequence[Trouble], places: Sequence[str]) -> list[Trouble]:
    """Return troubles, those of a bucket of which nothing could be listed, for one reason, as one."""
    by_store: dict[str, list[Trouble]] = {}
    for trouble in troubles:
        by_store.setdefault(store_of(trouble.place), []).append(trouble)
    joined: list[Trouble] = []
    for store, found in by_store.items():
        in_store = sum(store_of(place) == store for place in places)
        is_all = store and len(found) == in_store > 1 and len({trouble.code for trouble in found}) == 1
        joined += [replace(found[0], place=store)] if is_all else found
    return sorted(joined, key=lambda trouble: trouble.place)


def on_missing_disks(places: Sequence[str], experiments: PlaceMap[None], project_root: str) -> list[Trouble]:
    """Return the folders that are missing from this machine with all that should be in them.

    A disk that is not mounted, or another machine's, looks like one on which no run has left a file.

    Args:
        places: The places that are of interest.
        experiments: The places of experiments; the folder above one must be there.
        project_root: What lies below it need not exist yet.
    """
    below = project_root.rstrip("/") + "/"
    tops = {_above_experiment(place, experiments) for place in places if is_local(place)}
    missing = sorted(top for top in tops if not (f"{top}/".startswith(below) or os.path.isdir(top)))
    hint = "mount its disk, or clean up on the machine that has it"
    return [Trouble(top, "ENOENT", f"There is no folder {top} on this machine.", hint) for top in missing]


def _above_experiment(place: str, experiments: PlaceMap[None]) -> str:
    experiment = experiments.deepest(place)
    # In MLflow's layout, an experiment's folder holds ID/artifacts.
    return os.path.dirname(experiment if experiment is not None else os.path.dirname(os.path.dirname(place)))


def on_empty_disks(places: Iterable[str], state: State) -> list[Trouble]:
    """Return the folders in which there is nothing at all, though files must be below them.

    A disk that is not mounted leaves an empty folder behind. So does MLflow where runs have only metrics: it takes
    something alive that is made of files to tell.

    Args:
        places: The places that are of interest.
        state: What is known of the store.
    """
    sure: PlaceMap[None] = PlaceMap((place, None) for place in _with_files(state) if is_local(place))
    folders = {_deepest_folder(place) for place in places if is_local(place)} if len(sure) else set()
    empty = sorted(folder for folder in folders if any(sure.below(folder)) and _is_empty(folder))
    hint = "mount its disk; if the files are really gone, put any file into the folder"
    return [Trouble(top, "EMPTY", f"The folder {top} is empty, and files should be below it.", hint) for top in empty]


def _with_files(state: State) -> Iterator[str]:
    """Yield the places that hold files as long as nobody deletes what lies there."""
    runs = {run.run_id for run in state.runs if run.is_deleted}
    experiments = {item.experiment_id for item in state.experiments if item.is_deleted}
    for version in state.versions:
        yield from version.places
    # Traces are no proof: MLflow 3.5 and newer names a place for each, and keeps them in its database.
    for model in state.models:
        # What goes with its run may be gone already, if a clean-up was killed before it took the rows.
        if not model.is_deleted and model.run_id not in runs and model.experiment_id not in experiments:
            yield model.place


def _deepest_folder(place: str) -> str:
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    return place


def _is_empty(folder: str) -> bool:
    try:
        with os.scandir(folder) as found:
            return next(found, None) is None
    except OSError:  # its listing tells why
        return False


def worth_listing(state: State) -> list[ExperimentRecord]:
    """Return the experiments without those that have nothing, and whose folder nobody has made yet.

    MLflow gives its first experiment a folder where the database was made, which is often another machine.
    """
    used = {thing.experiment_id for things in (state.runs, state.models, state.traces) for thing in things}
    return [
        item
        for item in state.experiments
        if item.experiment_id in used or not is_local(item.place) or os.path.isdir(item.place)
    ]
