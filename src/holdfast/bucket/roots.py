"""Artifact roots, and what lies below them: `s3://b/a` holds `s3://b/a/x`, and nothing of `s3://b/ab`."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from holdfast.core.uris import mask_uri, normalize_artifact_root, scheme_of
from holdfast.errors import InvalidInputError

Kind = Literal["s3", "file"]


@dataclass(frozen=True)
class Root:
    """A folder of this machine, or a prefix of a bucket, with all that lies below.

    Attributes:
        kind: Which of the two.
        uri: It, in its normal form: `s3://bucket/prefix`, or an absolute path.
        other_forms: Further forms under which the same folder is known, such as with a link in its path.
    """

    kind: Kind
    uri: str
    other_forms: tuple[str, ...] = ()

    def path_of(self, uri: str) -> str | None:
        """Return where below the root a place lies, an empty text for the root itself; None where it lies elsewhere.

        Args:
            uri: An address as MLflow's tables have it: `s3://…`, a path, or a `file:` URI, which is percent-encoded.
        """
        kind, place = plain_form(uri)
        if kind != self.kind:
            return None
        for form in (self.uri, *self.other_forms):
            if place == form:
                return ""
            if place.startswith(f"{form.rstrip('/')}/"):
                return place[len(form.rstrip("/")) + 1 :]
        return None

    def join(self, path: str) -> str:
        """Return the address of a path below the root; below a folder a plain path, unescaped."""
        return f"{self.uri.rstrip('/')}/{path}" if path else self.uri


def root_of(text: str, setting: str) -> Root:
    """Return the root that somebody names.

    Args:
        text: `s3://bucket/prefix`, a path or a `file:` URI.
        setting: Where it stands, for errors: `--to`.

    Raises:
        InvalidInputError: It is neither a folder of this machine nor a bucket.
    """
    uri = normalize_artifact_root(text, setting)
    scheme = scheme_of(uri)
    if scheme == "s3":
        return Root("s3", uri)
    if scheme:
        raise InvalidInputError(
            f"{setting}={mask_uri(text)} is neither a folder nor in S3; files there cannot be moved by Holdfast.",
            f"give {setting} s3://bucket/prefix, or a folder",
        )
    written = plain_form(text)[1]
    absolute = os.path.abspath(os.path.expanduser(written))
    return Root("file", uri, (absolute,) if absolute != uri else ())


def plain_form(uri: str) -> tuple[str, str]:
    """Return what kind of place an address names (`s3`, `file`, or its scheme), and it without what is only form.

    Of a folder that is its path, with nothing escaped. A path that is relative to a server's working directory, or
    leads upwards, is of the kind `relative`: nobody here can tell where it lies.
    """
    scheme = scheme_of(uri)
    if scheme == "s3":
        rest = uri.partition(":")[2].lstrip("/").rstrip("/")
        return ("relative" if _leads_away(rest) else "s3"), f"s3://{rest}"
    if scheme not in ("", "file"):
        return scheme, uri
    path = path_of_file_uri(uri) if scheme else uri
    if path is None or not path.startswith("/") or _leads_away(path):
        return "relative", uri
    return "file", normal_path(path)


def normal_path(path: str) -> str:
    """Return an absolute path without `.`, `..` and doubled slashes; links are not looked at."""
    return posixpath.normpath(path).replace("//", "/", 1)


def _leads_away(path: str) -> bool:
    return ".." in path.split("/")


def path_of_file_uri(uri: str) -> str | None:
    """Return the path in a `file:` URI with nothing left out of it; None where it is on another host."""
    rest = uri.partition(":")[2]
    if not rest.startswith("//"):
        return unquote(rest)
    host, slash, path = rest[2:].partition("/")
    return unquote(slash + path) if host in ("", "localhost") else None


def check_apart(source: Root, target: Root, same_server: bool) -> None:
    """See that two roots do not lie in each other.

    Args:
        source: From where.
        target: To where.
        same_server: Whether both are on the same server; at two servers both may have one name.

    Raises:
        InvalidInputError: They do, or are the same.
    """
    if source.uri == target.uri and not same_server:
        return
    if source.path_of(target.uri) is not None or target.path_of(source.uri) is not None:
        same = source.uri == target.uri
        raise InvalidInputError(
            f"{source.uri} and {target.uri} are the same place."
            if same
            else f"{source.uri} and {target.uri} lie in each other, so that old and new could not be told apart.",
            "name another --to" if same else "name a --to beside the old root, not above or below it",
        )
