"""What the histories of registered models still need: rollback targets, what waits for approval, versions they name."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from holdfast.artifacts.team import in_parallel
from holdfast.backend.cleanup.sources import VersionRow, records_of
from holdfast.backend.cleanup.store import PlaceOf
from holdfast.backend.entities import RegisteredModel
from holdfast.backend.history import HISTORY_TAG
from holdfast.core.cleanup.records import Need, State, VersionRecord
from holdfast.core.history import Kind
from holdfast.core.ledger import Ledger
from holdfast.errors import BackendUnavailableError, HistoryError, HoldfastError
from holdfast.maintenance.troubles import Trouble, trouble_of
from holdfast.project import Project
from holdfast.registry.history.book import Book, Histories
from holdfast.registry.history.export import gaps

_THREADS = 8


@dataclass(frozen=True)
class Found:
    """What the histories need.

    Attributes:
        needs: The needs.
        troubles: The histories that cannot be read; all that their models' versions name is among the needs.
    """

    needs: tuple[Need, ...] = ()
    troubles: tuple[Trouble, ...] = ()


def needs_of_histories(project: Project, state: State, place_of: PlaceOf) -> Found:
    """Return what the histories of registered models need that are there.

    Args:
        project: Whose registry.
        state: What was read of it.
        place_of: Makes a place of an address.

    Raises:
        BackendError: The registry cannot be asked for its models, or is out of reach.
    """
    models = _with_histories(project)
    reader = _Reader(Histories(project), state, place_of)
    tasks = (partial(reader.read, model) for model in models)
    parts = in_parallel(tasks, min(_THREADS, len(models)) or 1, threading.Event())
    return Found(
        tuple(need for part in parts for need in part.needs),
        tuple(trouble for part in parts for trouble in part.troubles),
    )


def _with_histories(project: Project) -> Sequence[RegisteredModel]:
    models = project.models.models()
    if not models or any(model.tags.get(HISTORY_TAG) for model in models):
        return models
    # Somebody may have removed the tags: then there are histories, and the index tells whose.
    return models if project.histories.artifact_uri_of("any") is not None else ()


class _Reader:
    def __init__(self, histories: Histories, state: State, place_of: PlaceOf) -> None:
        self._histories = histories
        self._place_of = place_of
        self._versions: dict[str, list[VersionRecord]] = {}
        for version in state.versions:
            self._versions.setdefault(version.name, []).append(version)
        self._run_places = {run.run_id: run.place for run in state.runs}

    def read(self, model: RegisteredModel) -> Found:
        versions = self._versions.get(model.name, [])
        try:
            book = self._histories.find(model)
            return Found() if book is None else Found(tuple(self._needs(model.name, book, versions)))
        except BackendUnavailableError:
            raise
        except HoldfastError as error:
            kept = (need for version in versions for need in _all_of(version, _UNREADABLE.format(name=model.name)))
            return Found(tuple(kept), (trouble_of(f"history of {model.name}", error),))

    def _needs(self, name: str, book: Book, versions: Sequence[VersionRecord]) -> Iterator[Need]:
        ledger = _ledger_of(book)
        registered = {version.version for version in versions}
        recorded = self._recorded(name, book)
        for number, record in sorted(ledger.versions.items()):
            reasons = list(_reasons(name, number, ledger))
            if number not in registered and not record.is_deleted:
                reasons.append(_STILL_NAMED.format(name=name, number=number))
            sources = [version for version in (*versions, *recorded) if version.version == number]
            for why in () if record.is_deleted else reasons:
                for source in sources:
                    yield from _all_of(source, why)

    def _recorded(self, name: str, book: Book) -> list[VersionRecord]:
        """Return the versions as they were when they were registered."""
        rows = []
        for event in book.events:
            if event.kind is Kind.REGISTERED:
                details = event.draft.details
                source, run_id = str(details.get("source") or ""), str(details.get("run_id") or "")
                rows.append(VersionRow(name, event.version or 0, (source,) if source else (), run_id))
        return records_of(rows, self._place_of, self._run_places)


_UNREADABLE = "the history of {name}, which cannot be read,"
_STILL_NAMED = "the history of {name}, which still has version {number} (`holdfast models repair {name}`),"


def _ledger_of(book: Book) -> Ledger:
    missing = gaps(book.kept)
    if missing:
        raise HistoryError(f"It is damaged: {missing[0]}.", f"holdfast models audit {book.model}")
    try:
        return book.ledger
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HistoryError(
            f"It is damaged: it says what no history says ({type(error).__name__}).",
            f"holdfast models audit {book.model}",
        ) from None


def _reasons(name: str, number: int, ledger: Ledger) -> Iterator[str]:
    if number == ledger.rollback_target:
        yield f"the way back of {name} to version {number} (rollback target)"
    for stage in ledger.version(number).requests:
        yield f"the open request for approval of {name} version {number} in {stage.value}"


def _all_of(version: VersionRecord, why: str) -> Iterator[Need]:
    yield Need(why, run_id=version.run_id, model_id=version.model_id)
    for place in version.places:
        yield Need(why, place=place)
