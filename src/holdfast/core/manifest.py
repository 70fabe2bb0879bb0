"""What a model's files are: the path, size and SHA-256 of each, and one checksum over them all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from holdfast.errors import RegistryError


@dataclass(frozen=True)
class FileSum:
    """One file: its size in bytes and the SHA-256 of its content, as 64 hex digits."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The files of a model, by path relative to its folder (with `/`).

    Two models are the same, to the byte and the name, exactly when their checksums are.
    """

    files: Mapping[str, FileSum]

    @cached_property
    def checksum(self) -> str:
        """`sha256:` and the SHA-256 of the list of paths, sizes and sums, sorted by path, as canonical JSON."""
        return "sha256:" + hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """The bytes of all files together."""
        return sum(item.size_bytes for item in self.files.values())

    def to_json(self) -> str:
        """Return the list as canonical JSON: sorted by path, no spaces, UTF-8."""
        rows = [[path, item.size_bytes, item.sha256] for path, item in sorted(self.files.items())]
        return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            RegistryError: The text is none.
        """
        try:
            rows = json.loads(text)
            return cls({str(path): FileSum(int(size), str(digest)) for path, size, digest in rows})
        except (ValueError, TypeError):
            raise RegistryError(
                "A list of a model's files is damaged.", "compare with `holdfast models audit`"
            ) from None

    def differences(self, other: Manifest) -> list[str]:
        """Say, file by file, how `other` differs from this one; empty where it does not."""
        said = [f"{path} is missing" for path in sorted(set(self.files) - set(other.files))]
        said += [f"{path} was added" for path in sorted(set(other.files) - set(self.files))]
        both = sorted(set(self.files) & set(other.files))
        return said + [f"{path} has changed" for path in both if self.files[path] != other.files[path]]
