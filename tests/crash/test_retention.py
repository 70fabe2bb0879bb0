"""The journal's bound, and what is deleted to keep it: only what is delivered, and nothing of it too early."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from process_checks import RUN_ID, ended_well, in_child, log, steps

from holdfast.errors import JournalFullError
from holdfast.journal import retention
from holdfast.journal.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.household import ProcessJournal
from holdfast.journal.layout import JournalPaths, RunPaths, parse_segment_name
from holdfast.journal.lease import Life, life_of
from holdfast.journal.locks import FileLock
from holdfast.journal.options import JournalOptions
from holdfast.journal.retention import retire, retire_leases
from holdfast.journal.room import size_of

FILES = OsFileSystem()
LIMIT = 100_000


def open_journal(tmp_path: Path, **options: object) -> ProcessJournal:
    return ProcessJournal(
        tmp_path / "journal",
        JournalOptions(limit_bytes=LIMIT, segment_bytes=10_000, **options),  # type: ignore[arg-type]
    )


def segments(run: RunPaths) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in run.folder.iterdir() if parse_segment_name(path.name)}


def note_delivered(run: RunPaths, is_complete: bool = False, age_s: float = 0.0) -> Checkpoint:
    """Write the checkpoint that a deliverer would write."""
    complete_ms = int((time.time() - age_s) * 1000) if is_complete else None
    checkpoint = Checkpoint(segments=segments(run), complete_ms=complete_ms)
    save_checkpoint(FILES, run.checkpoint, checkpoint)
    return checkpoint


def fill(journal: ProcessJournal, run_id: str = RUN_ID) -> int:
    """Log until the journal is full; return how many records it took."""
    writer = journal.writer(run_id)
    for number in range(1_000_000):
        try:
            writer.metrics({"a": float(number)}, number)
        except JournalFullError:
            return number
    raise AssertionError("the journal has no bound")


def test_a_full_journal_is_an_error_and_keeps_what_it_has(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    count = fill(journal)
    with pytest.raises(JournalFullError, match="bound of 100,000 bytes") as error:
        journal.writer(RUN_ID).metrics({"a": 1.0}, 0)
    assert error.value.retryable
    assert "HOLDFAST_JOURNAL_LIMIT" in (error.value.hint or "")
    assert 0.8 * LIMIT < size_of(journal.paths.root) <= 1.02 * LIMIT
    assert steps(journal.paths.root, "a") == [*range(count)]


def test_two_processes_overshoot_by_little(tmp_path: Path) -> None:
    journal, other = open_journal(tmp_path), open_journal(tmp_path)
    for number in range(3000):
        for one in (journal, other):
            try:
                one.writer(RUN_ID).metrics({"a": 1.0}, number)
            except JournalFullError:
                continue
    assert 0.8 * LIMIT < size_of(journal.paths.root) <= 1.1 * LIMIT


def test_delivered_segments_make_room_in_a_run_that_goes_on(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    count = fill(journal)
    run = journal.paths.run(RUN_ID)
    there = sorted(segments(run))
    last, offset = there[-1], segments(run)[there[-1]]
    delivered = note_delivered(run).segments
    journal.writer(RUN_ID).metrics({"a": float(count)}, count)
    assert last in segments(run)
    assert segments(run)[last] >= offset
    checkpoint = load_checkpoint(FILES, run.checkpoint)
    assert set(checkpoint.gone) == set(delivered) - set(segments(run))
    assert checkpoint.gone


def test_what_is_not_delivered_stays(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    fill(journal)
    run = journal.paths.run(RUN_ID)
    there = segments(run)
    ends = {name: size - 1 for name, size in there.items()}  # all but the last record of each
    save_checkpoint(FILES, run.checkpoint, Checkpoint(segments=ends))
    assert retire(journal.paths, needed_bytes=LIMIT) == 0
    assert retire(journal.paths, older_than_s=0.0) == 0
    assert segments(run) == there


def test_blocking_waits_for_the_delivery(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    count = fill(journal)
    waiting = open_journal(tmp_path, when_full="block")
    thread = threading.Thread(target=log, args=(waiting, "later", range(10)))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    note_delivered(journal.paths.run(RUN_ID))
    thread.join(10)
    assert not thread.is_alive()
    assert steps(journal.paths.root, "later") == [*range(10)]
    assert count > 0


def test_complete_runs_go_first_and_the_oldest_of_them(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for age, run_id in enumerate(("new", "old")):
        log_to(journal, run_id, 100)
        run = journal.paths.run(run_id)
        note_delivered(run, is_complete=True)
        os.utime(run.folder, (1000 - age, 1000 - age))
    assert retire(journal.paths, needed_bytes=1) > 0
    assert journal.paths.run("new").folder.exists()
    assert not journal.paths.run("old").folder.exists()


def log_to(journal: ProcessJournal, run_id: str, count: int) -> None:
    writer = journal.writer(run_id)
    for number in range(count):
        writer.metrics({"a": float(number)}, number)


def test_a_complete_run_is_kept_for_a_time(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    log_to(journal, RUN_ID, 100)
    run = journal.paths.run(RUN_ID)
    note_delivered(run, is_complete=True, age_s=100)
    assert retire(journal.paths, older_than_s=200) == 0
    assert retire(journal.paths, older_than_s=50) > 0
    assert not run.folder.exists()
    assert [*journal.paths.runs.iterdir()] == []


@pytest.mark.parametrize("how", [{"needed_bytes": LIMIT}, {"older_than_s": 0.0}])
def test_a_run_with_something_set_aside_stays(tmp_path: Path, how: dict[str, float]) -> None:
    journal = open_journal(tmp_path)
    log_to(journal, RUN_ID, 100)
    run = journal.paths.run(RUN_ID)
    note_delivered(run, is_complete=True, age_s=100)
    run.aside.write_text('{"what": "param"}\n')
    retire(journal.paths, **how)  # type: ignore[arg-type]
    assert run.aside.read_text() == '{"what": "param"}\n'
    assert segments(run)


def test_a_run_that_somebody_delivers_stays(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    log_to(journal, RUN_ID, 100)
    run = journal.paths.run(RUN_ID)
    note_delivered(run, is_complete=True, age_s=100)
    with FileLock(run.lock) as lock:
        assert lock.acquire()
        assert retire(journal.paths, older_than_s=0.0) == 0
    assert retire(journal.paths, older_than_s=0.0) > 0


def test_an_unreadable_checkpoint_deletes_nothing(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    log_to(journal, RUN_ID, 100)
    run = journal.paths.run(RUN_ID)
    note_delivered(run, is_complete=True, age_s=100)
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:-10])
    assert retire(journal.paths, older_than_s=0.0) == 0
    assert retire(journal.paths, needed_bytes=LIMIT) == 0
    assert segments(run)


@pytest.mark.parametrize("content", [b"", b"HOLDFAST"])
def test_a_process_that_goes_on_with_a_run_as_it_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """It has made its segment, and perhaps not written its header yet."""
    journal = open_journal(tmp_path)
    log_to(journal, RUN_ID, 100)
    run = journal.paths.run(RUN_ID)
    run.about.write_text("{}")
    checkpoint = note_delivered(run, is_complete=True, age_s=100)
    name = "77-1-00000001a.000000.1.seg"
    replace = os.replace

    def come_between(source: Path, target: Path) -> None:
        if not (run.folder / name).exists() and Path(source) == run.folder:
            (run.folder / name).write_bytes(content)
        replace(source, target)

    monkeypatch.setattr(retention.os, "replace", come_between)
    retire(journal.paths, older_than_s=0.0)
    assert (run.folder / name).read_bytes() == content
    assert run.about.exists()
    assert load_checkpoint(FILES, run.checkpoint) == checkpoint


def test_a_killed_deletion_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the run was renamed, as a process went on with it: the next one puts it back."""
    journal = open_journal(tmp_path)
    log_to(journal, RUN_ID, 100)
    run = journal.paths.run(RUN_ID)
    note_delivered(run, is_complete=True, age_s=100)
    replace = os.replace

    def die(source: Path, target: Path) -> None:
        if Path(source) == run.folder:
            log_to(journal, RUN_ID, 1)
            replace(source, target)
            os._exit(0)
        replace(source, target)

    def delete() -> None:
        monkeypatch.setattr(retention.os, "replace", die)
        retire(JournalPaths(journal.paths.root), older_than_s=0.0)

    count = len(segments(run))
    assert ended_well(in_child(delete))
    retire(journal.paths, older_than_s=0.0)
    assert run.folder.exists()
    assert len(segments(run)) == count + 1  # the child's


