"""What a process that logs has to do with delivery: it writes to the journal, and waits only where it asks to."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.artifacts.access import S3Access
from holdfast.backend.database import check_opens
from holdfast.backend.errors import translated
from holdfast.core.sending import Refused, Sender, Unavailable
from holdfast.core.uris import is_database
from holdfast.delivery.identity import (
    ExperimentAbout,
    RunAbout,
    is_local,
    load_about,
    load_experiment,
    local_experiment_id,
    new_local_id,
    resolve_experiment,
    save_about,
    save_experiment,
    server_id_of,
)
from holdfast.delivery.leaving import Notice, counted, what_is_left
from holdfast.delivery.process import start_shipper, start_uploader
from holdfast.delivery.settling import REACH_S, Settling
from holdfast.delivery.target import Target
from holdfast.delivery.upload_target import UploadTarget
from holdfast.errors import BackendError, HoldfastError, JournalError
from holdfast.journal.codec import Kind
from holdfast.journal.filesystem import OsFileSystem, write_whole
from holdfast.journal.household import ProcessJournal
from holdfast.journal.reserve import make_reserve
from holdfast.journal.writer import RunWriter
from holdfast.lifecycle import run_guard

# How often a process that logs looks whether its shipper is still there.
_WATCH_S = 5.0


class Delivery:
    """The journal of one tracking store, as this process uses it. Threads may share it; see `delivery_of`.

    Args:
        target: The journal and its store.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        # Where no process may be started, none makes copies of linked files either.
        self.journal = ProcessJournal(target.root, target.options, may_link=target.shipper != "thread")
        self._files = OsFileSystem()
        # The stores that log through it, to be let go of when it is closed for good.
        self.stores: weakref.WeakSet[Any] = weakref.WeakSet()
        self.begin()
        _all.add(self)

    def begin(self) -> None:
        """Begin anew, also in a forked child: its parent's connections and runs are not its own."""
        self._process = os.getpid()
        self._lock = threading.RLock()
        self.settling = Settling(self.target, self.journal)
        self._begun: set[str] = set()
        self._params: dict[str, dict[str, str]] = {}
        # Run → its writer, for callers in a hurry; empty again in a forked child.
        self.writers: dict[str, RunWriter] = {}
        # Run → what MLflow was given when it began.
        self.entities: dict[str, Any] = {}
        # Fingerprint → what an uploader with this access is told.
        self._errands: dict[str, UploadTarget] = {}
        self._is_guarded = False
        self._has_left = threading.Event()

    def __repr__(self) -> str:
        return f"Delivery({self.target.destination!r}, {str(self.target.root)!r})"

    # -- the server -------------------------------------------------------------------

    def sender(self) -> Sender:
        """Return this thread's way to the server, that gives up after `REACH_S`."""
        return self.settling.sender()

    @property
    def is_offline(self) -> bool:
        """Whether the server was found missing a moment ago."""
        return self.settling.is_offline

    def go_offline(self) -> None:
        """Note that the server is missing, so that the next calls do not wait for it again."""
        self.settling.go_offline()

    def is_reachable(self) -> bool:
        """Find out, within `REACH_S` at most, whether the store answers a question that needs its database."""
        if self.is_offline:
            return False
        try:
            self._ask()
        except Unavailable as error:
            if error.needs_people:
                return True  # it is there, and MLflow's own call tells best what it refuses
            self.go_offline()
            return False
        except (Refused, HoldfastError):
            return True
        return True

    def _ask(self) -> None:
        if not is_database(self.target.tracking_uri):
            self.sender().get_experiment("0")
            return
        try:
            with translated("open the tracking store", self.target.tracking_uri, self.target.redact):
                check_opens(self.target.tracking_uri, int(REACH_S))
        except BackendError as error:
            if error.retryable:
                raise Unavailable(error.message) from None
            raise

    # -- beginning runs ---------------------------------------------------------------

    def begin_offline_experiment(
        self, name: str, artifact_location: str | None, tags: Mapping[str, str] | None = None
    ) -> ExperimentAbout:
        """Return an experiment on a local id, which is found or created when the server is back."""
        about = ExperimentAbout(local_experiment_id(name), name, artifact_location, dict(tags or {}))
        self._make_root()
        with self._translated():
            save_experiment(self._files, self.journal.paths, about)
        return about

    def new_key(self) -> str:
        """Return what a new run is found by on the server, whatever becomes of the answer."""
        return uuid.uuid4().hex

    def begin_run(self, about: RunAbout, owned: bool = True) -> RunWriter:
        """Take a run into the journal, note that this process is the one to end it, and see to its delivery.

        Raises:
            JournalError: The journal cannot be written to.
        """
        self._make_root()
        with self._translated():
            save_about(self._files, self.journal.paths.run(about.run_id), about)
        writer = self.journal.writer(about.run_id)
        if owned:
            writer.entry(Kind.OWNED, {})
        self._see_to_delivery(about.run_id)
        return writer

    def experiment_on_server(self, experiment_id: str) -> str:
        """Return the id on the server of an experiment that may be on a local one, created there if need be.

        Raises:
            Refused, Unavailable: As the server says.
        """
        return resolve_experiment(self._files, self.journal.paths, experiment_id, self.sender())

    def offline_experiment(self, experiment_id: str) -> ExperimentAbout | None:
        """Return what a local id stands for; None for one of the server's."""
        if not is_local(experiment_id):
            return None
        return load_experiment(self._files, self.journal.paths, experiment_id)

    def begin_offline_run(
        self, experiment_id: str, user: str, start_time_ms: int, name: str | None, tags: Mapping[str, str], key: str
    ) -> RunAbout:
        """Begin a run on a local id."""
        run_id = new_local_id()
        artifacts = self.journal.paths.run(run_id).folder / "artifacts"
        about = RunAbout(run_id, key, experiment_id, user, start_time_ms, name, dict(tags), artifacts.as_uri())
        self.begin_run(about)
        return about

    def writer(self, run_id: str) -> RunWriter:
        """Return the writer of a run, which is taken into the journal if it was begun elsewhere.

        Raises:
            JournalError: The journal cannot be written to.
        """
        if run_id not in self._begun:
            self.begin_run(RunAbout(run_id), owned=False)
        found = self.writers[run_id] = self.journal.writer(run_id)
        return found

    def check_params(
        self, run_id: str, params: Sequence[tuple[str, str]], refusal: Callable[[str, str, str, str], Exception]
    ) -> None:
        """Refuse a param that this process has logged with another value; take note of the others.

        Args:
            run_id: The run.
            params: Name and value each.
            refusal: Makes the error from run, name, old and new value.
        """
        with self._lock:
            known = self._params.setdefault(run_id, {})
            for key, value in params:
                if known.get(key, value) != value:
                    raise refusal(run_id, key, known[key], value)
            known.update(params)

    def _see_to_delivery(self, run_id: str) -> None:
        with self._lock:
            self._begun.add(run_id)
            if not self._is_guarded:
                self._is_guarded = True
                run_guard().finally_do(self._at_exit)
                with contextlib.suppress(RuntimeError):  # the interpreter is ending
                    threading.Thread(target=self._keep_shipper, name="holdfast-watch", daemon=True).start()
        start_shipper(self.target, lambda: self.journal.known_process)

    def _keep_shipper(self) -> None:
        """Start another shipper or uploader where the one there was has been killed, for runs that go on for days."""
        while not self._has_left.wait(_WATCH_S):
            start_shipper(self.target, lambda: self.journal.known_process)
            for errand in list(self._errands.values()):
                start_uploader(errand, lambda: self.journal.known_process)

    # -- files ------------------------------------------------------------------------

    def hand_over(
        self,
        run_id: str,
        sources: Sequence[tuple[Path, str]],
        root_uri: str | None,
        access: S3Access,
        artifact_root: str | None = None,
        removes: Sequence[str] = (),
        supersedes: bool = False,
    ) -> str:
        """Take files into the journal as they are now, and see to their upload; what becomes of them does not matter.

        When this returns, a killed process loses nothing of it; it is on the disk as the journal's policy says.

        Args:
            run_id: The run.
            sources: The files, and where each goes among the run's artifacts.
            root_uri: Where the run keeps its artifacts; not looked at for a run that was begun offline.
            access: How the project reaches S3.
            artifact_root: Where the project was told to keep its files; see `UploadTarget`.
            removes: What is to be deleted among the run's artifacts, once these files are there.
            supersedes: Whether what still waits need not be sent where this stores or deletes all of it.

        Returns:
            The parcel's id.

        Raises:
            InvalidInputError: One of them is no file, or cannot be read.
            JournalError: The journal cannot be written to, or is full; nothing was taken.
        """
        self.writer(run_id)
        root = None if is_local(run_id) else root_uri
        parcel = self.journal.spool.hand_over(
            sources, run_id, root, access.fingerprint, self.journal.process, removes, supersedes
        )
        self.see_to_uploads(access, artifact_root)
        return parcel

    def runs_with_files(self, run_id: str) -> list[str]:
        """Return the names under which files of a run of the server still wait, or were set aside, in this journal."""
        waiting = dict.fromkeys(parcel.entry.run_id for parcel in self.journal.spool.parcels() if parcel.entry)
        return [name for name in waiting if run_id in (name, self.server_id(name))]

    def runs_with_records(self, run_id: str) -> list[str]:
        """Return the names under which this journal has a run of the server, or a local one, whoever logged to it."""
        names = [name for name in self._files.list(self.journal.paths.runs) if not name.startswith(".")]
        return [name for name in names if name == run_id or (is_local(name) and self.server_id(name) == run_id)]

    def see_to_uploads(self, access: S3Access, artifact_root: str | None = None) -> None:
        """Start an uploader with this access where there is none, and keep one as long as this process lives.

        Args:
            access: How the project reaches S3.
            artifact_root: Where the project was told to keep its files; see `UploadTarget`.
        """
        self._make_root()
        errand = self._errands[access.fingerprint] = UploadTarget(self.target, access, artifact_root)
        start_uploader(errand, lambda: self.journal.known_process)

    def _make_root(self) -> None:
        root = self.target.root
        if (root / "journal.json").exists():
            return
        with self._translated():
            root.parent.mkdir(parents=True, exist_ok=True)
            root.mkdir(mode=0o700, exist_ok=True)  # params are nobody else's business
            ignore = root.parent.parent / ".gitignore"
            if root.parent.parent.name == ".holdfast" and not ignore.exists():
                ignore.write_text("*\n")
            about = {"format": 1, "destination": self.target.destination, "created_ms": time.time_ns() // 1_000_000}
            write_whole(self._files, root / "journal.json", json.dumps(about).encode())
        make_reserve(self.journal.paths)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise JournalError(
                f"The journal {self.target.root} cannot be written to: {error.strerror or error}.",
                "set HOLDFAST_JOURNAL to a folder that can be written to and has room",
            ) from None

    # -- what is known of runs --------------------------------------------------------

    def about(self, run_id: str) -> RunAbout:
        """Return how a run of the journal was begun."""
        return load_about(self._files, self.journal.paths.run(run_id))

    def has_run(self, run_id: str) -> bool:
        """Whether this process has logged to the run."""
        return run_id in self._begun

    def server_id(self, run_id: str) -> str | None:
        """Return the run's id on the server; None for a local one that is not there yet."""
        return server_id_of(self.journal.paths, run_id)

    # -- waiting ----------------------------------------------------------------------

    def settle(
        self, run_ids: Sequence[str] | None = None, limit_s: float | None = None, with_files: bool = True
    ) -> dict[str, str]:
        """Wait until what this process has logged is on the server; see `Settling.settle`."""
        return self.settling.settle(run_ids, limit_s, with_files=with_files)

    # -- the end of the process -------------------------------------------------------

    def _at_exit(self) -> None:
        if self._process != os.getpid():
            return
        self._has_left.set()
        self.journal.leave()
        runs = self._runs()
        if not runs or self.target.exit_wait_s <= 0:
            return
        notice = Notice(f"holdfast: delivering {counted(runs)} to {self.target.destination} ...")
        left = self.settling.settle(runs, self.target.exit_wait_s, notice)
        for line in what_is_left(self.target, self.journal, runs, left):
            sys.stderr.write(f"holdfast: {line}\n")

    def _runs(self) -> list[str]:
        """Return the runs that this process has logged or handed files to."""
        runs = self.journal.written()
        return [*runs, *sorted(self.journal.spool.handed - set(runs))]

    def close(self, limit_s: float = 0.0) -> dict[str, str]:
        """Take leave of the journal before the process ends; what is logged later begins anew.

        Args:
            limit_s: How long to wait for delivery.

        Returns:
            Run → why not all of it is on the server; the shipper goes on with it.
        """
        runs = self._runs()
        left = self.settling.settle(runs, limit_s) if runs else {}
        self._has_left.set()
        self.journal.close()
        self.begin()
        return left


_all: weakref.WeakSet[Delivery] = weakref.WeakSet()


def _after_fork() -> None:
    for delivery in list(_all):
        delivery.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

_deliveries: dict[Path, Delivery] = {}
_by_store: dict[str, Delivery] = {}
_lock = threading.Lock()


def delivery_of(target: Target, store_uri: str | None = None) -> Delivery:
    """Return this process's delivery for a target: one for a journal, however many trackers use it.

    Args:
        target: The journal and its store.
        store_uri: The store as MLflow is given it, where that is written in another way.
    """
    with _lock:
        found = _deliveries.get(target.root)
        if found is None or found.target.tracking_uri != target.tracking_uri:
            found = _deliveries[target.root] = Delivery(target)
        _by_store[store_uri or target.tracking_uri] = _by_store[target.tracking_uri] = found
        return found


def delivery_in_use(store_uri: str) -> Delivery | None:
    """Return the delivery that this process uses for a tracking store, or None."""
    return _by_store.get(store_uri)


def close_deliveries(limit_s: float = 0.0) -> None:
    """Take leave of all journals that this process writes to, and forget them: for tests and long-lived processes."""
    with _lock:
        known = list(_deliveries.values())
        _deliveries.clear()
        _by_store.clear()
    for delivery in known:
        delivery.close(limit_s)
        for store in list(delivery.stores):
            store.holdfast_detach()
