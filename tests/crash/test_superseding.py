"""Parcels that delete and supersede: whatever happens, the store ends up as if each had been sent in its turn."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from journal_world import IS_LONG

import holdfast.delivery.uploads as uploads_module
import holdfast.journal.spool as spool_module
from holdfast.artifacts.access import S3Access
from holdfast.artifacts.store import ArtifactStore
from holdfast.artifacts.transfer import SILENT, Item, Meter, Sent
from holdfast.delivery.file_sync import FileSync
from holdfast.delivery.uploads import Fate, Order, Uploads
from holdfast.errors import ArtifactError
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import JournalPaths
from holdfast.journal.options import JournalOptions
from holdfast.journal.parcel import Parcel
from holdfast.journal.spool import Spool
from holdfast.settings import Credentials

STORE = ArtifactStore(S3Access(Credentials("project", "the test")), "http://127.0.0.1:9")


class Call(NamedTuple):
    """One hand-over: what is stored, with its content, what is deleted, and whether it supersedes."""

    stores: tuple[str, ...]
    removes: tuple[str, ...]
    supersedes: bool
    content: bytes

    def apply(self, state: dict[str, bytes]) -> None:
        """Do to a store what it asks for."""
        state |= dict.fromkeys(self.stores, self.content)
        for path in self.removes:
            state.pop(path, None)


def after(calls: Sequence[Call]) -> dict[str, bytes]:
    state: dict[str, bytes] = {}
    for call in calls:
        call.apply(state)
    return state


class Refusing:
    """A store on this disk that may be away, or let nobody delete."""

    def __init__(self) -> None:
        self.is_away = self.lets_nobody_delete = False

    def upload(self, items: Sequence[Item], meter: Meter = SILENT) -> Sent:
        self._check()
        return STORE.upload(items, meter)

    def delete(self, root_uri: str, path: str = "") -> None:
        self._check()
        if self.lets_nobody_delete:
            raise ArtifactError(f"Cannot delete {path}: AccessDenied", code="AccessDenied")
        STORE.delete(root_uri, path)

    def _check(self) -> None:
        if self.is_away:
            raise ArtifactError("It is away.", retryable=True)


class World:
    """A journal, a store, and a process that hands over."""

    def __init__(self, folder: Path, files: OsFileSystem | None = None) -> None:
        self.folder, self.root = folder, folder / "store"
        self.root.mkdir(parents=True, exist_ok=True)
        self.paths = JournalPaths(folder / "journal")
        self.spool = Spool(self.paths, files, JournalOptions(sync="process"))
        self.store = Refusing()
        self.uploads = Uploads(self.paths, self.store)

    def hand_over(self, call: Call) -> None:
        sources = []
        for number, path in enumerate(call.stores):
            source = self.folder / f"source {number}"
            source.write_bytes(call.content)
            sources.append((source, path))
        self.spool.hand_over(sources, "run", str(self.root), "access", "1-gone", call.removes, call.supersedes)

    def send_one(self) -> None:
        waiting = [parcel for parcel in self.spool.parcels() if not parcel.is_refused]
        for parcel in list(Order().next(waiting))[:1]:
            self.uploads.send(parcel)

    def send_last(self) -> None:
        waiting = [parcel for parcel in self.spool.parcels() if not parcel.is_refused]
        for parcel in list(Order().next(waiting))[-1:]:
            self.uploads.send(parcel)

    def retry(self) -> None:
        for parcel in self.spool.parcels():
            parcel.forgive()

    def finish(self) -> dict[str, bytes]:
        """Retry and send all; return what the store holds."""
        self.store.is_away = self.store.lets_nobody_delete = False
        self.retry()
        self.spool.clean()
        done = FileSync(Spool(self.paths), self.uploads).run(["run"])
        assert not self.spool.parcels(), done
        return self.stored()

    def stored(self) -> dict[str, bytes]:
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in self.root.rglob("*.ckpt")}


def a_call(rng: random.Random, number: int) -> Call:
    names = rng.sample([f"c/{name}.ckpt" for name in ("a", "b", "d", "last")], 4)
    stores = names[: rng.choice([0, 1, 1, 1, 2])]
    removes = names[len(stores) :][: rng.choice([0, 1, 1, 2]) or (not stores)]
    return Call(tuple(stores), tuple(removes), rng.random() < 0.7, b"%d" % number)


def check_a_history(folder: Path, seed: int) -> int:
    """Play a random one; return how many parcels were never sent."""
    rng, world, calls, dropped = random.Random(seed), World(folder), [], 0  # noqa: S311
    for number in range(rng.randint(3, 14)):
        calls.append(a_call(rng, number))
        world.hand_over(calls[-1])
        for _ in range(rng.randint(0, 2)):
            what = rng.choice(["send", "send", "last", "drop", "away", "deny", "retry"])
            if what == "send":
                world.send_one()
            elif what == "last":
                world.send_last()
            elif what == "drop":
                dropped += world.spool.drop_superseded()
            elif what == "away":
                world.store.is_away = not world.store.is_away
            elif what == "deny":
                world.store.lets_nobody_delete = not world.store.lets_nobody_delete
            else:
                world.retry()
    found, expected = world.finish(), after(calls)
    assert found == expected, f"seed {seed}: {calls} gave {found}, not {expected}"
    return dropped


def check_histories(folder: Path, count: int) -> int:
    """Play some; return how many parcels were never sent."""
    return sum(check_a_history(folder / str(seed), seed) for seed in range(count))


def test_any_history_ends_as_if_each_had_been_sent_in_turn(tmp_path: Path) -> None:
    assert check_histories(tmp_path, 60) > 10


# -- bugs planted on purpose ------------------------------------------------------------------


def _inherits_all(earlier: Sequence[Parcel], about: Any, paths: Any) -> list[str]:
    return [path for parcel in earlier for path in parcel.left.removes if path not in paths]


def _inherits_nothing_and_drops(parcels: Sequence[Parcel], *_: Any) -> int:
    found = [parcel for parcel in parcels[:-1] if not parcel.is_refused and not parcel.left.removes]
    for parcel in found:
        parcel.remove()
    return len(found)


def _files_only(parcel: Parcel) -> frozenset[tuple[str, str]]:
    return frozenset(("", file.path) for file in parcel.left.files)


BUGS = {
    "inherits also what is stored again": (spool_module, "inherited", _inherits_all),
    "drops what nobody covers": (spool_module, "drop_superseded", _inherits_nothing_and_drops),
    "removals have no order": (uploads_module, "_places", _files_only),
    "spares nothing": (uploads_module, "spare", lambda *_: None),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_caught(bug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*BUGS[bug])
    with pytest.raises(AssertionError, match="seed"):
        check_histories(tmp_path, 300)


# -- killed anywhere --------------------------------------------------------------------------


class Deadly(OsFileSystem):
    """Kills its process before an operation that changes something."""

    left = 1 << 30

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return _deadly(found) if name in ("open_new", "write", "replace", "unlink", "remove_folder") else found


def _deadly(work: Callable[..., Any]) -> Callable[..., Any]:
    def done(*arguments: Any) -> Any:
        if Deadly.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()
        Deadly.left -= 1
        return work(*arguments)

    return done


CALLS = [
    Call(("c/a.ckpt",), (), True, b"1"),
    Call(("c/b.ckpt",), ("c/a.ckpt",), True, b"2"),
    Call(("c/last.ckpt",), (), True, b"3"),
    Call(("c/d.ckpt",), ("c/b.ckpt",), True, b"4"),
    Call(("c/last.ckpt",), (), True, b"5"),
    Call((), ("c/d.ckpt",), True, b"6"),
    Call(("c/a.ckpt",), (), True, b"7"),
]


def _play_and_die(folder: Path, before: int) -> tuple[int, bool]:
    """Do it in a forked child that is killed; return how many calls had returned, and whether it came to its end."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            Deadly.left = before
            world = World(folder, Deadly())
            for number, call in enumerate(CALLS):
                world.hand_over(call)
                os.write(write, b".")
                world.spool.drop_superseded()
                world.store.lets_nobody_delete = number < 4
                if number in (1, 3, 6):
                    world.send_one()
            os.write(write, b"!")
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(write)
    os.waitpid(child, 0)
    said = os.read(read, 100)
    os.close(read)
    return said.count(b"."), said.endswith(b"!")


