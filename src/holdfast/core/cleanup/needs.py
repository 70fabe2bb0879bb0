"""What registered versions and other needs protect, and with which words.

A need protects whole families: of a run that is needed, all logged models and traces stay, of a logged model that is
needed the run that logged it. What lies at, above or below a place that is needed belongs to the need as well: a
version whose files lie in a run's folder needs that run, even where the registry does not say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from holdfast.core.cleanup.places import PlaceMap, is_understood, protecting
from holdfast.core.cleanup.plan import Kind
from holdfast.core.cleanup.records import State, VersionRecord
from holdfast.core.cleanup.stock import Key, Stock

_SHOWN = 3


@dataclass(frozen=True)
class Guards:
    """What is protected by name and by place.

    Attributes:
        needed: Each run, logged model, trace and experiment that is needed, with all reasons.
        places: Each place that is needed, with all reasons.
        told: What people must know: places of needs that nobody can compare with others.
    """

    needed: Mapping[Key, tuple[str, ...]] = field(default_factory=dict)
    places: PlaceMap[str] = field(default_factory=PlaceMap)
    told: tuple[str, ...] = ()


def find_guards(stock: Stock) -> Guards:
    """Return what versions and needs protect."""
    places: PlaceMap[str] = PlaceMap()
    told = []
    for place, why in _needed_places(stock):
        if not is_understood(protecting(place)):
            told.append(f"{why} says that files lie at {place!r}, which is no place that others can be compared with")
        if protecting(place):
            places.add(protecting(place), why)
    needed = _Reasons()
    for key, why in _needed_things(stock.state, stock):
        needed.add(key, why)
    for place in places:
        for _, key in stock.places.around(place):
            needed.extend(key, places.at(place))
    return Guards(_with_families(needed, stock), places, tuple(told))


def shown(reasons: Iterable[str]) -> str:
    """Return reasons for people: each once, the first few, and how many more there are."""
    all_of_them = list(dict.fromkeys(reasons))
    more = len(all_of_them) - _SHOWN
    return "; ".join(all_of_them[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def version_said(version: VersionRecord) -> str:
    """Return a version for people: `fraud version 3 (Production, alias champion)`."""
    stage = [version.stage] if version.stage and version.stage != "None" else []
    one = len(version.aliases) == 1
    aliases = [f"{'alias' if one else 'aliases'} {', '.join(version.aliases)}"] if version.aliases else []
    told = ", ".join(stage + aliases)
    return f"{version.name} version {version.version}" + (f" ({told})" if told else "")


class _Reasons:
    """Each key with its reasons, each once and in the order in which they came."""

    def __init__(self) -> None:
        self.found: dict[Key, dict[str, None]] = {}

    def add(self, key: Key, why: str) -> None:
        self.found.setdefault(key, {})[why] = None

    def extend(self, key: Key, reasons: Iterable[str]) -> None:
        self.found.setdefault(key, {}).update(dict.fromkeys(reasons))


def _needed_places(stock: Stock) -> Iterator[tuple[str, str]]:
    for version in stock.state.versions:
        for place in version.places:
            yield place, version_said(version)
    for need in stock.state.needs:
        if need.place:
            yield need.place, need.why
        experiment = stock.experiments.get(need.experiment_id)
        if experiment is not None and experiment.place:
            yield experiment.place, need.why


def _needed_things(state: State, stock: Stock) -> Iterator[tuple[Key, str]]:
    for version in state.versions:
        yield Key(Kind.RUN, version.run_id), version_said(version)
        yield Key(Kind.MODEL, version.model_id), version_said(version)
    for need in state.needs:
        yield Key(Kind.RUN, need.run_id), need.why
        yield Key(Kind.MODEL, need.model_id), need.why
        if need.experiment_id:
            yield Key(Kind.EXPERIMENT, need.experiment_id), need.why
            yield from ((key, need.why) for key in stock.in_experiment[need.experiment_id])


def _with_families(needed: _Reasons, stock: Stock) -> dict[Key, tuple[str, ...]]:
    whole = _Reasons()
    for key, reasons in needed.found.items():
        whole.extend(key, reasons)
        # Of a run that is gone other logged models may still be there, and they are its family as before.
        if key in stock.things and stock.things[key].run_id:
            whole.extend(Key(Kind.RUN, stock.things[key].run_id), reasons)
    for key, reasons in list(whole.found.items()):
        for member in stock.of_run[key.id] if key.kind is Kind.RUN else ():
            whole.extend(member, reasons)
    return {key: tuple(reasons) for key, reasons in whole.found.items()}
