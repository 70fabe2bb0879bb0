"""Whether the project's own settings reach the place that a migration with other keys moves its files to.

MLflow reads an experiment's files with the settings of whoever reads them, not with those that a migration was given.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.listing import StoredObject, place_of, walk
from holdfast.bucket.migration.target_settings import names_in
from holdfast.bucket.roots import Root
from holdfast.core.uris import mask_uri
from holdfast.errors import ArtifactError

# How long a server that is away is waited for, in seconds: this only tells, nothing depends on it.
_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Unreadable:
    """Why the project's own settings do not reach the new place.

    Attributes:
        place: The new place.
        why: What is in the way.
        remedy: What to set, and where.
    """

    place: str
    why: str
    remedy: str


def why_unreadable(target: Root, ours: S3Access, theirs: S3Access, env: Path) -> Unreadable | None:
    """Return why the project's own settings do not reach the new place; None where they do.

    Args:
        target: The new place, in a bucket.
        ours: The project's own way to S3.
        theirs: The way that the files go there.
        env: The file that says so.
    """
    try:
        why = _why(target, S3Connection(ours.within(_PATIENCE_S)), S3Connection(theirs.within(_PATIENCE_S)))
    except ArtifactError as error:
        why = error.message.rstrip(".")
    if not why:
        return None
    remedy = (
        f"put {', '.join(names_in(env))} of {env} into the .env of this project, and of all that load its models, in "
        "place of those there; one project has one way to S3, so move all of its experiments"
    )
    return Unreadable(mask_uri(target.uri), why, remedy)


def _why(target: Root, ours: S3Connection, theirs: S3Connection) -> str:
    bucket, key = place_of(target.uri)
    sample = _first(theirs, bucket, key)
    seen = _first(ours, bucket, key)
    if sample is not None and seen == sample:
        ours.run(
            "read the file", bucket, seen.key, lambda: ours.client(bucket).head_object(Bucket=bucket, Key=seen.key)
        )
        return ""
    mine, other = _server(ours.access), _server(theirs.access)
    if mine != other:
        return f"the files are at {other}, and the project's settings name {mine}"
    return "" if sample is None else f"another bucket has this name with the project's keys: {sample.key} is not in it"


def _first(connection: S3Connection, bucket: str, key: str) -> StoredObject | None:
    for page in walk(connection, bucket, f"{key}/" if key else ""):
        return page[0] if page else None
    return None


def _server(access: S3Access) -> str:
    return mask_uri(access.endpoint_url).rstrip("/") if access.endpoint_url else "AWS"
