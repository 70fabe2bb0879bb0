"""Where a survey looks: the places of what may go, and with orphans the artifact roots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from holdfast.core.cleanup.candidates import Candidates
from holdfast.core.cleanup.checkpoints import watched_runs
from holdfast.core.cleanup.needs import find_guards
from holdfast.core.cleanup.places import PlaceMap, is_understood
from holdfast.core.cleanup.plan import Kind
from holdfast.core.cleanup.records import ExperimentRecord, State
from holdfast.core.cleanup.retention import taken_runs
from holdfast.core.cleanup.rules import CleanupRules
from holdfast.core.cleanup.stock import Stock
from holdfast.core.uris import scheme_of
from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.maintenance.places import is_whole_store

# A folder is listed as a whole where so many things in it may go, and they are at least so large a part of all in it:
# a place of its own takes three requests, and a page of a listing holds a thousand objects.
_MANY = 10
_PART = 0.1


@dataclass(frozen=True)
class Scope:
    """Where to look.

    Attributes:
        places: What is listed; none of them lies in another one.
        wanted: For which places that is done: of what may go, and the roots.
        model_ids: The logged models that may go.
    """

    places: tuple[str, ...]
    wanted: tuple[str, ...]
    model_ids: frozenset[str]


def scope_of(state: State, rules: CleanupRules, now_ms: int) -> Scope:
    """Return where to look for what may go by these rules, and for their roots.

    Args:
        state: The store, with all that is needed.
        rules: What was asked, with the roots.
        now_ms: The present.
    """
    stock = Stock(state)
    needed = find_guards(stock).needed
    found = Candidates(stock, rules, taken_runs(state, rules.retention, now_ms), now_ms).found
    keys = [key for key in found if key.kind is not Kind.EXPERIMENT and key not in needed]
    places = {stock.things[key].place for key in keys} | watched_runs(state, rules, now_ms).keys()
    wanted = tuple(filter(is_understood, places))
    models = frozenset(key.id for key in keys if key.kind is Kind.MODEL)
    return Scope(outermost([*rules.roots, *_shared(wanted, stock)]), (*rules.roots, *wanted), models)


def outermost(places: Iterable[str]) -> tuple[str, ...]:
    """Return places without those that lie in another one of them."""
    kept: PlaceMap[None] = PlaceMap()
    for place in sorted(set(places), key=len):
        if kept.deepest(place) is None:
            kept.add(place, None)
    return tuple(sorted(kept))


def _shared(places: Iterable[str], stock: Stock) -> list[str]:
    """Return places, or the folders of their experiments where one listing of these is cheaper."""
    found = [item.place for item in stock.experiments.values() if _is_listed_in_pages(item.place)]
    bases: PlaceMap[None] = PlaceMap((place, None) for place in found)
    base_of = {place: bases.deepest(place) or place for place in places}
    wanted = Counter(base for place, base in base_of.items() if base != place)
    things = Counter(bases.deepest(thing.place) for thing in stock.things.values()) if wanted else Counter()
    whole = {base for base, count in wanted.items() if count >= _MANY and count >= _PART * things[base]}
    return [base if base in whole else place for place, base in base_of.items()]


def _is_listed_in_pages(place: str) -> bool:
    # A folder, and what a server keeps, is read folder by folder anyway.
    return scheme_of(place) == "s3" and is_understood(place) and not is_whole_store(place)


def roots_of(
    experiments: Iterable[ExperimentRecord], configured: Iterable[str], experiment_ids: Sequence[str]
) -> tuple[tuple[str, ...], list[str]]:
    """Return the artifact roots in which orphans are looked for, and what people must know of others.

    Args:
        experiments: All of them; each has a root of its own, or lies in a configured one.
        configured: The places of the roots that settings name.
        experiment_ids: Those that are looked at; with them no configured root is.
    """
    own = {item.place for item in experiments if not experiment_ids or item.experiment_id in experiment_ids}
    named = set() if experiment_ids else {place for place in configured if is_understood(place)}
    whole = {place for place in own if is_understood(place) and is_whole_store(place)} - named
    told = [_WHOLE.format(place=place) for place in sorted(whole)]
    told += [_WHOLE_ROOT.format(place=place) for place in sorted(named) if is_whole_store(place)]
    return outermost(filter(is_understood, named | own - whole)), told


_WHOLE = (
    "{place}: an experiment has it for its place, and it may hold anything else too; no orphans are looked for there "
    "unless it is configured as the artifact root"
)
_WHOLE_ROOT = "{place}: a whole bucket is the artifact root, so whatever else is kept in it looks like an orphan"


def ids_of(experiments: Sequence[ExperimentRecord], asked: Iterable[str]) -> tuple[str, ...]:
    """Return the ids of the experiments that somebody names.

    Args:
        experiments: All of them.
        asked: Ids, names, or globs of names.

    Raises:
        NotFoundError: There is no such experiment.
        InvalidInputError: A text is the id of one and the name of another.
    """
    found: dict[str, None] = {}
    for text in asked:
        found |= dict.fromkeys(_ids_of(experiments, text))
    return tuple(found)


def _ids_of(experiments: Sequence[ExperimentRecord], text: str) -> list[str]:
    exact = [item.experiment_id for item in experiments if text in (item.experiment_id, item.name)]
    if len(exact) > 1:
        raise InvalidInputError(
            f"{text!r} is more than one experiment: {', '.join(exact)}.", "rename one, or name it by its other text"
        )
    matching = exact or [item.experiment_id for item in experiments if fnmatchcase(item.name, text)]
    if not matching:
        raise NotFoundError(f"There is no experiment {text!r}.", "give its name, its id, or a glob such as 'sweep-*'")
    return matching
