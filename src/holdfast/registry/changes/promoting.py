"""Promotion: what must be so before a version moves, and the move itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from holdfast.backend.entities import ModelVersion
from holdfast.core.history import Draft, Event, GateRecord, Kind
from holdfast.core.policy import PromotionPolicy
from holdfast.core.promotion import CheckAnswer
from holdfast.core.stages import STAGE_TAG, Stage
from holdfast.errors import InvalidInputError, PromotionRefusedError, RegistryError
from holdfast.project import Project
from holdfast.registry.changes.in_step import Difference, differences, stages_of, unfinished
from holdfast.registry.changes.moving import Look, Mover
from holdfast.registry.gates.approval import Approvals
from holdfast.registry.gates.case import Case
from holdfast.registry.gates.catalog import ask, gates_for
from holdfast.registry.history.mirror import Mirror
from holdfast.registry.lookup import with_stage


@dataclass(frozen=True)
class Promotion:
    """What a promotion did.

    Attributes:
        version: The version as it is now.
        from_stage: Where it was.
        archived: The versions it took the place of, now Archived.
        answers: What each gate answered; empty where none is set for that stage.
        event: The promotion in the history; None where the version was in that stage already.
        elsewhere: What somebody changed by hand outside of this move, and what was left as it is.
    """

    version: ModelVersion
    from_stage: Stage
    archived: tuple[int, ...]
    answers: tuple[CheckAnswer, ...]
    event: Event | None = None
    elsewhere: tuple[Difference, ...] = ()


@dataclass
class _Asked:
    """What the gates answered, kept as long as what they were asked about stays the same."""

    answers: dict[object, _Answered] = field(default_factory=dict)
    last: tuple[CheckAnswer, ...] = ()


@dataclass(frozen=True)
class _Answered:
    """What the gates answered, and the checksum of the files they saw; empty where they did not look at all of them."""

    gates: tuple[CheckAnswer, ...]
    checksum: str


class Promoter:
    """Moves versions between stages.

    Args:
        project: Whose registry.
        policy: What must be so.
        mover: Writes the moves.
    """

    def __init__(self, project: Project, policy: PromotionPolicy, mover: Mover) -> None:
        self._project = project
        self._policy = policy
        self._mover = mover

    def promote(self, name: str, number: int, target: Stage, reason: str, override: str | None) -> Promotion:
        """Move a version; see `ModelRegistry.promote`."""
        if override is not None and not override.strip():
            raise InvalidInputError("An override without a reason is none.", 'say why: --override "…"')
        asked = _Asked()
        done = self._mover.change(name, lambda look: self._decide(look, number, target, reason, override, asked))
        if isinstance(done, Look):
            return Promotion(now_in(done.version(number), target), target, (), ())
        draft = done.event.draft
        return Promotion(
            now_in(done.view.versions[number], target),
            draft.from_stage or Stage.NONE,
            draft.archived,
            asked.last,
            done.event,
            done.elsewhere,
        )

    def check(self, look: Look, number: int, target: Stage) -> tuple[CheckAnswer, ...]:
        """Ask each gate, and the approvals, and whether the move is allowed; nothing is changed."""
        found = with_stage(look.version(number))
        check_ready(found, target)
        return (
            *self._transition(found, look.ledger.version(number).stage, target),
            *self._ask(look, found, target).gates,
        )

    def _transition(self, found: ModelVersion, stage: Stage, target: Stage) -> tuple[CheckAnswer, ...]:
        try:
            refuse_transition(self._policy, found, stage, target)
        except PromotionRefusedError as error:
            return (CheckAnswer("transition", False, f"{stage.value} to {target.value} is not allowed; {error.hint}"),)
        return ()

    def _decide(
        self, look: Look, number: int, target: Stage, reason: str, override: str | None, asked: _Asked
    ) -> Draft | None:
        found = look.version(number)
        record = look.ledger.version(number)
        if record.stage is target:
            return None
        check_ready(found, target)
        refuse_transition(self._policy, found, record.stage, target)
        if found.run_id and target.holds_one:
            self._project.settle_files(found.run_id)
        key = (look.ledger.holder(Stage.PRODUCTION), record.checksum, repr(record.requests))
        if key not in asked.answers:
            asked.answers[key] = self._ask(look, found, target)
        asked.last, seen = asked.answers[key].gates, asked.answers[key].checksum
        _refuse_unless_passed(found, target, asked.last, override)
        return self._mover.histories.draft(
            Kind.MOVED,
            version=number,
            reason=reason,
            from_stage=record.stage,
            to_stage=target,
            archived=whom_it_replaces(look, number, target),
            checksum=seen or record.checksum,
            gates=recorded(asked.last),
            details=({} if override is None else {"override": override}) | _put_right(look, target),
        )

    def _ask(self, look: Look, found: ModelVersion, target: Stage) -> _Answered:
        rule, needed = self._policy.rule_for(target), self._policy.approvers(target)
        record = look.ledger.version(found.version)
        holder = look.ledger.holder(Stage.PRODUCTION)
        # A version that is Production already has nobody to be worse than.
        present = None if holder in (None, found.version) else look.view.versions.get(holder or 0)
        gates = (*gates_for(rule), *([Approvals(needed, record.requests.get(target))] if needed else []))
        registered = partial(Mirror(self._project, look.book.kept).manifest, record.checksum)
        with Case(self._project, found, target, present, record.checksum, registered) as case:
            return _Answered(ask(gates, case), case.measured)


def _put_right(look: Look, target: Stage) -> dict[str, list[str]]:
    """Return what stands in the way of a move because somebody changed it by hand; the move writes over it."""
    found = differences(look.ledger, look.view)
    left = set(unfinished(look.book.events, found))
    by_hand = [str(item) for item in found if item not in left and target in stages_of(item)]
    return {"changed_by_hand": by_hand[:5]} if by_hand else {}


def check_ready(version: ModelVersion, target: Stage) -> None:
    """Check that a version can be served from a stage.

    Raises:
        RegistryError: It is to be in Staging or Production and is not READY.
    """
    if target.holds_one and version.status != "READY":
        raise RegistryError(
            f"{version.name} version {version.version} is {version.status}, not READY.",
            "wait until it is registered, or register it again",
        )


def refuse_transition(policy: PromotionPolicy, version: ModelVersion, stage: Stage, target: Stage) -> None:
    """Check that a version may go from one stage to another.

    Raises:
        PromotionRefusedError: The transitions of the policy do not allow it.
    """
    if not policy.allows(stage, target):
        allowed = ", ".join(item.value for item in policy.allowed_from(stage)) or "nowhere"
        raise PromotionRefusedError(
            f"{version.name} version {version.version} may not go from {stage.value} to {target.value}.",
            f"from {stage.value} it may go to {allowed} (transitions in [tool.holdfast.promotion])",
        )


def whom_it_replaces(look: Look, number: int, target: Stage) -> tuple[int, ...]:
    """Return who is in Staging or Production now, by the history or by MLflow's own stage."""
    if not target.holds_one:
        return ()
    by_hand = {item.version for item in look.view.versions.values() if item.stage is target}
    return tuple(sorted((by_hand | {look.ledger.holder(target) or number}) - {number}))


