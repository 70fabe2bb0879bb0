"""Requests that a version enter a stage, and what others say to them.

Each word is an event. An approval is of the files as they are at that moment: whoever changes them afterwards has
nothing approved. Names are what people say of themselves (HOLDFAST_USER, the login, git's address): a stock MLflow
server does not verify them, so approvals keep honest people from approving their own requests by oversight, and show
who claimed to be whom and from which machine; they do not stop somebody who lies about the name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from holdfast.backend.model_places import place_of_version
from holdfast.core.history import Draft, Event, Kind
from holdfast.core.ledger import Ledger, Request, is_same_person
from holdfast.core.manifest import Manifest
from holdfast.core.policy import PromotionPolicy
from holdfast.core.stages import Stage
from holdfast.errors import InvalidInputError, PromotionRefusedError, RegistryError
from holdfast.project import Project
from holdfast.registry.changes.moving import Done, Look, Mover
from holdfast.registry.changes.promoting import check_ready, refuse_transition
from holdfast.registry.checksums import measure
from holdfast.registry.history.mirror import Mirror


@dataclass(frozen=True)
class Review:
    """A request, and what was said to it.

    Attributes:
        model: The registered model.
        version: Which version.
        stage: Where it is to go.
        by: Who asked.
        at: When, UTC.
        reason: Why.
        checksum: Of the files that it is about.
        approved: Who approved these files.
        needed: How many must; 0 where the policy asks nobody.
        is_open: Whether it still stands; False once it was rejected.
        event: What this call wrote into the history; None where nothing was to be written.
    """

    model: str
    version: int
    stage: Stage
    by: str
    at: str
    reason: str
    checksum: str
    approved: tuple[str, ...]
    needed: int
    is_open: bool = True
    event: Event | None = None

    @property
    def is_enough(self) -> bool:
        """Whether it stands, and as many have approved as the policy asks for."""
        return self.is_open and len(self.approved) >= self.needed

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        fields = {key: getattr(self, key) for key in ("model", "version", "by", "at", "reason", "checksum", "needed")}
        event = None if self.event is None else self.event.to_dict()
        said = {"approved": list(self.approved), "enough": self.is_enough, "open": self.is_open, "event": event}
        return {**fields, "stage": self.stage.value, **said}


class Reviews:
    """Asks, approves and rejects.

    Args:
        project: Whose registry.
        policy: Which moves are allowed, and how many must approve.
        mover: Writes the events.
    """

    def __init__(self, project: Project, policy: PromotionPolicy, mover: Mover) -> None:
        self._project = project
        self._policy = policy
        self._mover = mover

    def request(self, name: str, number: int, target: Stage, reason: str) -> Review:
        """Ask; see `ModelRegistry.request`."""
        measured = self._measuring(name, number)

        def decide(look: Look) -> Draft:
            self._refuse_request(look, number, target)
            manifest = measured()
            Mirror(self._project, look.book.kept).put_manifest(manifest)
            return self._draft(Kind.REQUESTED, number, target, reason, manifest.checksum)

        return self._review(self._mover.change(name, decide), number, target)

    def approve(self, name: str, number: int, target: Stage | None, reason: str) -> Review:
        """Approve; see `ModelRegistry.approve`."""
        measured = self._measuring(name, number)
        stages: list[Stage] = []

        def decide(look: Look) -> Draft | None:
            request = _open_request(look, number, target)
            stages[:] = [request.stage]
            draft = self._draft(Kind.APPROVED, number, request.stage, reason, request.checksum)
            _refuse_own(request, draft)
            self._refuse_changed(look, request, measured())
            return None if _has_approved(request, draft.actor.name) else draft

        done = self._mover.change(name, decide)
        return self._review(done, number, stages[0])

    def reject(self, name: str, number: int, target: Stage | None, reason: str) -> Review:
        """Reject, or withdraw one's own request; see `ModelRegistry.reject`."""
        if not reason.strip():
            raise InvalidInputError("A rejection needs a reason.", "say what must change before you would approve")
        rejected: list[Request] = []

        def decide(look: Look) -> Draft:
            request = _open_request(look, number, target)
            rejected[:] = [request]
            return self._draft(Kind.REJECTED, number, request.stage, reason, request.checksum)

        done = self._mover.change(name, decide)
        event = done.event if isinstance(done, Done) else None
        return self._of(name, number, rejected[0], is_open=False, event=event)

    def of(self, name: str, ledger: Ledger) -> list[Review]:
        """Return the requests that stand, by version."""
        return [
            self._of(name, number, request)
            for number, record in sorted(ledger.versions.items())
            for request in record.requests.values()
        ]

    # -- inside -----------------------------------------------------------------------

    def _measuring(self, name: str, number: int) -> Callable[[], Manifest]:
        """Return what reads the version's files, once however often it is asked."""

        @cache
        def measured() -> Manifest:
            return measure(self._project, place_of_version(self._project.connection, name, number))

        return measured

    def _refuse_request(self, look: Look, number: int, target: Stage) -> None:
        found, stage = look.version(number), look.ledger.version(number).stage
        if stage is target:
            raise RegistryError(
                f"{found.name} version {number} is in {target.value} already.", "there is nothing to ask"
            )
        check_ready(found, target)
        refuse_transition(self._policy, found, stage, target)
        if found.run_id:
            self._project.settle_files(found.run_id)

    def _refuse_changed(self, look: Look, request: Request, now: Manifest) -> None:
        if now.checksum == request.checksum:
            return
        name, number = look.view.model.name, request.event.version
        raise PromotionRefusedError(
            f"The files of {name} version {number} are not those that {request.by.name} asked for: "
            f"{Mirror(self._project, look.book.kept).changes(request.checksum, now)}.",
            f"see why they changed, then ask again: holdfast models request {name} {number}",
        )

    def _draft(self, kind: Kind, number: int, target: Stage, reason: str, checksum: str) -> Draft:
        return self._mover.histories.draft(kind, version=number, reason=reason, to_stage=target, checksum=checksum)

    def _review(self, done: Done | Look, number: int, target: Stage) -> Review:
        name = done.book.model
        event = done.event if isinstance(done, Done) else None
        return self._of(name, number, done.book.ledger.version(number).requests[target], event=event)

    def _of(self, name: str, number: int, request: Request, is_open: bool = True, event: Event | None = None) -> Review:
        return Review(
            model=name,
            version=number,
            stage=request.stage,
            by=request.by.name,
            at=request.event.at,
            reason=request.event.draft.reason,
            checksum=request.checksum,
            approved=tuple(request.approved(request.checksum)),
            needed=self._policy.approvers(request.stage),
            is_open=is_open,
            event=event,
        )


def _open_request(look: Look, number: int, target: Stage | None) -> Request:
    name = look.version(number).name
    found = look.ledger.version(number).requests
    if target is not None and target in found:
        return found[target]
    if target is None and len(found) == 1:
        return next(iter(found.values()))
    if target is None and found:
        stages = " and ".join(stage.value for stage in found)
        raise InvalidInputError(f"{name} version {number} is asked for {stages}.", "say which with --to")
    for_stage = "" if target is None else f" for {target.value}"
    raise RegistryError(
        f"Nobody has asked{for_stage} for {name} version {number}, or it was answered.",
        f"holdfast models request {name} {number}; see what is open with `holdfast models requests {name}`",
    )


def _refuse_own(request: Request, draft: Draft) -> None:
    if request.is_from(draft.actor.name):
        raise PromotionRefusedError(
            f"{draft.actor.name} asked for it, and nobody approves a request of one's own.",
            "have somebody else approve it; if you are not who asked, set HOLDFAST_USER to who you are",
        )


def _has_approved(request: Request, name: str) -> bool:
    return any(is_same_person(other, name) for other in request.approved(request.checksum))
