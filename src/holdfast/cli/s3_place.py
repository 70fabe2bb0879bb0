"""Which part of which bucket a command is about, and with whose keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holdfast.artifacts.s3.connection import S3Connection
    from holdfast.bucket.arns import Place
    from holdfast.project import Project
    from holdfast.settings import Settings

Where = Annotated[str, typer.Argument(help="s3://bucket/prefix; the project's artifact root if not given.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Profile = Annotated[
    str | None, typer.Option("--profile", help="Do it with the keys of this AWS profile, not with the project's.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")]

# How long a server that is away is waited for by somebody who sits at a terminal.
_PATIENCE_S = 20.0


def place_of(settings: Settings, uri: str = "", bucket: str | None = None, prefix: str | None = None) -> Place:
    """Return the place that a command is about.

    Args:
        settings: The project's.
        uri: `s3://bucket/prefix`, if given.
        bucket: A bucket's name, if given instead.
        prefix: The prefix in it.

    Raises:
        InvalidInputError: None is named, or two are, or what is named is none.
    """
    from holdfast.bucket.arns import check_prefix, partition_of, place_in, place_named
    from holdfast.core.uris import normalize_artifact_root, scheme_of
    from holdfast.errors import InvalidInputError

    partition = partition_of(settings.region)
    if uri and (bucket is not None or prefix is not None):
        raise InvalidInputError("Two places are named.", "give either s3://bucket/prefix, or --bucket and --prefix")
    if bucket is not None:
        return place_named(bucket, prefix or "", partition)
    roots = (uri,) if uri else (settings.artifact_root or "", settings.artifacts_destination or "")
    found = next((root for root in roots if scheme_of(root) == "s3"), "")
    if not found:
        raise InvalidInputError(
            f"{uri} names no place in S3." if uri else "This project keeps no files in S3 by its settings.",
            "give s3://bucket/prefix, or set MLFLOW_ARTIFACT_ROOT to it",
        )
    place = place_in(normalize_artifact_root(found, "WHERE" if uri else "MLFLOW_ARTIFACT_ROOT"), partition)
    if prefix is not None:
        return place_named(place.bucket, prefix, partition)
    check_prefix(place.prefix)
    return place


def connect(project: Project) -> S3Connection:
    """Return the way to the project's S3, with the patience of somebody who waits."""
    from holdfast.artifacts.access import access_of
    from holdfast.artifacts.s3.connection import S3Connection

    return S3Connection(access_of(project.settings).within(_PATIENCE_S))
