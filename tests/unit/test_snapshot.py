"""Files that are handed over keep the content they had, whatever happens to the originals, and in no time."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.errors import InvalidInputError, JournalError, JournalFullError
from holdfast.journal import leases as leasing
from holdfast.journal.layout import JournalPaths
from holdfast.journal.leases import Leases
from holdfast.journal.options import JournalOptions
from holdfast.journal.parcel import Parcel
from holdfast.journal.room import Room
from holdfast.journal.snapshot import snapshot
from holdfast.journal.spool import Spool

SMALL, LARGE = 70_000, 24 << 20
PROCESS = "1-1-00000000"
ROOT = "s3://bucket/run"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(JournalPaths(tmp_path / "journal"))


@pytest.fixture
def linking(tmp_path: Path) -> None:
    """For what is only so where files can be linked; the rest of this file is true everywhere."""
    if not leasing._leases_hold(tmp_path):
        pytest.skip("leases do not hold on this file system")


def until(what: Callable[[], object], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline, "not within the limit"
        time.sleep(0.01)


def hand_over(spool: Spool, *sources: Path) -> Parcel:
    parcel_id = spool.hand_over([(source, f"a/{source.name}") for source in sources], "run", ROOT, "access", PROCESS)
    (parcel,) = [parcel for parcel in spool.parcels() if parcel.id == parcel_id]
    return parcel


def hand_over_linked(spool: Spool, *sources: Path) -> tuple[Parcel, leasing._Helper]:
    """Hand over files of which some are linked; return also the helper that copies them, not one of an earlier test."""
    others = leasing._helpers.at_work()
    parcel = hand_over(spool, *sources)
    (helper,) = [helper for helper in leasing._helpers.at_work() if helper not in others]
    return parcel, helper


def content(parcel: Parcel) -> list[bytes]:
    """Return what would be uploaded."""
    until(lambda: parcel.seal("interval"))
    assert parcel.entry is not None
    assert parcel.broken() == []
    until(lambda: not list(parcel.folder.glob("*.link")))
    return [parcel.data(file).read_bytes() for file in parcel.entry.files]


def made(path: Path, size_bytes: int) -> bytes:
    data = os.urandom(size_bytes)
    path.write_bytes(data)
    return data


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other " * 1000)


def write_anew(path: Path) -> None:
    path.write_bytes(b"new")


def truncate(path: Path) -> None:
    os.truncate(path, 10)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def delete(path: Path) -> None:
    path.unlink()


def rename_over(path: Path) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(b"other")
    other.replace(path)


def write_through_a_map(path: Path) -> None:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as page:
        page[:5] = b"other"


ACTIONS = [overwrite, write_anew, truncate, append, delete, rename_over, write_through_a_map]
_ELSEWHERE = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
import test_snapshot
getattr(test_snapshot, {name!r})(Path({path!r}))
"""


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
@pytest.mark.parametrize("size_bytes", [SMALL, LARGE], ids=["small", "large"])
def test_what_becomes_of_the_original_does_not_matter(
    spool: Spool, tmp_path: Path, size_bytes: int, action: Callable[[Path], None]
) -> None:
    source = tmp_path / "model.pt"
    data = made(source, size_bytes)
    parcel = hand_over(spool, source)
    action(source)
    assert content(parcel) == [data]


@pytest.mark.parametrize("action", [overwrite, write_anew], ids=lambda action: action.__name__)
def test_nor_when_another_process_does_it(spool: Spool, tmp_path: Path, action: Callable[[Path], None]) -> None:
    source = tmp_path / "model.pt"
    data = made(source, LARGE)
    code = _ELSEWHERE.format(folder=str(Path(__file__).parent), name=action.__name__, path=str(source))
    parcel = hand_over(spool, source)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert content(parcel) == [data]
    assert source.read_bytes() != data


