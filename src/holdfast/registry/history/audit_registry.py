"""Is the registry what the history says, and are the files those that were registered?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from holdfast.backend.entities import ModelVersion, RegisteredModel
from holdfast.backend.model_places import place_of_version
from holdfast.core.history import Event, Kind
from holdfast.core.ledger import Ledger
from holdfast.core.stages import Stage
from holdfast.errors import HoldfastError
from holdfast.project import Project
from holdfast.registry.changes.in_step import Difference, View, differences, unfinished
from holdfast.registry.checksums import measure
from holdfast.registry.history.mirror import Mirror
from holdfast.registry.history.problem import Problem


def against_registry(
    project: Project, model: RegisteredModel, events: Sequence[Event], ledger: Ledger
) -> list[Problem]:
    """Return what the registry shows and the history does not say, or the other way round.

    Args:
        project: Whose registry.
        model: As it was looked up, after the history was read.
        events: The history.
        ledger: What it says is so.
    """
    versions = {item.version: item for item in project.models.versions_of(model)}
    found = differences(ledger, View(model, versions, project.models.has_stages(model.name)))
    halves = set(unfinished(events, found))
    repair = f"holdfast models repair {model.name}"
    return [
        *(Problem("registry", f"{item}{_how(item in halves)}", repair) for item in found),
        *(Problem("registry", said, repair) for said in _of_versions(versions, events, ledger, found)),
        *(Problem("registry", said, repair) for said in _of_aliases(model, ledger)),
    ]


def _how(is_half: bool) -> str:
    return " (a change was cut short, or undone by hand)" if is_half else " (changed around Holdfast)"


def _of_versions(
    versions: dict[int, ModelVersion], events: Sequence[Event], ledger: Ledger, found: Sequence[Difference]
) -> list[str]:
    told = {item.version for item in found if item.place == "version"}
    # What was there when the registry was taken as it was, or was spoken of since, is known.
    adopted = [event for event in events if event.kind is Kind.ADOPTED]
    begun_ms = datetime.fromisoformat(adopted[-1].at).timestamp() * 1000 if adopted else 0.0
    around = [
        number
        for number, item in sorted(versions.items())
        if item.created_ms > begun_ms and number not in ledger.versions
    ]
    gone = [
        number
        for number, record in sorted(ledger.versions.items())
        if record.is_registered and not record.is_deleted and number not in versions
    ]
    return [
        *(f"version {number} was registered around Holdfast, or its registration was cut short" for number in around),
        *(f"version {number} was deleted around Holdfast" for number in gone if number not in told),
    ]


def _of_aliases(model: RegisteredModel, ledger: Ledger) -> list[str]:
    known = {"production", "staging", *ledger.aliases}
    around = sorted(item for item in model.aliases.items() if item[0] not in known)
    return [f"alias {alias} was set to version {number} around Holdfast" for alias, number in around]


def of_files(
    project: Project, model: RegisteredModel, ledger: Ledger, mirror: Mirror, all_files: bool
) -> tuple[list[Problem], list[str]]:
    """Read files, and compare their checksums with those in the history.

    Args:
        project: With whose keys.
        model: The registered model.
        ledger: What the history says.
        mirror: Has the lists of files, to say which have changed.
        all_files: Whether of all versions, or of Production's alone.

    Returns:
        What is wrong, and which versions nobody ever measured.
    """
    present = ledger.holder(Stage.PRODUCTION)
    known = sorted(number for number, record in ledger.versions.items() if not record.is_deleted)
    numbers = known if all_files else [number for number in (present,) if number is not None]
    problems: list[Problem] = []
    notes: list[str] = []
    for number in numbers:
        checksum = ledger.version(number).checksum
        if not checksum:
            notes.append(f"nobody recorded the checksum of version {number}, so its files cannot be judged")
        elif said := _changed(project, model.name, number, checksum, mirror):
            problems.append(
                Problem("files", said, f"restore them, or roll back: holdfast models rollback {model.name}")
            )
    return problems, notes


def _changed(project: Project, name: str, number: int, checksum: str, mirror: Mirror) -> str:
    try:
        now = measure(project, place_of_version(project.connection, name, number))
    except HoldfastError as error:
        return f"the files of version {number} cannot be read: {error.message}"
    if now.checksum == checksum:
        return ""
    return f"the files of version {number} are not those that were registered: {mirror.changes(checksum, now)}"
