"""Reading and writing a model's history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from holdfast.backend.entities import ModelVersion, RegisteredModel
from holdfast.backend.history import EXPERIMENT, HISTORY_TAG, HistoryRun
from holdfast.core.history import Draft, Event, Kind, broken_links, make_event, read_event
from holdfast.core.ledger import Ledger, fold
from holdfast.errors import HistoryError, NotFoundError
from holdfast.project import Project
from holdfast.registry.hiding import hide, hide_tags
from holdfast.registry.history.actors import actor_of
from holdfast.registry.history.adopting import adoption, why_adopted
from holdfast.registry.history.export import gaps
from holdfast.registry.history.mirror import Mirror

_ADDRESSES = ("source", "run_id", "checksum")


@dataclass(frozen=True)
class Book:
    """A model's history as it was read at one moment.

    Attributes:
        model: The registered model's name now.
        kept: What is kept in the registry.
        events: The same, parsed, in order.
    """

    model: str
    kept: HistoryRun
    events: tuple[Event, ...]

    @property
    def last(self) -> Event | None:
        """The newest event."""
        return self.events[-1] if self.events else None

    @cached_property
    def ledger(self) -> Ledger:
        """What the history says is so."""
        return fold(self.events)

    def with_event(self, event: Event) -> Book:
        """Return the book with one more event at its end."""
        texts = (*self.kept.texts, event.to_json())
        kept = HistoryRun(**{**self.kept.__dict__, "texts": texts})
        return Book(self.model, kept, (*self.events, event))


class Histories:
    """The histories of a project's registered models.

    Args:
        project: Whose registry.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._runs: dict[str, str] = {}
        # Of each history's run the last event whose copy this process has seen to.
        self._mirrored: dict[str, int] = {}

    def find(self, model: RegisteredModel) -> Book | None:
        """Return a model's history, or None where it has none. One request, where its run is known from a tag.

        Raises:
            HistoryError: It is kept nowhere any more, though the model names it; or it is damaged.
        """
        run_id = model.tags.get(HISTORY_TAG) or self._runs.get(model.name) or self._project.histories.find(model.name)
        return None if run_id is None else self._read(model, run_id)

    def open(self, model: RegisteredModel, versions: Mapping[int, ModelVersion] | None = None) -> Book:
        """Return a model's history; one that has none begins with the registry as it is.

        Args:
            model: The registered model.
            versions: Its versions, where they are known; else they are read where they are needed.

        Raises:
            HistoryError: It cannot be had, or is damaged: nothing is added to a broken chain.
        """
        book = self.find(model)
        if book is None or not book.events or is_anew(model, book):
            book = self._begin(model, versions)
        elif not model.tags.get(HISTORY_TAG):  # somebody removed it; without it each look takes two requests more
            self._project.models.set_model_tag(model.name, HISTORY_TAG, book.kept.run_id)
        self._runs[model.name] = book.kept.run_id
        return book

    def imagine(self, model: RegisteredModel, versions: Mapping[int, ModelVersion]) -> Book:
        """Return the history that a model without one would begin with; nothing is written."""
        event = make_event(self._adoption(model, versions), model.name, None)
        return Book(model.name, HistoryRun("", "", model.name, False, (event.to_json(),), (), {}), (event,))

    def append(self, book: Book, draft: Draft) -> Book | None:
        """Write the next event: in the registry, then in the artifact store.

        Returns:
            The book with it; None where somebody else wrote theirs meanwhile, and the book is to be read again.

        Raises:
            HistoryError: The chain is broken, and nothing is added to it.
            BackendError: The registry is out of reach; the event may be written or not.
        """
        check_whole(book)
        event = make_event(_redacted(_told_of_renaming(draft, book), self._project), book.model, book.last)
        if not self._project.histories.append(book.kept.run_id, event.number, event.to_json()):
            return None
        now = book.with_event(event)
        self._mirror(now, event, book.last)
        return now

    def _mirror(self, now: Book, event: Event, before: Event | None) -> None:
        run_id = now.kept.run_id
        is_seen_to = before is not None and self._mirrored.get(run_id) == before.number
        if Mirror(self._project, now.kept).put(event, None if is_seen_to else before):
            self._mirrored[run_id] = event.number

    def draft(self, kind: Kind, **fields: Any) -> Draft:
        """Return an event's draft by who is at work here."""
        return Draft(kind=kind, actor=actor_of(self._project.settings), **fields)

    def _read(self, model: RegisteredModel, run_id: str) -> Book:
        try:
            kept = self._project.histories.read(run_id)
        except NotFoundError:
            raise HistoryError(
                f"The history of {model.name!r} is gone: its run {run_id} in experiment {EXPERIMENT!r} does not exist.",
                f"bring it back from its copy in the artifact store: holdfast models repair {model.name}",
            ) from None
        return Book(model.name, kept, tuple(read_event(text) for text in kept.texts))

    def _begin(self, model: RegisteredModel, versions: Mapping[int, ModelVersion] | None) -> Book:
        run_id = self._run_for(model)
        if model.tags.get(HISTORY_TAG) != run_id:
            self._project.models.set_model_tag(model.name, HISTORY_TAG, run_id)
        found = versions if versions is not None else {v.version: v for v in self._project.models.versions_of(model)}
        for _ in range(100):
            book = self._read(model, run_id)
            if book.events and not is_anew(model, book):
                return book
            draft = self._adoption(model, found, is_made_again=bool(book.events))
            adopted = self.append(book, draft)
            if adopted is not None:
                return adopted
        raise HistoryError(f"Others keep writing the history of {model.name!r}.", "try again", retryable=True)

    def _run_for(self, model: RegisteredModel) -> str:
        """Return the run for a model's history; a name may be a second model's, whose first was renamed."""
        location = self._project.artifact_location(EXPERIMENT)
        run_id = self._project.histories.begin(model.name, location)
        others = [other for other in self._project.models.models_with_tag(HISTORY_TAG, run_id) if other != model.name]
        return self._project.histories.begin(model.name, location, taken=run_id) if others else run_id

    def _adoption(
        self, model: RegisteredModel, versions: Mapping[int, ModelVersion], is_made_again: bool = False
    ) -> Draft:
        details = adoption(model, versions)
        return self.draft(Kind.ADOPTED, reason=why_adopted(details, is_made_again), details=details)


