"""Deleting versions: not those that somebody may be served by, or may want to go back to."""

from __future__ import annotations

from holdfast.core.history import Draft, Event, Kind
from holdfast.core.stages import STAGE_TAG, Stage
from holdfast.errors import RegistryError
from holdfast.registry.changes.moving import Done, Look, Mover
from holdfast.registry.lookup import with_stage

_ROLLBACK = "a rollback would go back to it"


def delete_version(mover: Mover, name: str, number: int, force: bool, reason: str) -> Event:
    """Delete a version; see `ModelRegistry.delete`."""

    def decide(look: Look) -> Draft:
        kept_for = why_kept(look, number)
        if kept_for and not force:
            raise RegistryError(
                f"{name} version {number} is not deleted: {'; '.join(kept_for)}.",
                _way_out(kept_for),
            )
        record = look.ledger.version(number)
        return mover.histories.draft(
            Kind.DELETED,
            version=number,
            reason=reason,
            from_stage=record.stage,
            checksum=record.checksum,
            details={"forced": kept_for} if kept_for else {},
        )

    done = mover.change(name, decide)
    if not isinstance(done, Done):
        raise RegistryError(f"{name} version {number} was not deleted.", "try again", retryable=True)
    return done.event


def why_kept(look: Look, number: int) -> list[str]:
    """Return why a version should stay; empty where nothing speaks for it.

    Raises:
        NotFoundError: There is no such version.
    """
    version, record = look.version(number), look.ledger.version(number)
    said = {record.stage, version.stage, with_stage(version).stage}
    said |= {stage for stage in Stage if version.tags.get(STAGE_TAG) == stage.value}
    reasons = [f"it is {stage.value}" for stage in Stage if stage.holds_one and stage in said]
    reasons += [f"alias {alias!r} points at it" for alias in version.aliases]
    if look.ledger.rollback_target == number:
        reasons.append(_ROLLBACK)
    approved = [stage.value for stage, request in record.requests.items() if request.approvals]
    return reasons + [f"it is approved for {stage}" for stage in approved]


def _way_out(kept_for: list[str]) -> str:
    """Return the hint; what a rollback goes back to stays that, whatever is done to it."""
    if _ROLLBACK in kept_for:
        return "delete it all the same with --force"
    return "move it to Archived, or take its aliases away, first; or delete it all the same with --force"
