"""Moving a version from one stage to another: decide, record, then write it where it shows.

The event is the decision: it is written by compare-and-set at the end of the history that the decision was made on.
Of many who promote at once one gets through, and the others look and decide again on what is so by then. What is
written after the event only carries it out (`registry.changes.in_step`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from holdfast.backend.entities import ModelVersion, RegisteredModel
from holdfast.core.dice import draw
from holdfast.core.history import Draft, Event
from holdfast.core.ledger import Ledger
from holdfast.core.stages import Stage
from holdfast.errors import BackendError, HoldfastError, InvalidInputError, NotFoundError, RegistryError
from holdfast.logs import get_logger
from holdfast.project import Project
from holdfast.registry.changes.in_step import Difference, View, differences, of_event, unfinished, write
from holdfast.registry.history.book import Book, Histories, is_anew
from holdfast.registry.history.mirror import Mirror
from holdfast.registry.history.outbox import Outbox

_log = get_logger(__name__)
_TRIES = 400
_LONGEST_PAUSE_S = 0.5
_CARRIED_OUT_IN_S = 5
_PROMPT_TAG = "mlflow.prompt.is_prompt"


@dataclass(frozen=True)
class Look:
    """A model as it was seen: its history first, then the registry, so that the registry is at least as new."""

    book: Book
    view: View

    @property
    def ledger(self) -> Ledger:
        """What the history says is so."""
        return self.book.ledger

    def version(self, number: int) -> ModelVersion:
        """Return a version.

        Raises:
            NotFoundError: There is none (any more).
        """
        if number not in self.view.versions:
            name = self.view.model.name
            raise NotFoundError(
                f"Model {name!r} has no version {number}.", f"see its versions with `holdfast models show {name}`"
            )
        return self.view.versions[number]


@dataclass(frozen=True)
class Done:
    """What a change did.

    Attributes:
        event: As it stands in the history.
        book: The history with it.
        view: The registry as it was before.
        elsewhere: Places that somebody changed by hand, and that were left as they are.
    """

    event: Event
    book: Book
    view: View
    elsewhere: tuple[Difference, ...]


class Mover:
    """Makes changes to a project's registered models, one event each.

    Args:
        project: Whose registry.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self.histories = Histories(project)
        self._outbox = Outbox(project)

    def look(self, name: str) -> Look:
        """Read a model's history, begun where there is none, and its versions; three requests.

        Raises:
            NotFoundError: There is no such model.
            HistoryError: Its history cannot be had, or is damaged.
        """
        model = self.model(name)
        book = self.histories.open(model)
        return Look(book, self._view(model))

    def peek(self, name: str) -> Look:
        """Read the same, and write nothing: a model without a history gets one that only this look has."""
        model = self.model(name)
        book = self.histories.find(model)
        view = self._view(model)
        if book is None or not book.events or is_anew(model, book):
            book = self.histories.imagine(model, view.versions)
        return Look(book, view)

    def model(self, name: str) -> RegisteredModel:
        """Return the registered model; one request.

        Raises:
            NotFoundError: There is none.
            InvalidInputError: It is one of MLflow's prompts, which are kept among the models.
        """
        found = self._project.models.find_model(name)
        if found is None:
            raise NotFoundError(f"There is no registered model {name!r}.", "see `holdfast models list`")
        if found.tags.get(_PROMPT_TAG, "").lower() == "true":
            raise InvalidInputError(f"{name!r} is a prompt, not a model.", "see `holdfast models list`")
        return found

    def _view(self, model: RegisteredModel) -> View:
        models = self._project.models
        return View(model, {item.version: item for item in models.versions_of(model)}, models.may_have_stages)

    def change(self, name: str, decide: Callable[[Look], Draft | None]) -> Done | Look:
        """Append an event and carry it out.

        Args:
            name: The registered model.
            decide: Given what is so, returns the event that shall follow, or None where it is so already; raises
                where it may not be. It is asked again where somebody else got in between.

        Returns:
            What was done; or the look, where nothing was to be done.

        Raises:
            HoldfastError: What `decide` raises; or the registry is out of reach. An event that is in the history by
                then is carried out by the next call.
        """
        for turn in range(_TRIES):
            look = self.settled(name)
            draft = decide(look)
            if draft is None:
                return look
            self._outbox.begin(name, look.book.kept)
            book = self.histories.append(look.book, draft)
            if book is not None:
                return self._carry_out(look, book, alone=turn > 0)
            # The more have tried, the longer each waits, so that one gets through.
            time.sleep(draw(0, min(_LONGEST_PAUSE_S, 0.01 * 2 ** min(turn, 6))))
        raise RegistryError(f"Others keep changing {name!r}.", "try again", retryable=True)

    def settled(self, name: str) -> Look:
        """Look, and finish what others left half-done; look again after it, since they may have gone on meanwhile."""
        look, before = self.look(name), None
        while (done := self.finish(look)) and done != before:
            look, before = self.look(name), done
        return look

    def finish(self, look: Look) -> list[Difference]:
        """Finish a change that somebody did not come to the end of; return what was written."""
        left = unfinished(look.book.events, differences(look.ledger, look.view))
        if not left:
            return []
        if _is_old(look.book):
            places = [str(item) for item in left[:5]]
            _log.warning("finishing a change that was cut short", model=look.view.model.name, places=places)
        # Whoever stopped short of the registry may have stopped short of the copy.
        Mirror(self._project, look.book.kept).catch_up()
        return write(self._project.models, look.view.model.name, left, alone=True)

    def _carry_out(self, look: Look, book: Book, alone: bool) -> Done:
        event = book.events[-1]
        name = look.view.model.name
        forced = of_event(event, look.ledger, book.ledger, look.view)
        own = {(item.version, item.place) for item in forced}
        rest = [item for item in differences(book.ledger, look.view) if (item.version, item.place) not in own]
        ours = {*unfinished(book.events, rest), *(item for item in rest if _concerns(item, event.draft.to_stage))}
        try:
            write(self._project.models, name, [*forced, *ours], alone)
            self.catch_up(book)
        except BackendError as error:
            raise _cut_short(error, name, event) from None
        self._outbox.deliver(name, book.kept.run_id)
        return Done(event, book, look.view, tuple(item for item in rest if item not in ours))

    def catch_up(self, book: Book) -> None:
        """Write again, as long as others have gone on: what was written here may have gone over theirs."""
        known = len(book.events)
        for _ in range(_TRIES):
            kept = self._project.histories.read(book.kept.run_id)
            if len(kept.texts) == known:
                return
            look = self.look(book.model)
            known = len(look.book.events)
            self.finish(look)


def _is_old(book: Book) -> bool:
    """Whether whoever wrote the last event had the time to carry it out."""
    if book.last is None:
        return False
    return datetime.now(UTC) - datetime.fromisoformat(book.last.at) > timedelta(seconds=_CARRIED_OUT_IN_S)


def _concerns(item: Difference, target: Stage | None) -> bool:
    if target is None or not target.holds_one:
        return False
    return item.place == f"alias {target.alias}" or target.value in (item.found, item.should)


def _cut_short(error: HoldfastError, name: str, event: Event) -> HoldfastError:
    return type(error)(
        f"It is decided and recorded (event {event.number} of {name!r}), and not all of it could be carried out: "
        f"{error.message}",
        f"holdfast models repair {name}",
        error.retryable,
    )