def recorded(answers: tuple[CheckAnswer, ...]) -> tuple[GateRecord, ...]:
    """Return gates' answers as the history keeps them."""
    return tuple(GateRecord(answer.check, answer.passed, answer.reason) for answer in answers)


def now_in(version: ModelVersion, stage: Stage) -> ModelVersion:
    """Return a version as it is after a move to a stage."""
    others = [alias for alias in version.aliases if alias not in ("staging", "production")]
    aliases = tuple(sorted([*others, *([stage.alias] if stage.alias else [])]))
    return replace(version, stage=stage, aliases=aliases, tags={**version.tags, STAGE_TAG: stage.value})


def _refuse_unless_passed(
    version: ModelVersion, target: Stage, answers: tuple[CheckAnswer, ...], override: str | None
) -> None:
    failed = [answer for answer in answers if not answer.passed]
    # An override is one person's word; approvals are there so that one person's word is not enough.
    standing = failed if override is None else [answer for answer in failed if answer.check == Approvals.name]
    if standing:
        said = "; ".join(f"{answer.check} ({answer.reason})" for answer in standing)
        raise PromotionRefusedError(
            f"{version.name} version {version.version} may not become {target.value}: {said}.",
            _remedy(version, standing),
            answers=answers,
        )


def _remedy(version: ModelVersion, failed: list[CheckAnswer]) -> str:
    if all(answer.check == Approvals.name for answer in failed):
        which = f"{version.name} {version.version}"
        return f"holdfast models request {which}, and somebody else: holdfast models approve {which}"
    return 'train a better model, change [tool.holdfast.promotion] in pyproject.toml, or say why not: --override "…"'
