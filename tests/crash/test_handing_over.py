"""Files that are handed over on a file system that fails, crashes and loses power, and with real SIGKILLs."""

from __future__ import annotations

import errno
import json
import os
import platform
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import JournalError
from holdfast.journal.checkpoint import Checkpoint, save_checkpoint
from holdfast.journal.filesystem import FileSystem, OsFileSystem, remove_tree
from holdfast.journal.layout import JournalPaths
from holdfast.journal.lease import Lease, boot_id
from holdfast.journal.leases import Leases
from holdfast.journal.options import JournalOptions
from holdfast.journal.parcel import Entry, Parcel
from holdfast.journal.retention import retire
from holdfast.journal.snapshot import Snapshot, snapshot
from holdfast.journal.spool import Spool
from holdfast.testing.filesystem import Crash, FaultyFileSystem

GONE = "999999999-1-00000000"
ROOT = "s3://bucket/run"
LARGE = 9 << 20


@dataclass
class World:
    """A spool in memory, and what it has acknowledged.

    Attributes:
        folder: Where its journal has its real leases: of one process, which is gone.
        build: The spool under test.
        sync: The journal's policy.
        sure: What is promised to be there, by what it was to hold.
        begun: What may be there too: a call for it was made.
    """

    folder: Path
    build: type[Spool]
    sync: str
    files: FaultyFileSystem = field(default_factory=FaultyFileSystem)
    sure: list[list[bytes]] = field(default_factory=list)
    begun: list[list[bytes]] = field(default_factory=list)
    unsynced: list[list[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        paths = JournalPaths(self.folder)
        paths.processes.mkdir(exist_ok=True)
        about = {"pid": 1, "host": platform.node(), "boot": boot_id(), "started_ms": 1}
        paths.lease(GONE).write_text(json.dumps(about))
        options = JournalOptions(sync=self.sync)  # type: ignore[arg-type]
        (self.folder / "source").write_bytes(b"x")
        self.files.make_folder(self.folder)
        for above in self.folder.parents:
            self.files.sync_folder(above)
        self.first = self.files.count
        self.contents: list[bytes] = []
        self.spool = self.build(paths, self.files, options, take=self.take)

    def take(self, source: Path, target: Path, leases: Leases | None) -> Snapshot:
        """Take the next content, in two writes."""
        data = self.contents.pop(0)
        fd = self.files.open_new(target)
        try:
            for part in (data[:3], data[3:]):
                if self.files.write(fd, part) != len(part):
                    raise OSError(errno.ENOSPC, "no space left on device")
        finally:
            self.files.close(fd)
        return Snapshot(len(data), 7)

    def hand_over(self, *contents: bytes) -> None:
        """Hand files over."""
        self.contents = list(contents)
        self.begun.append(list(contents))
        sources = [(self.folder / "source", f"file {number}") for number in range(len(contents))]
        self.spool.hand_over(sources, "run", ROOT, "access", GONE)
        (self.sure if self.sync == "always" else self.unsynced).append(list(contents))

    def do_sync(self) -> None:
        """Sync, as the journal's thread does."""
        before = self.files.fired
        self.spool.sync()
        if self.files.fired == before and self.sync == "interval":
            self.sure += self.unsynced
            self.unsynced = []

    def send_first(self) -> None:
        """Remove the first parcel, as when it is uploaded."""
        parcels = self.spool.parcels()
        if not parcels:
            return
        entry = Entry.from_json(self.files.content(parcels[0].folder / "entry.json"))
        content = [self.files.content(parcels[0].data(file)) for file in entry.files]
        self.sure = [known for known in self.sure if known != content]
        self.unsynced = [known for known in self.unsynced if known != content]
        parcels[0].remove()

    def found(self) -> list[tuple[Parcel, list[bytes]]]:
        """Return the parcels, and what they hold."""
        return [(parcel, _content(self.files, parcel)) for parcel in self.spool.parcels()]

    def play(self) -> None:
        """Hand over, sync and send; errors are allowed where they are the right ones."""
        steps: Sequence[Callable[[], object]] = (
            lambda: self.hand_over(b"first file", b"", b"third file"),
            self.do_sync,
            lambda: self.hand_over(b"another call"),
            self.send_first,
            lambda: self.hand_over(b"last call", b"of all"),
            self.do_sync,
        )
        for step in steps:
            try:
                step()
            except JournalError:
                assert self.files.fired
            except OSError:  # of `send_first`; the uploader tries again
                assert self.files.fired

    def check(self, has_lost_power: bool) -> None:
        """What was acknowledged is there, whole; what is there was asked for; nothing half is left."""
        self.spool.clean()
        found = [content for _, content in self.found()]
        for content in self.sure if has_lost_power else [*self.sure, *self.unsynced]:
            assert content in found, f"{content} is lost, there is {found}"
        for content in found:
            is_said_to_be_lost = has_lost_power and content in ([b"unreadable"], [b"broken"])
            assert content in self.begun or is_said_to_be_lost, f"{content} was never handed over"
        assert not [name for name in self.files.list(self.spool.paths.files) if name.startswith(".")]


def _content(files: FaultyFileSystem, parcel: Parcel) -> list[bytes]:
    """Return what would be uploaded, or nothing where the parcel says that it is damaged."""
    if parcel.entry is None:
        return [b"unreadable"]
    if parcel.broken():
        return [b"broken"]
    return [files.content(parcel.data(file)) for file in parcel.entry.files]


def _each(folder: Path, build: type[Spool], sync: str, arm: Callable[[FaultyFileSystem, int], None], end: str) -> None:
    with_all = World(folder, build, sync)
    with_all.play()
    numbers = range(with_all.first, with_all.files.count)
    with_all.check(has_lost_power=False)
    for number in numbers:
        world = World(folder, build, sync)
        arm(world.files, number)
        try:
            world.play()
        except Crash:
            assert end
        if end:
            world.files.reboot(power_cut=end == "power cut")
        world.spool = Spool(world.spool.paths, world.files)
        where = f"{sync}, operation {number}: {world.files.log[number]}"
        try:
            world.check(has_lost_power=end == "power cut")
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error


def check_failures(folder: Path, build: type[Spool]) -> None:
    """An operation fails."""
    for sync in ("interval", "always", "process"):
        _each(folder, build, sync, lambda files, number: files.fail(number, errno.ENOSPC), "")


def check_short_writes(folder: Path, build: type[Spool]) -> None:
    """A write takes a part only."""
    _each(folder, build, "interval", lambda files, number: files.shorten(number, 2), "")


def check_kills(folder: Path, build: type[Spool]) -> None:
    """The process is killed before an operation."""
    for sync in ("interval", "always"):
        _each(folder, build, sync, lambda files, number: files.crash(number), "kill")


def check_power_cuts(folder: Path, build: type[Spool]) -> None:
    """The machine loses its power before an operation."""
    for sync in ("interval", "always"):
        _each(folder, build, sync, lambda files, number: files.crash(number), "power cut")


CHECKS = {
    check.__name__.removeprefix("check_"): check
    for check in (check_failures, check_short_writes, check_kills, check_power_cuts)
}


@pytest.mark.parametrize("check", CHECKS)
def test_a_fault_at_every_operation(check: str, tmp_path: Path) -> None:
    CHECKS[check](tmp_path, Spool)


# -- bugs planted on purpose ------------------------------------------------------------------


class InPlace(Spool):
    """A parcel is built under its own name."""

    def _commit(self, folder: Path, parcel_id: str, entry: Entry, leases: Leases) -> None:
        target = self.paths.files / parcel_id
        self._files.make_folder(target)
        names = self._files.list(folder)
        for name in names:
            self._files.replace(folder / name, target / name)
        super()._commit(folder, f"{parcel_id[:-1]}0", entry, leases)


class NoSync(Spool):
    """What was handed over is not synced."""

    def sync(self) -> None:
        return


class NoContentSync(Spool):
    """Only names are synced."""

    def _sync_one(self, parcel: Parcel) -> bool:
        self._files.sync_folder(parcel.folder)
        self._sync_names()
        return True


class NoNameSync(Spool):
    """Only contents are synced."""

    def _sync_names(self) -> None:
        return


class NoCleaning(Spool):
    """What a killed call leaves stays."""

    def clean(self, own: str | None = None) -> None:
        return


class ShortIsWhole(World):
    """A copy that was cut off counts as whole."""

    def take(self, source: Path, target: Path, leases: Leases | None) -> Snapshot:
        data = self.contents.pop(0)
        fd = self.files.open_new(target)
        self.files.write(fd, data)
        self.files.close(fd)
        return Snapshot(self.files.size(target), 7)


@pytest.mark.parametrize(
    ("bug", "check"),
    [(InPlace, "kills"), (NoSync, "power_cuts"), (NoContentSync, "power_cuts"), (NoNameSync, "power_cuts")],
)
def test_a_bug_is_caught(bug: type[Spool], check: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        CHECKS[check](tmp_path, bug)


def test_a_clean_up_that_does_nothing_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spool, "clean", NoCleaning.clean)
    with pytest.raises(AssertionError):
        check_kills(tmp_path, Spool)


def test_a_short_copy_that_counts_as_whole_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "take", ShortIsWhole.take)
    with pytest.raises(AssertionError):
        check_short_writes(tmp_path, Spool)


# -- real processes, a real disk --------------------------------------------------------------


class Deadly(OsFileSystem):
    """Kills its process before an operation."""

    def __init__(self, before: int) -> None:
        self.left = before
        # Bound directly on the class, where they cannot be counted.
        self.write = self._counted(os.write)  # type: ignore[method-assign]
        self.sync = self._counted(os.fsync)  # type: ignore[method-assign]

    def _counted(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()
            self.left -= 1
            return work(*arguments)

        return counted

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in ("open_new", "sync_file", "sync_folder", "replace", "make_folder", "remove_folder", "list"):
            return super().__getattribute__("_counted")(found)
        return found


def _hand_over_and_die(root: Path, sources: Sequence[Path], before: int, sync: str) -> int | None:
    """Do it in a forked child; return what it took to the end, or None where it was killed before."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            paths = JournalPaths(root)
            files = Deadly(-1)
            lease = Lease(paths)

            def take(source: Path, target: Path, leases: Leases | None) -> Snapshot:
                files.list(target.parent)  # counts
                return snapshot(source, target, leases)

            spool = Spool(paths, files, JournalOptions(sync=sync), take=take)  # type: ignore[arg-type]
            files.left = before
            spool.hand_over([(source, source.name) for source in sources], "run", ROOT, "access", lease.process)
            os.write(write, b"%d" % (before - files.left))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(write)
    os.waitpid(child, 0)
    said = os.read(read, 100)
    os.close(read)
    return int(said) if said else None


@pytest.mark.parametrize("sync", ["interval", "always"])
def test_a_process_that_is_killed_anywhere(tmp_path: Path, sync: str) -> None:
    root = tmp_path / "journal"
    paths = JournalPaths(root)
    paths.processes.mkdir(parents=True)
    sources = {tmp_path / "large": os.urandom(LARGE), tmp_path / "small": os.urandom(1000)}
    number, has_ended = 0, False
    while not has_ended:
        for source, data in sources.items():
            source.write_bytes(data)
        before = len(Spool(paths).parcels())
        has_ended = _hand_over_and_die(root, list(sources), number, sync) is not None
        for source in sources:  # the helper, if there is one, keeps us waiting
            source.write_bytes(b"overwritten")
        spool = Spool(paths)
        spool.clean()
        parcels = spool.parcels()[before:]
        assert len(parcels) <= 1
        assert parcels or not has_ended
        for parcel in parcels:
            _wait_until(lambda parcel=parcel: parcel.seal(sync))  # type: ignore[misc]
            assert parcel.entry is not None
            assert [parcel.data(file).read_bytes() for file in parcel.entry.files] == list(sources.values())
        assert not [name for name in os.listdir(paths.files) if name.startswith(".")] if paths.files.exists() else True
        number += 1
    assert number > 6


def _wait_until(what: Callable[[], bool]) -> None:
    event = threading.Event()
    for _ in range(6000):
        if what():
            return
        event.wait(0.01)
    raise AssertionError("not within 60 s")


def test_a_removal_that_is_killed_is_finished(tmp_path: Path) -> None:
    paths = JournalPaths(tmp_path / "journal")
    (tmp_path / "file").write_bytes(b"content")
    spool = Spool(paths)
    spool.hand_over([(tmp_path / "file", "file")], "run", ROOT, "access", GONE)
    (parcel,) = spool.parcels()
    files: FileSystem = OsFileSystem()
    files.replace(parcel.folder, parcel.folder.with_name(f".{parcel.id}.gone"))
    assert spool.parcels() == []
    spool.clean()
    assert os.listdir(paths.files) == []
    remove_tree(files, paths.files)


def test_a_run_whose_files_wait_stays_in_the_journal(tmp_path: Path) -> None:
    paths = JournalPaths(tmp_path / "journal")
    (tmp_path / "file").write_bytes(b"content")
    spool = Spool(paths)
    files = OsFileSystem()
    for run_id in ("run", "other"):
        files.make_folder(paths.run(run_id).folder)
        save_checkpoint(files, paths.run(run_id).checkpoint, Checkpoint(complete_ms=1))
    spool.hand_over([(tmp_path / "file", "file")], "run", ROOT, "access", GONE)
    retire(paths, older_than_s=0.0)
    assert os.listdir(paths.runs) == ["run"]
    spool.parcels()[0].remove()
    retire(paths, older_than_s=0.0)
    assert os.listdir(paths.runs) == []
