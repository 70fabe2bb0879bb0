"""Artifacts: files of runs and models, in S3, behind a server's proxy, or in a folder."""

from holdfast.artifacts.store import ArtifactStore
from holdfast.artifacts.transfer import Item, Sent, StoredFile

__all__ = ["ArtifactStore", "Item", "Sent", "StoredFile"]