def check_whole(book: Book) -> None:
    """Check the chain; some 45 ms for a thousand events.

    Raises:
        HistoryError: It is broken, or events are missing in it.
    """
    problems = [*gaps(book.kept), *broken_links(book.kept.texts)]
    if problems:
        raise HistoryError(
            f"The history of {book.model!r} is damaged: {problems[0]}.", f"holdfast models audit {book.model}"
        )


def is_anew(model: RegisteredModel, book: Book) -> bool:
    """Whether the registered model is another one than the history was last begun for: made again under its name."""
    begun = [event for event in book.events if event.draft.details.get("anew")]
    created_ms = begun[-1].draft.details.get("created_ms") if begun else None
    return bool(created_ms and model.created_ms and created_ms != model.created_ms)


def _told_of_renaming(draft: Draft, book: Book) -> Draft:
    """Return the draft, which says the name that the model had at the event before, where that was another."""
    if book.last is None or book.last.model == book.model:
        return draft
    return replace(draft, details={**draft.details, "renamed_from": book.last.model})


def _redacted(draft: Draft, project: Project) -> Draft:
    gates = tuple(
        replace(gate, check=project.redact(gate.check), reason=hide(project, gate.reason)) for gate in draft.gates
    )
    return replace(draft, reason=hide(project, draft.reason), gates=gates, details=_hidden(draft.details, project))


def _hidden(value: Any, project: Project) -> Any:
    if isinstance(value, str):
        return hide(project, value)
    if isinstance(value, Mapping):
        return {str(key): _hidden_item(str(key), item, project) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(item, project) for item in value]
    return value


def _hidden_item(key: str, value: Any, project: Project) -> Any:
    if not isinstance(value, str):
        return _hidden(value, project)
    # What others look for must stay as it is; a tag of a telling name (`db_password`) is hidden whole.
    return project.redact(value) if key in _ADDRESSES else hide_tags(project, {key: value})[key]
