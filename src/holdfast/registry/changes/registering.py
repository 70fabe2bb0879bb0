"""Writing a registration into the history, with the checksum of the files as they are."""

from __future__ import annotations

from holdfast.backend.entities import ModelVersion
from holdfast.backend.model_places import place_of_version
from holdfast.core.history import Draft, Event, Kind
from holdfast.core.manifest import Manifest
from holdfast.errors import ArtifactError
from holdfast.logs import get_logger
from holdfast.project import Project
from holdfast.registry.changes.moving import Done, Look, Mover
from holdfast.registry.checksums import measure
from holdfast.registry.history.mirror import Mirror

_log = get_logger(__name__)


def record_registration(project: Project, mover: Mover, made: ModelVersion, reason: str = "") -> Event | None:
    """Record a version that was registered; its files are read for their checksum.

    Args:
        project: With whose keys.
        mover: Writes the event.
        made: The version, which may have been registered by others, and long ago.
        reason: What to say of it.

    Returns:
        The event; None where somebody recorded it meanwhile.
    """
    manifest = _measured(project, made)
    draft = mover.histories.draft(
        Kind.REGISTERED,
        version=made.version,
        reason=reason,
        checksum="" if manifest is None else manifest.checksum,
        details={"source": made.source, "run_id": made.run_id},
    )

    def record(look: Look) -> Draft | None:
        if look.ledger.version(made.version).is_registered:
            return None
        if manifest is not None:
            Mirror(project, look.book.kept).put_manifest(manifest)
        return draft

    done = mover.change(made.name, record)
    return done.event if isinstance(done, Done) else None


def _measured(project: Project, made: ModelVersion) -> Manifest | None:
    try:
        return measure(project, place_of_version(project.connection, made.name, made.version))
    except ArtifactError as error:
        _log.warning(
            "the files of a version could not be read, so its checksum is not recorded",
            model=made.name,
            version=made.version,
            reason=error.message,
        )
        return None
