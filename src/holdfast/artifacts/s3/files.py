"""The files in S3 buckets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.transfer import SILENT, Item, Meter, Sent, StoredFile


class S3Files:
    """Files in S3, stored and fetched with one project's keys. Threads may share it.

    Args:
        access: How this project reaches its S3.
    """

    def __init__(self, access: S3Access) -> None:
        self.connection = S3Connection(access)

    def upload(self, items: Sequence[Item], meter: Meter = SILENT) -> Sent:
        """Store files; see `FileStore.upload`."""
        from holdfast.artifacts.s3.upload import upload_items

        return upload_items(self.connection, items, meter)

    def list_files(self, root_uri: str, folder: str = "") -> list[StoredFile]:
        """List a folder; see `FileStore.list_files`."""
        from holdfast.artifacts.s3.listing import list_files

        return list_files(self.connection, root_uri, folder)

    def download(self, root_uri: str, path: str, into: Path, meter: Meter = SILENT) -> Path:
        """Fetch a file or folder; see `FileStore.download`."""
        from holdfast.artifacts.s3.download import download

        return download(self.connection, root_uri, path, into, meter)

    def delete(self, root_uri: str, path: str = "") -> None:
        """Delete a file or folder; see `FileStore.delete`."""
        from holdfast.artifacts.s3.listing import delete

        delete(self.connection, root_uri, path)