def test_a_large_file_is_linked_and_writers_wait_for_its_copy(spool: Spool, tmp_path: Path, linking: None) -> None:
    source = tmp_path / "model.pt"
    data = made(source, LARGE)
    parcel, helper = hand_over_linked(spool, source)
    helper.process.send_signal(signal.SIGSTOP)
    assert (parcel.folder / "0.link").samefile(source)
    with pytest.raises(BlockingIOError):
        os.open(source, os.O_WRONLY | os.O_NONBLOCK)
    assert not parcel.seal("interval"), "whoever makes the copy is still there"
    writer = subprocess.Popen([sys.executable, "-c", f"open({str(source)!r}, 'r+b').write(b'x' * 100)"])
    with pytest.raises(subprocess.TimeoutExpired):
        writer.wait(0.5)
    helper.process.send_signal(signal.SIGCONT)
    assert writer.wait(30) == 0
    assert content(parcel) == [data]
    assert source.read_bytes()[:100] == b"x" * 100


def test_without_the_lease_the_copy_would_be_wrong(
    spool: Spool, tmp_path: Path, linking: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test of the tests: they see a lease that is not taken."""
    monkeypatch.setattr(leasing, "_set_lease", lambda fd: None)
    source = tmp_path / "model.pt"
    data = made(source, LARGE)
    parcel = hand_over(spool, source)
    overwrite(source)
    assert content(parcel) != [data]


def test_a_writer_that_keeps_pythons_lock_waits_no_longer_than_the_copy(spool: Spool, tmp_path: Path) -> None:
    """As `torch.save` does: a thread of this process could never make the copy meanwhile."""
    source = tmp_path / "model.pt"
    data = made(source, LARGE)
    parcel = hand_over(spool, source)
    before_s = time.monotonic()
    fd = ctypes.PyDLL(None).open(os.fsencode(source), os.O_WRONLY | os.O_TRUNC)  # PyDLL keeps the lock
    assert time.monotonic() - before_s < 20
    os.close(fd)
    assert content(parcel) == [data]


def test_a_forked_child_keeps_no_lease(tmp_path: Path, linking: None) -> None:
    source = tmp_path / "model.pt"
    made(source, LARGE)
    leases = Leases("interval")
    assert snapshot(source, tmp_path / "0", leases).is_linked
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"1")
        os.close(write)
        signal.pause()
        os._exit(0)
    try:
        assert os.read(read, 1) == b"1"
        leases.forget()  # closes, as the end of this process would; the child's copies are closed already
        os.close(os.open(source, os.O_WRONLY | os.O_NONBLOCK))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


def test_a_process_that_is_killed_while_it_copies_loses_nothing(spool: Spool, tmp_path: Path, linking: None) -> None:
    source = tmp_path / "model.pt"
    data = made(source, LARGE)
    parcel, helper = hand_over_linked(spool, source)
    helper.process.kill()
    helper.process.wait()
    assert [path.name for path in parcel.folder.glob("0*")] == ["0.link"]
    assert content(parcel) == [data]


@pytest.mark.parametrize("action", [overwrite, append, truncate], ids=lambda action: action.__name__)
def test_what_was_overwritten_after_that_is_said_to_be_lost(
    spool: Spool, tmp_path: Path, linking: None, action: Callable[[Path], None]
) -> None:
    source, other = tmp_path / "model.pt", tmp_path / "notes.txt"
    made(source, LARGE)
    made(other, SMALL)
    parcel, helper = hand_over_linked(spool, source, other)
    helper.process.kill()
    helper.process.wait()
    action(source)
    assert parcel.seal("interval")
    assert [file.path for file in parcel.broken()] == ["a/model.pt"]


def test_a_file_that_is_open_for_writing_is_copied_as_it_is(spool: Spool, tmp_path: Path) -> None:
    source = tmp_path / "events"
    with source.open("wb") as file:
        data = os.urandom(LARGE)
        file.write(data)
        file.flush()
        parcel = hand_over(spool, source)
        assert not (parcel.folder / "0.link").exists()
        file.write(b"more")
    assert content(parcel) == [data]


def test_a_read_only_file_a_link_and_an_empty_one(spool: Spool, tmp_path: Path) -> None:
    source, link, empty = tmp_path / "model.pt", tmp_path / "latest.pt", tmp_path / "empty"
    data = made(source, LARGE)
    source.chmod(0o400)
    link.symlink_to(source)
    empty.touch()
    assert content(hand_over(spool, link, source, empty)) == [data, data, b""]


def test_one_on_another_file_system(spool: Spool, tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system")
    source = memory / f"holdfast-{os.getpid()}"
    try:
        data = made(source, LARGE)
        parcel = hand_over(spool, source)
        overwrite(source)
        assert content(parcel) == [data]
    finally:
        source.unlink()


def test_what_is_no_file_is_refused_by_name(spool: Spool, tmp_path: Path) -> None:
    good = tmp_path / "good"
    made(good, SMALL)
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        wrong = {"pipe": "is a pipe", "s": "is a socket", "none": "No such file", "/dev/null": "is a device"}
        for name, said in wrong.items():
            with pytest.raises(InvalidInputError, match=said) as caught:
                hand_over(spool, good, tmp_path / name)
            assert name in str(caught.value)
        with pytest.raises(InvalidInputError, match="is a folder"):
            hand_over(spool, good, tmp_path)
    assert not list(spool.paths.files.glob("*"))
    assert not list(spool.paths.files.glob(".*"))


def test_where_no_process_may_be_started(spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "model.pt"
    data = made(source, LARGE)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python"))
    parcel = hand_over(spool, source)
    overwrite(source)
    assert content(parcel) == [data]


def test_a_full_journal_takes_nothing(tmp_path: Path) -> None:
    paths = JournalPaths(tmp_path / "journal")
    options = JournalOptions(limit_bytes=LARGE)
    spool = Spool(paths, options=options, grant=Room(paths, options).grant)
    source = tmp_path / "model.pt"
    made(source, LARGE // 2)
    hand_over(spool, source)
    with pytest.raises(JournalFullError):
        hand_over(spool, source)
    assert len(spool.parcels()) == 1


@pytest.mark.parametrize("limit_bytes", [LARGE // 2, LARGE + 600])
def test_what_can_never_fit_is_not_waited_for(tmp_path: Path, limit_bytes: int) -> None:
    paths = JournalPaths(tmp_path / "journal")
    options = JournalOptions(limit_bytes=limit_bytes, when_full="block")
    spool = Spool(paths, options=options, grant=Room(paths, options).grant)
    paths.root.mkdir()
    # It stays in the journal, whatever is delivered.
    (paths.root / "journal.json").write_bytes(b"x" * 500)
    source = tmp_path / "model.pt"
    made(source, LARGE)
    started_s = time.monotonic()
    with pytest.raises(JournalFullError) as refusal:
        hand_over(spool, source)
    assert time.monotonic() - started_s < 10
    assert f"{LARGE + 1024:,} bytes" in refusal.value.message
    assert f"{limit_bytes:,} bytes" in refusal.value.message
    assert "HOLDFAST_JOURNAL_LIMIT" in refusal.value.hint
    assert "wait=True" in refusal.value.hint
    assert not refusal.value.retryable
    assert not spool.parcels()


def test_a_folder_that_cannot_be_written_is_one_clear_error(spool: Spool, tmp_path: Path) -> None:
    made(tmp_path / "model.pt", SMALL)
    spool.paths.root.write_text("no folder")
    with pytest.raises(JournalError, match="None of them was taken"):
        hand_over(spool, tmp_path / "model.pt")


def test_how_long_a_gibibyte_takes(spool: Spool, tmp_path: Path, linking: None) -> None:
    source = tmp_path / "checkpoint.pt"
    with source.open("wb") as file:
        for _ in range(16):
            file.write(os.urandom(64 << 20))
    before_s = time.perf_counter()
    parcel = hand_over(spool, source)
    handed_s = time.perf_counter() - before_s
    os.truncate(source, 1)
    waited_s = time.perf_counter() - before_s - handed_s
    print(f"handed over in {handed_s * 1000:.1f} ms; a writer waited {waited_s:.2f} s")  # noqa: T201
    until(lambda: parcel.seal("interval"))
    assert parcel.broken() == []
    assert parcel.size_bytes == 1 << 30
