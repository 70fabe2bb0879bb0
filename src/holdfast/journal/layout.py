"""Where things lie in a journal, and what its file names say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

FORMAT = 1
LOCAL_PREFIX = "local-"
_SEGMENT = re.compile(
    r"(?P<process>[0-9]+-[0-9a-f]+-[0-9a-f]{8})(?P<letter>[a-z])\.(?P<number>\d{6})\.(?P<base>[0-9a-f]+)\.seg"
)


class SegmentName(NamedTuple):
    """What a segment's file name says.

    Attributes:
        base_ms: Its base time, ms since the epoch.
        writer: The process and the letter of its writer.
        number: Its place among the writer's segments of this run.
        process: The process that wrote it.
        name: The file name.
    """

    base_ms: int
    writer: str
    number: int
    process: str
    name: str


def segment_name(process: str, letter: str, number: int, base_ms: int) -> str:
    """Return the file name of a segment."""
    return f"{process}{letter}.{number:06d}.{base_ms:x}.seg"


def parse_segment_name(name: str) -> SegmentName | None:
    """Return what a file name says, or None where it is not a segment's."""
    found = _SEGMENT.fullmatch(name)
    if found is None:
        return None
    process = found["process"]
    return SegmentName(int(found["base"], 16), process + found["letter"], int(found["number"]), process, name)


class JournalPaths(NamedTuple):
    """The files of a journal."""

    root: Path

    @property
    def about(self) -> Path:
        """What the journal is for."""
        return self.root / "journal.json"

    @property
    def processes(self) -> Path:
        """The leases."""
        return self.root / "processes"

    @property
    def experiments(self) -> Path:
        """Experiments that were named offline."""
        return self.root / "experiments"

    @property
    def runs(self) -> Path:
        """The runs' folders."""
        return self.root / "runs"

    @property
    def files(self) -> Path:
        """The files that were handed over."""
        return self.root / "files"

    @property
    def reserve(self) -> Path:
        """Room that is kept for a checkpoint on a full disk."""
        return self.root / "reserve"

    @property
    def shipper_lock(self) -> Path:
        """Held by the shipper."""
        return self.root / "shipper.lock"

    @property
    def shipper_state(self) -> Path:
        """What the shipper is doing."""
        return self.root / "shipper.json"

    @property
    def shipper_log(self) -> Path:
        """What the shipper has to say."""
        return self.root / "shipper.log"

    def uploader_lock(self, access: str) -> Path:
        """Held by the uploader that has this access."""
        return self.root / f"uploader-{access}.lock"

    def uploader_state(self, access: str) -> Path:
        """What this uploader is doing."""
        return self.root / f"uploader-{access}.json"

    @property
    def uploader_log(self) -> Path:
        """What uploaders have to say."""
        return self.root / "uploader.log"

    def lease(self, process: str) -> Path:
        """The lease of a process."""
        return self.processes / f"{process}.lease"

    def run(self, run_id: str) -> RunPaths:
        """The folder of a run."""
        return RunPaths(self.runs / run_id)


class RunPaths(NamedTuple):
    """The files of a run in a journal."""

    folder: Path

    @property
    def about(self) -> Path:
        """The run as it was begun."""
        return self.folder / "run.json"

    @property
    def resolved(self) -> Path:
        """What a local run became."""
        return self.folder / "resolved.json"

    @property
    def checkpoint(self) -> Path:
        """What is delivered."""
        return self.folder / "checkpoint.json"

    @property
    def aside(self) -> Path:
        """What was refused."""
        return self.folder / "aside.jsonl"

    @property
    def lock(self) -> Path:
        """Held by whoever delivers the run."""
        return self.folder / "lock"
