"""A history for reading elsewhere: whole as JSON, as it is hashed, and as CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from holdfast.backend.entities import RegisteredModel
from holdfast.backend.history import HISTORY_TAG, HistoryRun
from holdfast.core.history import Event, Kind, broken_links, read_event
from holdfast.core.names import check_model_name
from holdfast.errors import HistoryError, InvalidInputError, NotFoundError
from holdfast.project import Project

CSV_COLUMNS = (
    *("number", "at", "kind", "version", "from", "to", "who", "host", "git", "why", "override", "archived"),
    *("checksum", "gates", "details", "model", "id", "prev", "hash"),
)
# What makes a spreadsheet take a cell for a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@dataclass(frozen=True)
class Chronicle:
    """A model's history as it is kept, whether it is whole or not.

    Attributes:
        model: The registered model.
        texts: The events, word for word, in order.
        problems: Where the chain is broken; empty where it is whole.
    """

    model: str
    texts: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def events(self) -> tuple[Event, ...]:
        """The events that can be read."""
        return tuple(event for text in self.texts if (event := _read(text)) is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON: every event with every field that its hash covers."""
        found = [_fields_of(text) for text in self.texts]
        return {
            "model": self.model,
            "verified": not self.problems,
            "problems": list(self.problems),
            "events": found,
        }


def read_history(project: Project, name: str) -> Chronicle:
    """Read a model's history, and verify its chain; nothing is written.

    Raises:
        NotFoundError: There is no such model.
        HistoryError: Its history is gone.
    """
    model = find_registered(project, name)
    kept = kept_history(project, model)
    if kept is None:
        return Chronicle(name, (), ())
    return Chronicle(name, kept.texts, (*broken_links(kept.texts), *gaps(kept)))


def find_registered(project: Project, name: str) -> RegisteredModel:
    """Return a registered model.

    Raises:
        NotFoundError: There is none.
    """
    found = project.models.find_model(check_model_name(name))
    if found is None:
        raise NotFoundError(f"There is no registered model {name!r}.", "see `holdfast models list`")
    return found


def kept_history(project: Project, model: RegisteredModel) -> HistoryRun | None:
    """Return what the registry keeps of a model's history, unread and unverified; None where it has none.

    Raises:
        HistoryError: The model names a history that is gone.
    """
    run_id = model.tags.get(HISTORY_TAG) or project.histories.find(model.name)
    if run_id is None:
        return None
    try:
        return project.histories.read(run_id)
    except NotFoundError:
        raise HistoryError(
            f"The history of {model.name!r} is gone: its run {run_id} does not exist.",
            f"bring it back from its copy in the artifact store: holdfast models repair {model.name}",
        ) from None


def gaps(kept: HistoryRun) -> list[str]:
    """Say which events are missing before others that are there."""
    if not kept.beyond:
        return []
    there = set(kept.beyond)
    missing = [number for number in range(len(kept.texts) + 1, max(there)) if number not in there]
    return [f"event {number} is missing, and later ones are there" for number in missing]


def select(
    events: Iterable[Event],
    version: int | None = None,
    kinds: Sequence[Kind] = (),
    since: datetime | None = None,
    limit: int | None = None,
) -> list[Event]:
    """Return the events that are meant, the newest first.

    Args:
        events: In order.
        version: Those of one version, those that archived it too.
        kinds: Of these kinds; empty for all.
        since: Not older than this.
        limit: So many at most.
    """
    found = [
        event
        for event in events
        if (version is None or version == event.version or version in event.draft.archived)
        and (not kinds or event.kind in kinds)
        and (since is None or datetime.fromisoformat(event.at) >= since)
    ]
    return found[::-1][:limit]


def parse_kind(word: str) -> Kind:
    """Return the kind of event that a word names: `rolled back`, `rolled-back` or `rolled_back`.

    Raises:
        InvalidInputError: There is no such kind.
    """
    plain = " ".join(word.replace("-", " ").replace("_", " ").lower().split())
    try:
        return Kind(plain)
    except ValueError:
        known = ", ".join(kind.value for kind in Kind)
        raise InvalidInputError(f"{word!r} is no kind of event.", f"write one of {known}") from None


def parse_since(text: str) -> datetime:
    """Return a moment from `2026-01-31`, with a time or without; UTC where it does not say.

    Raises:
        InvalidInputError: It is none.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidInputError(f"{text!r} is no date.", "write 2026-01-31 or 2026-01-31T12:00") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def to_csv(events: Iterable[Event]) -> str:
    """Return events as CSV with the columns of `CSV_COLUMNS`, for spreadsheets.

    A cell that a spreadsheet would take for a formula begins with an apostrophe, so that what somebody wrote as a
    reason is not run by whoever opens the file. For the words as they were hashed, take JSON.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)  # a lone carriage return, too
    writer.writerow(CSV_COLUMNS)
    for event in events:
        row = _row(event)
        writer.writerow([_neutral(row.get(column, "")) for column in CSV_COLUMNS])
    return out.getvalue()


def _row(event: Event) -> dict[str, str]:
    fields, who = event.to_dict(), event.to_dict()["who"]
    details = dict(fields.get("details", {}))
    texts = {key: str(value) for key, value in fields.items() if isinstance(value, str | int)}
    return {
        **texts,
        "who": who["name"],
        "host": who.get("host", ""),
        "git": who.get("git", ""),
        "override": str(details.pop("override", "")),
        "archived": " ".join(str(number) for number in event.draft.archived),
        "gates": "; ".join(
            f"{'passed' if gate.passed else 'refused'}: {gate.check} ({gate.reason})" for gate in event.draft.gates
        ),
        "details": json.dumps(details, sort_keys=True) if details else "",
    }


def _neutral(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _read(text: str) -> Event | None:
    try:
        return read_event(text)
    except HistoryError:
        return None


def _fields_of(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {"unreadable": text[:200]}


def events_of(project: Project, name: str) -> tuple[Event, ...]:
    """Return a model's events, in order; see `ModelRegistry.history`."""
    chronicle = read_history(project, name)
    if chronicle.problems:
        raise HistoryError(
            f"The history of {name!r} is damaged: {chronicle.problems[0]}.", f"holdfast models audit {name}"
        )
    return chronicle.events
