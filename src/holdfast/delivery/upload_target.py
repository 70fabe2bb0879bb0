"""What an uploader has to know: the journal, and how one project's files are stored; for another process too."""

from __future__ import annotations

import json
from dataclasses import dataclass

from holdfast.artifacts.access import S3Access
from holdfast.delivery.target import Target


@dataclass(frozen=True)
class UploadTarget:
    """What an uploader has to know. `repr` shows no secret.

    Attributes:
        target: The journal and its tracking store, which some files go through.
        access: How the project reaches S3.
        artifact_root: Where the project was told to keep its files. What was handed over for a place below it with
            other keys, of which no uploader is at work any more, is uploaded with these.
    """

    target: Target
    access: S3Access
    artifact_root: str | None = None

    def redact(self, text: str) -> str:
        """Hide the secrets in a text."""
        return self.access.redact(self.target.redact(text))

    def to_json(self) -> str:
        """Return everything as text for the standard input of a child process; it holds the secrets."""
        content = {
            "target": self.target.to_json(),
            "access": self.access.to_json(),
            "artifact_root": self.artifact_root,
        }
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str) -> UploadTarget:
        """Return what `to_json` wrote."""
        content = json.loads(text)
        return cls(Target.from_json(content["target"]), S3Access.from_json(content["access"]), content["artifact_root"])
