"""The doctor's checks of a journal itself: what is refused, stale or damaged in it, its folder and its disk."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from journal_place import FILES, RUN, URI, Place, end, hand_over
from relaying import assert_found, result_of

from holdfast.delivery.aside import add_asides, aside
from holdfast.doctor.check import Status
from holdfast.doctor.journal import disk, folder
from holdfast.errors import JournalFullError
from holdfast.journal.household import ProcessJournal

OK, WARNING, FAILED, SKIPPED = Status.OK, Status.WARNING, Status.FAILED, Status.SKIPPED


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# -- what is refused, stale or damaged ------------------------------------------------------


def test_what_the_server_refused(place: Place) -> None:
    end(place.begin())
    place.deliver(complete_ms=1)
    add_asides(FILES, place.paths.run(RUN).aside, [aside("param", ["lr", "0.2"], "it has another value")])
    result = place.result("journal.aside")
    assert_found(result, FAILED, "1 things of 1 runs were refused", f"holdfast journal status {RUN}")
    assert 'param ["lr", "0.2"]: it has another value' in result.finding.found


def test_a_stale_lease_with_a_run_that_was_not_ended(place: Place) -> None:
    journal = place.begin()
    place.deliver()
    assert_found(place.result("journal.locks"), OK, "1 processes write here", "")
    end(journal)
    result = place.result("journal.locks")
    assert_found(result, WARNING, "were not ended, and their process is gone", "ends them as FAILED")
    assert result.finding.details["runs"] == [RUN]


def test_a_lease_of_another_machine(place: Place) -> None:
    end(place.begin())
    place.deliver()
    (lease,) = place.paths.processes.iterdir()
    lease.write_text(json.dumps({"pid": 1, "host": "plane", "boot": "another"}))
    result = place.result("journal.locks")
    assert_found(result, WARNING, "left open by a process of another machine", "holdfast sync --end-open")


def test_damaged_files(place: Place) -> None:
    journal = place.begin()
    hand_over(journal, place.folder)
    place.deliver(complete_ms=1)
    assert_found(place.result("journal.damage"), OK, "can be read", "")
    place.paths.about.write_text("{")
    assert_found(place.result("journal.damage"), WARNING, "journal.json, which says what", "rm '")
    (parcel,) = journal.spool.parcels()
    (parcel.folder / "entry.json").write_bytes(b"\0" * 20)
    assert_found(place.result("journal.damage"), FAILED, f"parcel {parcel.id}: its entry.json cannot be read", "dmesg")


def test_damaged_records(place: Place) -> None:
    end(place.begin())
    add_asides(FILES, place.paths.run(RUN).aside, [aside("damage", {"at": 8}, "20 bytes at 8 are no record")])
    assert_found(place.result("journal.damage"), FAILED, "20 bytes at 8 are no record", "holdfast journal export")


def damage(place: Place, position: int) -> Path:
    """Change a byte of the run's segment, as a disk does."""
    (segment,) = place.paths.run(RUN).folder.glob("*.seg*")
    content = bytearray(segment.read_bytes())
    content[position] ^= 0xFF
    segment.write_bytes(content)
    return segment


def test_a_damaged_segment(place: Place) -> None:
    journal = place.begin()
    for step in range(100):
        journal.writer(RUN).metrics({"loss": 0.5}, step)
    result = place.result("journal.damage")
    assert_found(result, OK, "every file can be read, ", "")
    assert result.finding.details["read_bytes"] == result.finding.details["size_bytes"] > 3000
    segment = damage(place, 2000)
    found = place.result("journal.damage")
    assert_found(found, FAILED, f"run {RUN}: bytes ", "`holdfast sync` delivers every other record and sets these")
    assert f"of {segment}: bytes were changed on the disk; 1 records" in found.finding.found
    place.deliver()
    assert_found(place.result("journal.damage"), WARNING, "delivered before", f"holdfast verify {RUN}")


def test_what_was_being_written_when_its_process_was_killed_is_no_damage(place: Place) -> None:
    end(place.begin())
    damage(place, -1)
    assert_found(place.result("journal.damage"), OK, "every file can be read", "")


def test_a_journal_that_is_too_large_to_be_read_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.begin()
    place.begin("1" * 32)
    monkeypatch.setattr(folder, "_READING_S", 0.0)
    result = place.result("journal.damage")
    assert_found(result, OK, "what was read in 0 s can be: the newest ", "")
    assert 0 < result.finding.details["read_bytes"] < result.finding.details["size_bytes"]


def test_a_journal_of_a_later_release(place: Place) -> None:
    place.begin()
    place.deliver()
    checkpoint = place.paths.run(RUN).checkpoint
    found = json.loads(checkpoint.read_bytes())
    from holdfast.journal.checkpoint import _sum

    changed = {name: value for name, value in found.items() if name != "sum"} | {"format": 99}
    checkpoint.write_text(json.dumps({**changed, "sum": _sum(changed)}))
    assert_found(place.result("journal.pending"), FAILED, "later release of Holdfast", "pip install -U holdfast")


