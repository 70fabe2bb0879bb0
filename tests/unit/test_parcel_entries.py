"""What a parcel says of itself: entries of before, entries that delete, and what is left of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holdfast.cli.app import app
from holdfast.delivery.aside import aside_of
from holdfast.delivery.settling import _task
from holdfast.delivery.target import journal_name
from holdfast.journal.codec import Kind
from holdfast.journal.household import ProcessJournal
from holdfast.journal.layout import JournalPaths
from holdfast.journal.parcel import Entry, Left, Parcel, ParcelFile
from holdfast.journal.spool import Spool

# As releases before wrote it, to the byte.
OLD = (
    b'{"format": 1, "run": "r", "process": "1-gone", "root": "s3://bucket/run", "access": "abc", "handed_ms": 5, '
    b'"files": [{"path": "m/model.pt", "data": "0", "size": 3, "mtime_ns": 7}]}'
)


def test_an_entry_of_before_is_read_and_written_as_it_was() -> None:
    entry = Entry.from_json(OLD)
    assert entry == Entry("r", "1-gone", "s3://bucket/run", "abc", 5, (ParcelFile("m/model.pt", "0", 3, 7),))
    assert (entry.removes, entry.supersedes) == ((), False)
    assert entry.to_json() == OLD


def test_an_entry_that_deletes_adds_keys_only() -> None:
    entry = Entry("r", "p", None, "abc", 5, (ParcelFile("a", "0", 3, 7),), ("b", "c"), True)
    content = json.loads(entry.to_json())
    assert (content["removes"], content["supersedes"]) == (["b", "c"], True)
    assert set(content) - set(json.loads(OLD)) == {"removes", "supersedes"}
    assert content["format"] == 1
    assert Entry.from_json(entry.to_json()) == entry
    assert (entry.place, Entry.from_json(OLD).place) == ("r", "s3://bucket/run")


@pytest.fixture
def parcel(tmp_path: Path) -> Parcel:
    spool = Spool(JournalPaths(tmp_path / "journal"))
    (tmp_path / "a").write_bytes(b"content")
    spool.hand_over([(tmp_path / "a", "c/a")], "run", "s3://b/r", "access", "1-gone", ["c/b", "c/d"])
    return spool.parcels()[0]


def test_what_is_stored_is_not_stored_again(parcel: Parcel) -> None:
    assert parcel.left.paths == {"c/a", "c/b", "c/d"}
    assert parcel.size_bytes == 7
    parcel.note_left(Left((), ("c/d",)))
    again = Parcel(parcel.folder)
    assert again.left == Left((), ("c/d",))
    assert again.size_bytes == 0
    assert not (parcel.folder / "0").exists()
    assert again.broken() == []
    again.note_trouble("AccessDenied", is_refused=True)
    said = aside_of(again)
    assert said.content == {"paths": [], "removes": ["c/d"], "parcel": parcel.id, "folder": str(parcel.folder)}
    assert "AccessDenied" in said.describe()


def test_a_removal_that_is_taken_back_keeps_the_files(parcel: Parcel) -> None:
    parcel.note_left(Left(parcel.left.files, ("c/d",)))
    assert Parcel(parcel.folder).left.paths == {"c/a", "c/d"}
    assert parcel.data(parcel.left.files[0]).read_bytes() == b"content"


@pytest.mark.parametrize("text", [b"", b"[]", b'{"format": 1}', b"\xff"])
def test_a_note_that_cannot_be_read_takes_nothing_back(parcel: Parcel, text: bytes) -> None:
    (parcel.folder / "left.json").write_bytes(text)
    assert parcel.left.paths == {"c/a", "c/b", "c/d"}


def test_what_waits_is_named() -> None:
    file = ParcelFile("a", "0", 3, 7)
    assert _task(Left((file,), ("b",))) == ("the file a", "uploaded")
    assert _task(Left((file, file))) == ("2 files", "uploaded")
    assert _task(Left((), ("b",))) == ("the deletion of b", "done")
    assert _task(Left((), ("b", "c"))) == ("the deletion of 2 files", "done")


# -- what people are shown --------------------------------------------------------------------


def _holdfast(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code in (0, 1), done.output
    return done.output


def test_what_is_to_be_deleted_is_shown_retried_and_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, run = "http://127.0.0.1:9", "0" * 32
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("HOLDFAST_SHIPPER", "none")
    root = Path.cwd() / ".holdfast" / "journal" / journal_name(uri)
    journal = ProcessJournal(root)
    journal.writer(run).entry(Kind.OWNED, {})
    (root / "journal.json").write_text(json.dumps({"format": 1, "destination": uri}))
    (tmp_path / "a").write_bytes(b"content")
    journal.spool.hand_over([(tmp_path / "a", "c/a")], run, "s3://b/r", "access", journal.process, ["c/b", "c/d"])
    (parcel,) = journal.spool.parcels()
    assert "1 to be uploaded (7 B), delete 2 files" in _holdfast("journal", "status")
    shown = _holdfast("journal", "drop", run, "--waiting", "--dry-run")
    assert "c/a (7 bytes)" in shown
    assert "delete 2 files: c/b, c/d" in shown
    parcel.note_left(Left((), ("c/d",)))
    (document,) = json.loads(_holdfast("journal", "status", "--json"))["journals"]
    assert [(found["files_waiting"], found["removals_waiting"]) for found in document["runs"]] == [(0, 1)]
    assert document["runs"][0]["state"] == "pending"
    parcel.note_trouble("AccessDenied: no right to delete", is_refused=True)
    assert "no right to delete" in _holdfast("journal", "status", run)
    assert "1 thing deleted." in _holdfast("journal", "drop", run, "--yes")
    assert journal.spool.parcels() == []
    journal.close()