def test_killed_anywhere_ends_as_if_each_had_been_sent_in_turn(tmp_path: Path) -> None:
    number, has_ended = 0, False
    while not has_ended:
        folder = tmp_path / str(number)
        returned, has_ended = _play_and_die(folder, number)
        found = World(folder).finish()
        assert found in (after(CALLS[:returned]), after(CALLS[: returned + 1])), f"operation {number}: {found}"
        number += 1 if IS_LONG else 2
    assert number > 40


# -- what supersedes nothing ------------------------------------------------------------------


def _two(tmp_path: Path) -> tuple[World, Parcel, Parcel]:
    world = World(tmp_path)
    for number in range(2):
        world.hand_over(Call(("last.ckpt",), (), True, b"content %d" % number))
    first, second = world.spool.parcels()
    return world, first, second


def test_a_later_parcel_that_is_whole_supersedes(tmp_path: Path) -> None:
    world, first, second = _two(tmp_path)
    assert world.spool.drop_superseded() == 1
    assert not first.is_there
    assert second.is_there


@pytest.mark.parametrize("why", ["broken", "refused", "doubted", "in flight", "refused itself", "another root"])
def test_it_stays(tmp_path: Path, why: str) -> None:
    world, first, second = _two(tmp_path)
    held = first.lock()
    if why == "broken":
        second.data(second.left.files[0]).write_bytes(b"")
    elif why in ("refused", "doubted"):
        second.note_trouble("no", is_refused=why == "refused", doubts=1)
    elif why == "in flight":
        assert held.acquire()
    elif why == "refused itself":
        first.note_trouble("no", is_refused=True)
    else:
        entry = second.folder / "entry.json"
        entry.write_bytes(entry.read_bytes().replace(b'store"', b'other"'))
    assert world.spool.drop_superseded() == 0
    assert Spool(world.paths).drop_superseded() == 0
    assert first.is_there
    held.release()


