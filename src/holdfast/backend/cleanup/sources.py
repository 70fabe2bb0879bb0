"""What registered versions come from: a source may be an address, a run's, a model's, or another version's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from holdfast.backend.cleanup.store import PlaceOf
from holdfast.core.cleanup.records import VersionRecord

_OF_RUN = re.compile(r"runs:/+(?P<run>[^/]+)/*(?P<path>.*)", re.DOTALL)
_OF_MODEL = re.compile(r"models:/+(?P<name>[^/@]+)(?:@(?P<alias>.+)|/+(?P<which>[^/]+))?.*", re.DOTALL)


@dataclass(frozen=True)
class VersionRow:
    """A registered version as a registry has it.

    Attributes:
        name: Of the model.
        version: Its number.
        addresses: What it says of where its files are: its source, and where that was when it was registered.
        run_id: The run that it names.
        stage: Its stage.
        aliases: What points to it.
        workspace: The workspace of the model, where there are any.
    """

    name: str
    version: int
    addresses: tuple[str, ...]
    run_id: str = ""
    stage: str = ""
    aliases: tuple[str, ...] = ()
    workspace: str = ""


@dataclass
class _Origin:
    """What one version comes from, in the order found; dicts, for they are sets that keep it."""

    runs: dict[str, None] = field(default_factory=dict)
    models: dict[str, None] = field(default_factory=dict)
    places: dict[str, None] = field(default_factory=dict)


def records_of(rows: Sequence[VersionRow], place_of: PlaceOf, places_of_runs: Mapping[str, str]) -> list[VersionRecord]:
    """Return the versions with all that they come from; sources that name other versions are followed to their ends.

    Args:
        rows: All versions of a registry.
        place_of: Makes a place of an address.
        places_of_runs: Where the files of the runs lie that `runs:/…` may name.

    Returns:
        One record for each version, or more where it names several runs or several models.
    """
    by_name: dict[tuple[str, str], list[VersionRow]] = {}
    for row in rows:
        by_name.setdefault((row.workspace, row.name), []).append(row)
    found: list[VersionRecord] = []
    for row in rows:
        origin = _origin(row, by_name, place_of, places_of_runs)
        places = tuple(origin.places)
        for run_id, model_id in list(zip_longest(origin.runs, origin.models, fillvalue="")) or [("", "")]:
            found.append(VersionRecord(row.name, row.version, places, run_id, model_id, row.stage, row.aliases))
    return found


def _origin(
    row: VersionRow,
    by_name: Mapping[tuple[str, str], list[VersionRow]],
    place_of: PlaceOf,
    places_of_runs: Mapping[str, str],
) -> _Origin:
    origin, waiting, seen = _Origin(), [row], {(row.name, row.version)}
    while waiting:
        here = waiting.pop()
        if here.run_id:
            origin.runs[here.run_id] = None
        for address in here.addresses:
            others = _enter(address, origin, by_name, here.workspace, place_of, places_of_runs)
            new = [other for other in others if (other.name, other.version) not in seen]
            seen.update((other.name, other.version) for other in new)
            waiting += new
    return origin


def _enter(
    address: str,
    origin: _Origin,
    by_name: Mapping[tuple[str, str], list[VersionRow]],
    workspace: str,
    place_of: PlaceOf,
    places_of_runs: Mapping[str, str],
) -> list[VersionRow]:
    """Note what an address names, and return the other versions that it names."""
    of_run, of_model = _OF_RUN.fullmatch(address), _OF_MODEL.fullmatch(address)
    if of_run:
        origin.runs[of_run["run"]] = None
        place = places_of_runs.get(of_run["run"])
        if place:
            origin.places[f"{place}/{of_run['path']}".rstrip("/")] = None
    elif of_model:
        others = by_name.get((workspace, of_model["name"]))
        if others is not None and (of_model["alias"] or of_model["which"]):
            return list(_named(others, of_model["alias"], of_model["which"]))
        if not of_model["alias"]:
            origin.models[of_model["name"]] = None
    elif address:
        origin.places[place_of(address)] = None
    return []


def _named(others: Sequence[VersionRow], alias: str | None, which: str | None) -> Iterator[VersionRow]:
    if alias:
        return (row for row in others if alias in row.aliases)
    wanted = (which or "").lower()
    if wanted == "latest":
        return iter([max(others, key=lambda row: row.version)])
    return (row for row in others if wanted in (str(row.version), row.stage.lower()))


def merged(records: Iterable[VersionRecord]) -> tuple[VersionRecord, ...]:
    """Return records of several registries, those of one version joined where they do not contradict each other."""
    found: dict[tuple[str, int], list[VersionRecord]] = {}
    for record in records:
        known = found.setdefault((record.name, record.version), [])
        fitting = next((number for number, other in enumerate(known) if _fit(record, other)), None)
        if fitting is None:
            known.append(record)
        else:
            known[fitting] = _joined(known[fitting], record)
    return tuple(record for known in found.values() for record in known)


def _fit(one: VersionRecord, other: VersionRecord) -> bool:
    pairs = ((one.run_id, other.run_id), (one.model_id, other.model_id))
    return all(not (mine and theirs) or mine == theirs for mine, theirs in pairs)


def _joined(one: VersionRecord, other: VersionRecord) -> VersionRecord:
    return replace(
        one,
        places=tuple(dict.fromkeys(one.places + other.places)),
        run_id=one.run_id or other.run_id,
        model_id=one.model_id or other.model_id,
        stage=one.stage or other.stage,
        aliases=tuple(sorted({*one.aliases, *other.aliases})),
    )
