"""The journal of a project, as the doctor's tests make one: with runs that were logged, delivered, or neither."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from relaying import result_of

from holdfast.delivery.identity import RunAbout, save_about
from holdfast.delivery.target import journal_name
from holdfast.doctor.check import Result
from holdfast.journal.checkpoint import Checkpoint, save_checkpoint
from holdfast.journal.codec import Kind
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.household import ProcessJournal
from holdfast.journal.layout import JournalPaths, parse_segment_name
from holdfast.journal.options import JournalOptions

URI = "http://127.0.0.1:9"  # nobody answers there
FILES = OsFileSystem()
RUN, ACCESS = "0" * 32, "a" * 16


class Place:
    """The journal of a project that the checks look at.

    Args:
        folder: The project's folder.
        uri: Its tracking URI.
    """

    def __init__(self, folder: Path, uri: str = URI) -> None:
        self.folder, self.uri = folder, uri
        self.root = folder / "journal" / journal_name(uri)
        self.paths = JournalPaths(self.root)
        self.environ = {
            "MLFLOW_TRACKING_URI": uri,
            "HOLDFAST_DELIVERY": "journal",
            "HOLDFAST_JOURNAL": str(folder / "journal"),
        }

    def begin(self, run_id: str = RUN, limit_bytes: int = 10 << 30) -> ProcessJournal:
        """Begin a run in it, as a process does that logs."""
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "journal.json").write_text(json.dumps({"format": 1, "destination": self.uri}))
        journal = ProcessJournal(self.root, JournalOptions(limit_bytes=limit_bytes, segment_bytes=64 << 10))
        save_about(FILES, journal.paths.run(run_id), RunAbout(run_id))
        journal.writer(run_id).entry(Kind.OWNED, {})
        journal.writer(run_id).metrics({"loss": 0.5}, 1)
        return journal

    def deliver(self, run_id: str = RUN, **about: Any) -> None:
        """Note all that is there as delivered, as the shipper does."""
        run = self.paths.run(run_id)
        ends = {name: FILES.size(run.folder / name) for name in FILES.list(run.folder) if parse_segment_name(name)}
        save_checkpoint(FILES, run.checkpoint, Checkpoint(ends, **about))

    def result(self, name: str, **settings: str) -> Result:
        """Return what a check finds."""
        return result_of(name, {**self.environ, **settings})


def end(journal: ProcessJournal) -> None:
    """Let its process count as gone."""
    assert journal._lease is not None
    journal._lease.close()


def say(path: Path, **progress: Any) -> None:
    """Write what a shipper says of itself."""
    now_ms = time.time_ns() // 1_000_000
    path.write_text(json.dumps({"pid": os.getpid(), "host": "here", "state": "idle", "updated_ms": now_ms, **progress}))


def hand_over(journal: ProcessJournal, folder: Path, root: str = "s3://bucket/x", access: str = ACCESS) -> None:
    source = folder / "notes.txt"
    source.write_text("hello")
    journal.spool.hand_over([(source, "notes.txt")], RUN, root, access, journal.process)