def test_what_is_not_on_the_disk_yet_supersedes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.spool = Spool(world.paths, options=JournalOptions(sync="interval"))
    for number in range(3):
        world.hand_over(Call(("last.ckpt",), (), True, b"%d" % number))
    assert len(world.spool.parcels()) == 3
    world.spool.sync()
    assert world.spool.drop_superseded() == 2
    assert world.finish() == {"last.ckpt": b"2"}


def test_nothing_is_deleted_for_a_file_that_is_lost(tmp_path: Path) -> None:
    world = World(tmp_path)
    (world.root / "old.ckpt").write_bytes(b"good")
    world.hand_over(Call(("new.ckpt",), ("old.ckpt",), True, b"new"))
    (parcel,) = world.spool.parcels()
    parcel.data(parcel.left.files[0]).write_bytes(b"")
    assert world.uploads.send(parcel).fate is Fate.REFUSED
    assert world.stored() == {"old.ckpt": b"good"}


@pytest.mark.parametrize("path", ["", ".", "a/..", "../other", "/etc"])
def test_no_root_and_nothing_outside_is_ever_deleted(tmp_path: Path, path: str) -> None:
    world = World(tmp_path)
    (world.root / "a.ckpt").write_bytes(b"good")
    world.hand_over(Call((), (path,), False, b""))
    (parcel,) = world.spool.parcels()
    assert world.uploads.send(parcel).fate is Fate.REFUSED
    assert world.stored() == {"a.ckpt": b"good"}


def test_a_large_one_supersedes_once_there_is_a_copy_of_it(tmp_path: Path) -> None:
    world, source = World(tmp_path), tmp_path / "large.ckpt"
    contents = [os.urandom(9 << 20) for _ in range(2)]
    for content in contents:
        source.write_bytes(content)
        world.spool.hand_over([(source, "last.ckpt")], "run", str(world.root), "access", "1-gone", (), True)
    source.write_bytes(b"overwritten")
    first, second = world.spool.parcels()
    deadline_s = time.monotonic() + 60
    while first.is_there and time.monotonic() < deadline_s:
        if world.spool.drop_superseded():
            assert not second.broken()
        time.sleep(0.01)
    assert not first.is_there
    assert world.finish() == {"last.ckpt": contents[1]}
