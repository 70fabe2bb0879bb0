"""Is a model's history whole, and is the registry what it says?

Four things are compared: the chain of events in the registry, their copies in the artifact store, what the registry
shows (stages, aliases, tags, versions), and the files that are served. An event that was changed, put in or taken out
breaks the chain at its place. Somebody who writes the whole chain anew, to its end, is found by the copies; somebody
who can change both, in the database and in the bucket, is not: keep those two rights apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from holdfast.backend.entities import RegisteredModel
from holdfast.backend.history import HISTORY_TAG, HistoryRun
from holdfast.core.history import Event, broken_links, read_event
from holdfast.core.ledger import as_ranges, fold
from holdfast.core.uris import mask_uri
from holdfast.errors import HistoryError, HoldfastError, NotFoundError
from holdfast.project import Project
from holdfast.registry.history.audit_registry import against_registry, of_files
from holdfast.registry.history.book import Book, is_anew
from holdfast.registry.history.export import find_registered, gaps
from holdfast.registry.history.mirror import Mirror, in_order
from holdfast.registry.history.problem import Problem
from holdfast.registry.history.restoring import damage_of, whole_copies


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        model: The registered model.
        run_id: The run that keeps its history; empty where it has none.
        events: How many events the registry keeps.
        copies: How many the artifact store keeps.
        place: Where the copies lie.
        problems: What is wrong; empty where nothing is.
        notes: What could not be looked at, and why.
    """

    model: str
    run_id: str
    events: int
    copies: int
    place: str
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "clean": self.is_clean}


def audit(project: Project, name: str, all_files: bool = False) -> Audit:
    """Verify a model's history, its copies, the registry and the files of the present Production; nothing is written.

    Args:
        project: Whose registry.
        name: The registered model.
        all_files: Whether to read the files of all versions, not of Production's alone.

    Raises:
        NotFoundError: There is no such model.
        BackendError: The registry is out of reach.
    """
    model = find_registered(project, name)
    run_id, problems = _whose_run(project, model)
    if run_id is None:
        return Audit(name, "", 0, 0, "", tuple(problems), ("it has no history yet; the next change begins one",))
    kept, gone = _kept(project, model, run_id)
    mirror = Mirror(project, kept)
    copies, unread = _copies(mirror, name)
    problems += [*gone, *unread]
    if not unread:
        problems += _of_copies(kept.texts, copies, name, mask_uri(mirror.place))
    problems += _of_chain(kept, in_order(copies), name)
    notes: list[str] = []
    events = _believed(kept.texts, in_order(copies))
    if events is None:
        notes.append("neither the registry's events nor their copies can be read, so nothing is compared with them")
    elif is_anew(model, Book(name, kept, tuple(events))):
        # It has no tag of a history yet, which is nothing that somebody removed.
        problems = [item for item in problems if item.place != "index"] + [_made_again(name)]
    else:
        ledger = fold(events)
        problems += [*_renamed(name, events), *against_registry(project, model, events, ledger)]
        found, unmeasured = of_files(project, model, ledger, mirror, all_files)
        problems, notes = problems + found, notes + unmeasured
    return Audit(name, run_id, len(kept.texts), len(copies), mask_uri(mirror.place), tuple(problems), tuple(notes))


def _whose_run(project: Project, model: RegisteredModel) -> tuple[str | None, list[Problem]]:
    """Return the run that the model's tag names, or else the index; they must not contradict each other."""
    tag = model.tags.get(HISTORY_TAG)
    try:
        index = project.histories.find(model.name)
    except (HistoryError, NotFoundError) as error:
        return tag, [Problem("index", error.message, error.hint)]
    if tag and index and tag != index:
        said = f"the model names run {tag} as its history, the index of histories names {index}"
        return index, [Problem("index", said, f"see which is right, then set the model's tag {HISTORY_TAG}")]
    if index and not tag:
        said = f"the model's tag {HISTORY_TAG} was removed; its history is run {index}"
        return index, [Problem("index", said, f"holdfast models repair {model.name}")]
    return tag or index, []


def _kept(project: Project, model: RegisteredModel, run_id: str) -> tuple[HistoryRun, list[Problem]]:
    repair = f"holdfast models repair {model.name}"
    try:
        kept = project.histories.read(run_id)
    except NotFoundError:
        place = project.histories.artifact_uri_of(run_id) or ""
        empty = HistoryRun(run_id, place, model.name, False, (), (), {})
        return empty, [Problem("history", f"the run that keeps it, {run_id}, is gone", f"{repair} (from its copies)")]
    if kept.is_deleted:
        return kept, [Problem("history", f"the run that keeps it, {run_id}, is deleted", repair)]
    return kept, []


