"""Artifacts: files of runs and models, in S3, behind a server's proxy, or in a folder."""

from holdfast.artifacts.store import ArtifactStore, StoredFile

__all__ = ["ArtifactStore", "StoredFile"]
