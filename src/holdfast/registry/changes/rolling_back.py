"""Rollback: back to a version that was Production, after a look whether it can be served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from holdfast.backend.entities import ModelVersion
from holdfast.core.history import Draft, Kind
from holdfast.core.manifest import Manifest
from holdfast.core.promotion import CheckAnswer
from holdfast.core.stages import Stage
from holdfast.errors import RegistryError
from holdfast.project import Project
from holdfast.registry.changes.moving import Look, Mover
from holdfast.registry.changes.promoting import Promotion, check_ready, now_in, recorded, whom_it_replaces
from holdfast.registry.gates.artifacts import Artifacts
from holdfast.registry.gates.case import Case
from holdfast.registry.gates.catalog import ask
from holdfast.registry.gates.loads import Loads
from holdfast.registry.history.mirror import Mirror


@dataclass
class _Asked:
    """What was decided at the first look, and stays so: who rolls back means the Production of that moment."""

    number: int | None = None
    answers: dict[int, tuple[CheckAnswer, ...]] = field(default_factory=dict)


class Rollback:
    """Takes a model back to an earlier Production.

    Args:
        project: Whose registry.
        mover: Writes the move.
    """

    def __init__(self, project: Project, mover: Mover) -> None:
        self._project = project
        self._mover = mover

    def run(self, name: str, number: int | None, reason: str) -> Promotion:
        """Move stage, alias and tag; see `ModelRegistry.rollback`."""
        asked = _Asked()
        done = self._mover.change(name, lambda look: self._decide(look, number, reason, asked))
        if isinstance(done, Look):
            raise RegistryError(f"{name} was not rolled back.", "try again", retryable=True)
        draft = done.event.draft
        back = done.event.version or 0
        return Promotion(
            now_in(done.view.versions[back], Stage.PRODUCTION),
            draft.from_stage or Stage.NONE,
            draft.archived,
            asked.answers[back],
            done.event,
            done.elsewhere,
        )

    def _decide(self, look: Look, wanted: int | None, reason: str, asked: _Asked) -> Draft:
        asked.number = number = _target(look, wanted if asked.number is None else asked.number)
        found = look.version(number)
        check_ready(found, Stage.PRODUCTION)
        record = look.ledger.version(number)
        if number not in asked.answers:
            registered = partial(Mirror(self._project, look.book.kept).manifest, record.checksum)
            asked.answers[number] = self._examine(found, record.checksum, registered)
        _refuse_unless_whole(found, asked.answers[number])
        return self._mover.histories.draft(
            Kind.ROLLED_BACK,
            version=number,
            reason=reason,
            from_stage=record.stage,
            to_stage=Stage.PRODUCTION,
            archived=whom_it_replaces(look, number, Stage.PRODUCTION),
            checksum=record.checksum,
            gates=recorded(asked.answers[number]),
        )

    def _examine(
        self, found: ModelVersion, checksum: str, files: Callable[[], Manifest | None]
    ) -> tuple[CheckAnswer, ...]:
        with Case(self._project, found, Stage.PRODUCTION, registered=checksum, registered_files=files) as case:
            return ask((Artifacts(), Loads(needs_example=False)), case)


def _target(look: Look, wanted: int | None) -> int:
    name, present = look.view.model.name, look.ledger.holder(Stage.PRODUCTION)
    number = wanted if wanted is not None else look.ledger.rollback_target
    if number is None:
        raise RegistryError(
            f"No version of {name!r} was Production before{'' if present is None else f' version {present}'}.",
            "name one with --to, or promote one",
        )
    if number != present and number in look.view.versions and not look.ledger.version(number).was_production:
        raise RegistryError(
            f"{name} version {number} was never Production, so there is nothing to go back to.",
            f"promote it: holdfast models promote {name} {number}",
        )
    if number == present:
        raise RegistryError(
            f"{name} version {number} is Production already.", f"see `holdfast models history {name}` for earlier ones"
        )
    return number


def _refuse_unless_whole(version: ModelVersion, answers: tuple[CheckAnswer, ...]) -> None:
    failed = [f"{answer.check} ({answer.reason})" for answer in answers if not answer.passed]
    if failed:
        raise RegistryError(
            f"{version.name} version {version.version} cannot be served: {'; '.join(failed)}. Nothing was changed.",
            "roll back to another version with --to",
        )