def _copies(mirror: Mirror, name: str) -> tuple[dict[int, str], list[Problem]]:
    try:
        return mirror.texts(), []
    except HoldfastError as error:
        return {}, [Problem("copies", error.message, error.hint or f"holdfast models audit {name}, once it is there")]


def _made_again(name: str) -> Problem:
    said = "this is another model than the history is of, made under its name when that was deleted"
    return Problem(
        "registry", f"{said}; the history begins anew with the next change", f"holdfast models repair {name}"
    )


def _renamed(name: str, events: Sequence[Event]) -> list[Problem]:
    before = events[-1].model
    if before == name:
        return []
    said = f"the model was renamed from {before!r}, which the history does not say yet"
    return [Problem("registry", said, f"holdfast models repair {name}")]


def _of_chain(kept: HistoryRun, copies: Sequence[str], name: str) -> list[Problem]:
    remedy = _remedy(kept, copies, name)
    found = [Problem("history", said, remedy) for said in (*broken_links(kept.texts), *gaps(kept))]
    first = next(iter(_readable(kept.texts[:1])), None)
    # A history that was brought back after its model was renamed is in a run begun under the new name.
    if first is not None and kept.model not in ("", first.model, name):
        said = f"run {kept.run_id} keeps the history of {kept.model!r}, and its first event is of {first.model!r}"
        found.append(Problem("history", said, remedy))
    return found


def _remedy(kept: HistoryRun, copies: Sequence[str], name: str) -> str:
    """Return what mends a chain that is broken."""
    repair = f"holdfast models repair {name}"
    if not damage_of(kept, copies) or whole_copies(kept, copies):
        return repair
    return f"restore the database or the copies from a backup; or begin a new history: {repair} --begin-anew"


def _of_copies(texts: Sequence[str], copies: Mapping[int, str], name: str, place: str) -> Iterator[Problem]:
    repair = f"holdfast models repair {name}"
    missing = [number for number in range(1, len(texts) + 1) if number not in copies]
    if missing:
        how_many = "all copies are" if len(missing) == len(texts) else _named("copy", "copies", missing)
        yield Problem("copies", f"{how_many} missing at {place}", repair)
    extra = [number for number in copies if number > len(texts)]
    if extra:
        yield Problem("history", f"{_named('event', 'events', extra)} missing in the registry, and copied", repair)
    differing = [number for number, text in enumerate(texts, 1) if copies.get(number, text) != text]
    if differing:
        yield _differing(texts, copies, differing, name, place)


def _differing(texts: Sequence[str], copies: Mapping[int, str], numbers: list[int], name: str, place: str) -> Problem:
    which = f"{', '.join(f'event {number}' for number in numbers[:5])}{' …' if len(numbers) > 5 else ''}"
    of_registry, of_copies = broken_links(texts), broken_links(in_order(copies))
    if of_registry and not of_copies:
        said = "the registry's words are not those of the copies, which are whole"
        return Problem("history", f"{which}: {said}", f"holdfast models repair {name}")
    if of_copies and not of_registry:
        remedy = f"see who changed {place}; delete the copies that were changed, then holdfast models repair {name}"
        return Problem("copies", f"{which}: the copies are not the registry's words, which are whole", remedy)
    said = "each of the two is broken" if of_registry else "each of the two is a whole chain, and one was made up"
    return Problem(
        "history", f"{which}: registry and copies differ; {said}", f"compare them with a backup; see {place}"
    )


def _named(one: str, many: str, numbers: Sequence[int]) -> str:
    return f"{one} {numbers[0]} is" if len(numbers) == 1 else f"{many} {as_ranges(numbers)} are"


def _believed(texts: Sequence[str], copies: Sequence[str]) -> list[Event] | None:
    """Return the events to compare the registry with: the longest whole chain; else those of the registry."""
    whole = [chain for chain in (texts, copies) if chain and not broken_links(chain)]
    chosen = max(whole, key=len) if whole else texts
    events = _readable(chosen)
    return events if events and len(events) == len(chosen) else None


def _readable(texts: Sequence[str]) -> list[Event]:
    found = []
    for text in texts:
        try:
            found.append(read_event(text))
        except HistoryError:
            continue
    return found
