"""Real processes that fork, are killed and are interrupted while they log."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest
from journal_world import IS_LONG
from process_checks import (
    RUN_ID,
    SMALL,
    check_forks,
    check_signal_handlers,
    check_sudden_ends,
    check_threads,
    ended_well,
    in_child,
    log,
    steps,
    wait_until,
)

from holdfast.journal.household import ProcessJournal
from holdfast.journal.lease import Life, life_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")


@pytest.fixture
def journal(tmp_path: Path) -> ProcessJournal:
    return ProcessJournal(tmp_path / "journal", SMALL)


def test_a_child_has_segments_and_a_lease_of_its_own() -> None:
    check_forks()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks beside threads
def test_a_child_of_multiprocessing_too(journal: ProcessJournal) -> None:
    log(journal, "parent", range(10))
    process = multiprocessing.get_context("fork").Process(target=log, args=(journal, "child", range(10)))
    process.start()
    log(journal, "parent", range(10, 20))
    process.join()
    assert process.exitcode == 0
    assert steps(journal.paths.root, "child") == [*range(10)]
    assert steps(journal.paths.root, "parent") == [*range(20)]


def test_a_child_that_does_not_log_leaves_no_trace(journal: ProcessJournal) -> None:
    log(journal, "parent", range(10))
    assert ended_well(in_child(lambda: None))
    assert len(list(journal.paths.processes.iterdir())) == 1


def test_a_child_does_not_keep_its_parents_lease(journal: ProcessJournal) -> None:
    """The parent dies; its child, which has the lease's descriptor too, lives on."""
    read_end, write_end = os.pipe()
    hold_read, hold_write = os.pipe()

    def parent() -> None:
        log(journal, "parent", range(3))
        name = journal.process.encode()

        def child() -> None:
            os.close(hold_write)
            os.read(hold_read, 1)  # until the test is over

        in_child(child)
        os.write(write_end, name)
        signal.pause()

    pid = in_child(parent)
    name = os.read(read_end, 1000).decode()
    assert life_of(journal.paths, name) is Life.ALIVE
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    try:
        wait_until(lambda: life_of(journal.paths, name) is Life.GONE)
    finally:
        os.close(hold_write)


def test_looking_at_leases_gives_none_away(journal: ProcessJournal) -> None:
    """Two journals of the same folder in one process, which is one process to the kernel's locks."""
    other = ProcessJournal(journal.paths.root, SMALL)
    log(journal, "one", range(1))
    log(other, "other", range(1))
    for process in (journal.process, other.process):
        assert life_of(journal.paths, process) is Life.ALIVE
        assert life_of(journal.paths, process, own=journal.process) is Life.ALIVE
    names = [journal.process, other.process]

    def look() -> None:
        assert [life_of(journal.paths, name) for name in names] == [Life.ALIVE, Life.ALIVE]

    assert ended_well(in_child(look)), "a lock was given away"


def test_a_lease_that_cannot_be_written_leaves_nothing_open(
    journal: ProcessJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.errors import JournalError

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    log(ProcessJournal(journal.paths.root), "warm", range(1))
    before = len(os.listdir("/dev/fd"))
    monkeypatch.setattr("holdfast.journal.lease.os.write", full)
    for _ in range(20):
        with pytest.raises(JournalError):
            journal.writer(RUN_ID).metrics({"a": 1.0}, 0)
    monkeypatch.undo()
    assert len(os.listdir("/dev/fd")) <= before
    log(journal, "a", range(1))


def test_threads() -> None:
    check_threads()


def test_signal_handlers_that_log() -> None:
    check_signal_handlers()


def test_an_exit_without_clean_up(journal: ProcessJournal) -> None:
    assert ended_well(in_child(lambda: log(journal, "child", range(500))))  # it ends by os._exit
    assert steps(journal.paths.root, "child") == [*range(500)]
    process = next(journal.paths.processes.iterdir()).name.removesuffix(".lease")
    assert life_of(journal.paths, process) is Life.GONE


@pytest.mark.timeout(600)
def test_sudden_ends() -> None:
    check_sudden_ends(200 if IS_LONG else 20)
