"""Locks of the journal, while many ask whether somebody holds them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast.journal import locks
from holdfast.journal.layout import JournalPaths
from holdfast.journal.lease import Lease, Life, life_of
from holdfast.journal.locks import FileLock, is_held

_ASK = """
import sys
from pathlib import Path
from holdfast.journal.locks import is_held
print("asking", flush=True)
while not Path(sys.argv[2]).exists():
    if is_held(Path(sys.argv[1])):
        print("held", flush=True)
"""
_LIFE = """
import sys
from pathlib import Path
from holdfast.journal.layout import JournalPaths
from holdfast.journal.lease import life_of
print("asking", flush=True)
while not Path(sys.argv[2]).exists():
    print("" if life_of(JournalPaths(Path(sys.argv[1])), "1-a-b").name == "GONE" else "held", flush=True)
"""


@contextmanager
def asking(script: str, path: Path, end: Path) -> Iterator[Callable[[], list[str]]]:
    """Let processes ask all the time; what is yielded ends them and returns what they said."""
    children = [
        subprocess.Popen([sys.executable, "-c", script, str(path), str(end)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]

    def said() -> list[str]:
        end.touch()
        return [line for child in children for line in child.communicate(timeout=60)[0].split()]

    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "asking\n"
        yield said
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_those_who_ask_do_not_take_each_other_for_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "shipper.lock"
    path.touch()
    found: list[bool] = []

    def ask() -> None:
        found.extend(is_held(path) for _ in range(3000))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    with asking(_ASK, path, tmp_path / "end") as said:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert said() == []
    assert not any(found)


def test_who_wants_a_lock_gets_it_however_many_ask(tmp_path: Path) -> None:
    path = tmp_path / "shipper.lock"
    path.touch()
    with asking(_ASK, path, tmp_path / "end"):
        for _ in range(200):
            with FileLock(path) as lock:
                assert lock.acquire()
                assert is_held(path)
                assert not FileLock(path).acquire()


def test_asking_makes_no_file_and_leaves_none_locked(tmp_path: Path) -> None:
    path = tmp_path / "shipper.lock"
    assert not is_held(path)
    assert not path.exists()
    path.touch()
    before = set(os.listdir("/proc/self/fd"))
    assert not is_held(path)
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_process_that_is_gone_does_not_live_again_because_it_is_asked_for(tmp_path: Path) -> None:
    paths = JournalPaths(tmp_path)
    paths.processes.mkdir(parents=True)
    mine = Lease(paths)
    (paths.processes / "1-a-b.lease").write_bytes(paths.lease(mine.process).read_bytes())
    with asking(_LIFE, tmp_path, tmp_path / "end") as said:
        assert {life_of(paths, "1-a-b") for _ in range(2000)} == {Life.GONE}
        assert said() == []
    mine.close()


def test_a_child_that_is_forked_while_a_lock_is_opened_does_not_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    is_open, is_forked = threading.Event(), threading.Event()
    plain_open = os.open

    def slow_open(*args: Any) -> int:
        fd = plain_open(*args)
        is_open.set()
        is_forked.wait(0.5)
        return fd

    def lock_and_release() -> None:
        with FileLock(path) as lock:
            assert lock.acquire()

    monkeypatch.setattr(locks.os, "open", slow_open)
    other = threading.Thread(target=lock_and_release)
    other.start()
    assert is_open.wait(10)
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        is_forked.set()
        other.join(10)
        monkeypatch.setattr(locks.os, "open", plain_open)
        assert FileLock(path).acquire(5.0), "the child has it"  # it lets go when it comes to run
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
