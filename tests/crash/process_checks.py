"""Checks of a journal on the real disk, with real processes, threads and signals."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from holdfast.journal.codec import Kind
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.household import ProcessJournal
from holdfast.journal.layout import JournalPaths, parse_segment_name
from holdfast.journal.options import JournalOptions
from holdfast.journal.reader import Damage, Metrics, SegmentReader

RUN_ID = "run-1"
SMALL = JournalOptions(segment_bytes=20_000, sync_interval_s=0.02)


def in_child(work: Callable[[], object]) -> int:
    """Fork, do something in the child and end it there; return its process id."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def ended_well(pid: int) -> bool:
    """Wait for a child; return whether it ended by itself, without an error."""
    return os.waitpid(pid, 0)[1] == 0


def killed(action: Callable[[], object]) -> bool:
    """Do something in a child that may kill itself; return whether it did."""
    status = os.waitstatus_to_exitcode(os.waitpid(in_child(action), 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def wait_until(is_true: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Poll."""
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def steps_by_writer(root: Path) -> dict[str, dict[str, list[int]]]:
    """Return writer → name of the metric → steps in the order they are read; damage in the middle is an error."""
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    folder = JournalPaths(root).run(RUN_ID).folder
    names = [name for path in folder.iterdir() if (name := parse_segment_name(path.name))]
    for name in sorted(names, key=lambda name: (name.writer, name.number)):
        reader = SegmentReader(OsFileSystem(), folder / name.name, name.base_ms)
        while items := reader.read(is_closed=True):
            for item in items:
                assert not isinstance(item, Damage) or item.is_tail, f"damage in {name.name}: {item}"
                if isinstance(item, Metrics):
                    assert item.values == (float(item.step),) * len(item.names)
                    found[name.writer][item.names[0]].append(item.step)
    return found


def steps(root: Path, key: str) -> list[int]:
    """Return every step of a metric, writer by writer."""
    return [step for by_key in steps_by_writer(root).values() for step in by_key.get(key, [])]


def log(journal: ProcessJournal, key: str, numbers: range) -> None:
    """Log a metric for each number."""
    writer = journal.writer(RUN_ID)
    for number in numbers:
        writer.metrics({key: float(number)}, number)


@contextlib.contextmanager
def a_journal(options: JournalOptions = SMALL) -> Iterator[tuple[Path, ProcessJournal]]:
    """A journal in a folder of its own."""
    with TemporaryDirectory() as folder:
        journal = ProcessJournal(Path(folder) / "journal", options)
        try:
            yield journal.paths.root, journal
        finally:
            journal._stop.set()


def check_forks() -> None:
    """A child that logs has segments and a lease of its own; its parent's are as the parent left them."""
    with a_journal() as (root, journal):
        log(journal, "parent", range(100))
        children = [in_child(lambda: log(journal, "child", range(1000, 1300))) for _ in range(2)]
        log(journal, "parent", range(100, 400))
        assert all(ended_well(pid) for pid in children)
        found = steps_by_writer(root)
        assert len(found) == 3, f"writers: {list(found)}"
        assert found[f"{journal.process}a"] == {"parent": [*range(400)]}
        assert steps(root, "child") == [*range(1000, 1300)] * 2
        assert len(list(JournalPaths(root).processes.iterdir())) == 3


def check_threads() -> None:
    """Eight threads log at once: all is there, in each thread's order."""
    with a_journal() as (root, journal):
        threads = [threading.Thread(target=log, args=(journal, f"thread {number}", range(500))) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number in range(8):
            assert steps(root, f"thread {number}") == [*range(500)]


def check_signal_handlers(seconds: float = 1.0) -> None:
    """A handler logs at a high rate while the main thread does: all is there, in the order of each."""
    with a_journal() as (root, journal):
        counts = {"main": 0, "handler": 0, "other": 0}
        inside: set[str] = set()

        def log_next(key: str) -> None:
            if key not in inside:  # a handler is interrupted by its own signal where the machine is slow
                inside.add(key)
                log(journal, key, range(counts[key], counts[key] + 1))
                counts[key] += 1
                inside.discard(key)

        def handler(*_: object) -> None:
            log_next("handler")

        def other_handler(*_: object) -> None:
            log_next("other")

        before = signal.signal(signal.SIGALRM, handler), signal.signal(signal.SIGVTALRM, other_handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.003, 0.003)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                log_next("main")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGALRM, before[0])
            signal.signal(signal.SIGVTALRM, before[1])
        for key, count in counts.items():
            assert sorted(steps(root, key)) == [*range(count)]
        assert counts["handler"] > 1
        for by_key in steps_by_writer(root).values():
            assert all(found == sorted(found) for found in by_key.values()), "out of order"


def check_sudden_ends(trials: int, seed: int = 0) -> None:
    """A process is killed at any time: everything that it was told was logged is read."""
    random = Random(seed)  # noqa: S311
    for trial in range(trials):
        with a_journal() as (root, journal), mmap.mmap(-1, mmap.PAGESIZE) as page:

            def work(journal: ProcessJournal = journal, page: mmap.mmap = page) -> None:
                writer = journal.writer(RUN_ID)
                for number in range(1, 1 << 40):
                    writer.metrics({"a": float(number)}, number)
                    page[:8] = number.to_bytes(8, "little")
                    if number % 50 == 0:
                        writer.entry(Kind.ENTITIES, {"p": [["x" * (number % 3000), "y"]]})
                        writer.metrics({"a": float(number), f"b{number}": float(number)}, number)

            pid = in_child(work)
            try:
                wait_until(lambda page=page: page[:8] != bytes(8))  # type: ignore[misc]
                time.sleep(random.random() * 0.03)
            finally:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            acknowledged = int.from_bytes(page[:8], "little")
            read = sorted(set(steps(root, "a")))
            assert read[:acknowledged] == [*range(1, acknowledged + 1)], f"trial {trial}: {acknowledged} acknowledged"
            assert len(read) <= acknowledged + 1