def test_a_lock_whose_file_is_gone_keeps_nobody_out(tmp_path: Path) -> None:
    """A run is deleted under its lock, while somebody waits for that; it is begun again, and locked by a third."""
    folder = tmp_path / "run"
    folder.mkdir()
    first, second, third = (FileLock(folder / "lock") for _ in range(3))
    assert first.acquire()
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(second.acquire(timeout_s=1.0)))
    thread.start()
    time.sleep(0.05)  # so that it waits
    folder.rename(tmp_path / ".run.gone")
    folder.mkdir()
    assert third.acquire()
    first.release()
    thread.join()
    assert got == [False]


def test_leases_of_the_living_and_of_those_whose_segments_are_there_stay(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    log_to(journal, RUN_ID, 1)
    assert ended_well(in_child(lambda: log_to(journal, RUN_ID, 1)))
    assert ended_well(in_child(lambda: log_to(journal, "other", 1)))
    paths = journal.paths
    assert len(FILES.list(paths.processes)) == 3
    own = journal.process
    retire_leases(paths)
    assert len(FILES.list(paths.processes)) == 3
    note_delivered(paths.run("other"), is_complete=True)
    retire(paths, older_than_s=0.0)
    retire_leases(paths)
    assert len(FILES.list(paths.processes)) == 2
    assert life_of(paths, own, own) is Life.ALIVE


def test_the_lease_of_a_short_life_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process begins, logs and ends while the leases are looked through."""
    journal = open_journal(tmp_path)
    log_to(journal, RUN_ID, 1)
    paths = journal.paths
    started, finish = os.pipe(), os.pipe()

    def short_life() -> None:
        _ = journal.process
        os.write(started[1], b"x")
        os.read(finish[0], 1)
        log_to(journal, RUN_ID, 1)

    pid = in_child(short_life)
    os.read(started[0], 1)

    def names_then_death(self: OsFileSystem, path: Path, list_: object = OsFileSystem.list) -> list[str]:
        names = list_(self, path)  # type: ignore[operator]
        if path == paths.run(RUN_ID).folder:
            os.write(finish[1], b"x")
            assert ended_well(pid)
        return names  # type: ignore[no-any-return]

    monkeypatch.setattr(OsFileSystem, "list", names_then_death)
    retire_leases(paths)
    monkeypatch.undo()
    named = {parsed.process for name in FILES.list(paths.run(RUN_ID).folder) if (parsed := parse_segment_name(name))}
    assert len(named) == 2
    assert all(life_of(paths, process) is not Life.ELSEWHERE for process in named)