def test_data_that_waits_for_another_store(place: Place) -> None:
    other = Place(place.folder, "http://127.0.0.1:10")
    end(other.begin())
    result = place.result("journal.others")
    assert_found(result, WARNING, "1 runs for http://127.0.0.1:10", f"holdfast sync '{other.root}' --to {other.uri}")
    assert place.result("journal.others", HOLDFAST_DELIVERY="direct").finding.status is WARNING
    other.deliver(complete_ms=1)
    assert_found(place.result("journal.others"), OK, "nothing waits in them", "")


# -- its folder, its disk -------------------------------------------------------------------


def test_a_folder_that_cannot_be_written() -> None:
    settings = {"MLFLOW_TRACKING_URI": URI, "HOLDFAST_DELIVERY": "journal", "HOLDFAST_JOURNAL": "/proc/journal"}
    result = result_of("journal.folder", settings)
    assert_found(result, FAILED, "the journal's folder /proc/journal cannot be written", "set HOLDFAST_JOURNAL")


def test_a_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = Place(tmp_path / "file" / "below")
    assert_found(place.result("journal.folder"), FAILED, "it is a file", "set HOLDFAST_JOURNAL")


@pytest.mark.parametrize(
    ("kind", "status"), [("nfs4", WARNING), ("cifs", WARNING), ("fuse.sshfs", WARNING), ("xfs", OK)]
)
def test_file_systems(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, status: Status) -> None:
    # No such mount can be made here: what the kernel would list is given instead.
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/home {tmp_path} {kind} rw 0 0\ntmpfs /dev tmpfs rw 0 0\n")
    monkeypatch.setattr(disk, "_MOUNTS", mounts)
    result = place.result("journal.folder")
    assert (result.finding.status, result.finding.details["file_system"]) == (status, kind)
    assert ("local disk" in result.finding.remedy) is (status is WARNING)


def test_the_mounts_of_this_machine() -> None:
    assert disk.file_system_of(Path("/proc/self")) == "proc"
    assert disk.file_system_of(Path("/proc")) == "proc"


GIB = 1 << 30
DISKS: dict[str, tuple[int, int, str, Status, str]] = {
    "plenty": (50 * GIB, 100 * GIB, "10GiB", OK, "50.0 GiB of its disk are free"),
    "little": (GIB // 2, 100 * GIB, "10GiB", WARNING, "512.0 MiB of its disk are free: that is little"),
    "less than the journal may take": (3 * GIB, 100 * GIB, "10GiB", WARNING, "that is little for an outage"),
    "a large disk that is nearly full": (40 * GIB, 1000 * GIB, "10GiB", OK, "40.0 GiB of its disk are free"),
    "full": (4096, 100 * GIB, "10GiB", FAILED, "the disk is full, and calls that log fail"),
}


@pytest.mark.parametrize("case", DISKS)
def test_the_room_on_the_disk(place: Place, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    free, size, limit, status, found = DISKS[case]
    real = os.statvfs

    def statvfs(path: Any) -> os.statvfs_result:
        """What the kernel would say of a disk that is so full; none can be filled here."""
        told = list(real(path))
        told[0] = told[1] = 4096
        told[2], told[3], told[4] = size // 4096, free // 4096, free // 4096
        return os.statvfs_result(told)

    monkeypatch.setattr(os, "statvfs", statvfs)
    result = place.result("journal.disk", HOLDFAST_JOURNAL_LIMIT=limit)
    assert_found(result, status, found, "" if status is OK else "make room (`df -h '")


def log_for_ever(journal: ProcessJournal, metrics: dict[str, float]) -> None:
    for step in itertools.count():
        journal.writer(RUN).metrics(metrics, step)


def test_a_journal_that_has_reached_its_bound(place: Place) -> None:
    limit_bytes = 1 << 20
    journal = place.begin(limit_bytes=limit_bytes)
    metrics = {f"a-metric-with-a-long-name-{number}": 0.5 for number in range(50)}
    with pytest.raises(JournalFullError):
        log_for_ever(journal, metrics)
    result = place.result("journal.disk", HOLDFAST_JOURNAL_LIMIT=str(limit_bytes))
    assert_found(
        result, FAILED, "it is full, and calls that log fail or wait", "set HOLDFAST_JOURNAL_LIMIT above 1048576"
    )
    result = place.result("journal.disk", HOLDFAST_JOURNAL_LIMIT=str(limit_bytes * 6 // 5))
    assert_found(result, WARNING, "it will soon be full", "holdfast sync")
    place.deliver(complete_ms=1)
    assert place.result("journal.disk", HOLDFAST_JOURNAL_LIMIT=str(limit_bytes)).finding.status is OK
