"""What every artifact store does, and the words for it: what to send, what was sent, who is told, how to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol


class StoredFile(NamedTuple):
    """A file or folder in a store.

    Attributes:
        path: Where, below the root that was listed.
        is_dir: Whether it is a folder.
        size_bytes: Its size; None for a folder, or where the store does not say.
    """

    path: str
    is_dir: bool
    size_bytes: int | None


class UploadNote(Protocol):
    """What is known of an upload in parts that was interrupted; kept beside the file while it waits in the journal."""

    def load(self) -> Mapping[str, Any]:
        """Return what was saved last; empty where there is nothing."""

    def save(self, content: Mapping[str, Any]) -> None:
        """Keep it, so that a killed process's successor finds it; an empty one is forgotten."""


@dataclass(frozen=True)
class Item:
    """A file to be stored.

    Attributes:
        local: The file.
        uri: Where it goes, its own name included: `s3://bucket/key`, `mlflow-artifacts:/path`, or a path.
        note: Keeps what is needed to go on after a kill; without it the store is asked which parts it has.
    """

    local: Path
    uri: str
    note: UploadNote | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Sent:
    """What an upload has done.

    Attributes:
        files: How many files are there now.
        sent_bytes: What went over the wire.
        unchanged: How many of the files were there already, with this very content, and were not sent.
    """

    files: int = 0
    sent_bytes: int = 0
    unchanged: int = 0

    def __add__(self, other: Sent) -> Sent:
        return Sent(self.files + other.files, self.sent_bytes + other.sent_bytes, self.unchanged + other.unchanged)


class Meter(Protocol):
    """Is told how a transfer goes; threads may call it at once."""

    def begin(self, files: int, size_bytes: int) -> None:
        """Note how much there is to do; more may be added later."""

    def advance(self, size_bytes: int) -> None:
        """Note that so many bytes are over; negative where a part has to be sent again."""

    def file_done(self) -> None:
        """Note that a file is there."""

    def end(self) -> None:
        """Note that nothing more is to come, whether it worked or not."""


class Silent:
    """Tells nobody."""

    def begin(self, files: int, size_bytes: int) -> None:
        """Nothing."""

    def advance(self, size_bytes: int) -> None:
        """Nothing."""

    def file_done(self) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


SILENT = Silent()


class FileStore(Protocol):
    """Files somewhere. Threads may share one.

    Every method raises `ArtifactError` that names bucket or server, path and remedy; `retryable` where the same call
    may succeed later. What fails half-way may be called again: what is there already is not sent again.
    """

    def upload(self, items: Sequence[Item], meter: Meter = SILENT) -> Sent:
        """Store files, several at once, each of them whole or not at all."""

    def list_files(self, root_uri: str, folder: str = "") -> list[StoredFile]:
        """Return what lies directly under `root_uri/folder`, by name; empty where there is nothing, or a file."""

    def download(self, root_uri: str, path: str, into: Path, meter: Meter = SILENT) -> Path:
        """Fetch a file, or all files below a folder, to `into/path`, checked and whole; return that path."""

    def delete(self, root_uri: str, path: str = "") -> None:
        """Delete a file, or all files below a folder; what is not there is fine."""
