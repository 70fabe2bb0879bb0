"""Aliases and tags of versions, each change with its event; those that say the stage belong to promotions."""

from __future__ import annotations

from holdfast.core.history import Draft, Event, Kind
from holdfast.core.names import check_alias, check_tags
from holdfast.core.stages import STAGE_TAG, Stage
from holdfast.errors import InvalidInputError
from holdfast.registry.changes.moving import Done, Look, Mover

_OWN_PREFIX = "holdfast."
_OF_STAGES = tuple(stage.alias for stage in Stage if stage.alias)


def set_alias(mover: Mover, name: str, alias: str, number: int, reason: str) -> Event | None:
    """Point an alias at a version; see `ModelRegistry.set_alias`."""
    check_own_alias(name, alias)

    def decide(look: Look) -> Draft | None:
        look.version(number)
        if look.ledger.aliases.get(alias) == number == look.view.model.aliases.get(alias):
            return None
        before = look.view.model.aliases.get(alias)
        details = {"alias": alias} if before is None else {"alias": alias, "before": before}
        return mover.histories.draft(Kind.ALIAS_SET, version=number, reason=reason, details=details)

    return _event(mover.change(name, decide))


def remove_alias(mover: Mover, name: str, alias: str, reason: str) -> Event | None:
    """Take an alias away; see `ModelRegistry.remove_alias`."""
    check_own_alias(name, alias)

    def decide(look: Look) -> Draft | None:
        before = look.view.model.aliases.get(alias)
        if before is None and look.ledger.aliases.get(alias) is None:
            return None
        of = before if before is not None else look.ledger.aliases[alias]
        return mover.histories.draft(Kind.ALIAS_REMOVED, version=of, reason=reason, details={"alias": alias})

    return _event(mover.change(name, decide))


def set_tag(mover: Mover, name: str, number: int, key: str, value: str, reason: str) -> Event | None:
    """Set a tag of a version; see `ModelRegistry.set_tag`."""
    check_own_tags(name, {key: value})

    def decide(look: Look) -> Draft | None:
        if look.ledger.version(number).tags.get(key) == value == look.version(number).tags.get(key):
            return None
        return mover.histories.draft(Kind.TAGGED, version=number, reason=reason, details={"key": key, "value": value})

    return _event(mover.change(name, decide))


def remove_tag(mover: Mover, name: str, number: int, key: str, reason: str) -> Event | None:
    """Remove a tag of a version; see `ModelRegistry.remove_tag`."""
    check_own_tags(name, {key: ""})

    def decide(look: Look) -> Draft | None:
        if key not in look.version(number).tags and look.ledger.version(number).tags.get(key) is None:
            return None
        return mover.histories.draft(Kind.UNTAGGED, version=number, reason=reason, details={"key": key})

    return _event(mover.change(name, decide))


def check_own_alias(name: str, alias: str) -> None:
    """Check an alias that somebody wants to set or remove.

    Raises:
        InvalidInputError: It has a form that MLflow refuses, or it says who is in a stage.
    """
    if check_alias(alias).lower() in _OF_STAGES:
        stage = alias.capitalize()
        raise InvalidInputError(
            f"The alias {alias!r} says which version is in {stage}, and moves with it.",
            f"move a version there: holdfast models promote {name} VERSION --to {stage}",
        )


def check_own_tags(name: str, tags: dict[str, str]) -> None:
    """Check tags that somebody wants to set or remove.

    Raises:
        InvalidInputError: A key or value has a form that MLflow refuses, or is Holdfast's own.
    """
    check_tags(tags)
    own = [key for key in tags if key.startswith(_OWN_PREFIX)]
    if own:
        raise InvalidInputError(
            f"Tags that begin with {_OWN_PREFIX} are written by Holdfast itself: {', '.join(own)}.",
            f"to move a version: holdfast models promote {name} VERSION --to STAGE; for else, take another key",
        )


def check_first_tags(name: str, tags: dict[str, str]) -> None:
    """Check tags that a version is to be registered with.

    Raises:
        InvalidInputError: A key or value has a form that MLflow refuses, or says the stage.
    """
    check_tags(tags)
    if STAGE_TAG in tags:
        check_own_tags(name, {STAGE_TAG: ""})


def _event(done: Done | Look) -> Event | None:
    return done.event if isinstance(done, Done) else None
