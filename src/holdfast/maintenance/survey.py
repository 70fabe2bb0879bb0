"""Looking at a whole store: what MLflow knows, what else needs it, what is stored, and the plan that comes of it.

The store is read before anything is listed, so that a file that is stored meanwhile is not taken for nobody's. What
cannot be looked at is told, and nothing of it is in the plan; all else goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from holdfast.artifacts.access import access_of
from holdfast.artifacts.removal.holdings import Holdings
from holdfast.artifacts.transfer import SILENT, Meter
from holdfast.backend.cleanup.opening import open_cleanup
from holdfast.backend.cleanup.store import CleanupStore, Wanted
from holdfast.core.cleanup.garbage import make_plan
from holdfast.core.cleanup.places import PlaceMap, covers
from holdfast.core.cleanup.plan import Plan
from holdfast.core.cleanup.records import Need, State
from holdfast.core.cleanup.rules import CleanupRules, RetentionRule
from holdfast.core.uris import normalize_tracking_uri, resolve_sqlite_uri
from holdfast.delivery.target import login_of
from holdfast.errors import HoldfastError
from holdfast.maintenance.asking import Asked, configured
from holdfast.maintenance.destination import check_destination
from holdfast.maintenance.histories import Found, needs_of_histories
from holdfast.maintenance.inputs import needs_of_inputs
from holdfast.maintenance.links import needs_of_links
from holdfast.maintenance.listing import Findings, Lister, on_empty_disks, on_missing_disks, worth_listing
from holdfast.maintenance.own import needs_of_histories_kept_here
from holdfast.maintenance.places import Places, places_for
from holdfast.maintenance.scope import Scope, ids_of, roots_of, scope_of
from holdfast.maintenance.seen import home_of, with_ages
from holdfast.maintenance.trashable import Trashable
from holdfast.maintenance.trashed import Trashed, trashed
from holdfast.maintenance.troubles import Trouble, trouble_of
from holdfast.maintenance.waiting import needs_of_journals, needs_of_migrations
from holdfast.maintenance.withheld import Withheld
from holdfast.project import Project

__all__ = ["Survey", "Trouble", "holdings_of", "store_for", "survey"]


@dataclass(frozen=True)
class Survey:
    """What a survey found.

    Attributes:
        holdings: What it was seen with; opening that anew takes longer than most requests.
        plan: What is to be done.
        state: What the store holds, and what needs it.
        troubles: What could not be looked at; nothing of it is in the plan.
        listed: How many objects were seen, in all forms.
    """

    holdings: Holdings = field(repr=False)
    plan: Plan
    state: State
    troubles: tuple[Trouble, ...] = ()
    listed: int = 0


def survey(
    project: Project,
    asked: Asked,
    meter: Meter = SILENT,
    now_ms: int | None = None,
    holdings: Holdings | None = None,
) -> Survey:
    """Look at all that there is, and make the plan; nothing is changed.

    Only where the store does not say since when runs are deleted, the project's folder gets a note of it.

    Args:
        project: Whose stores.
        asked: What a person asked for.
        meter: Is told of every page of a listing.
        now_ms: The present, in milliseconds since the epoch; the clock's if None.
        holdings: What the project's keys see, where that is open already.

    Raises:
        BackendError: The tracking store or the registry cannot be read.
        SettingsError: `[tool.holdfast.gc]` is not valid, or the server keeps its files at another destination.
        NotFoundError: There is no experiment that was asked for.
        JournalError: A journal cannot be read, so that nobody can tell what it needs.
        ArtifactError: The ledger of an earlier clean-up cannot be read, or with `--trash` a bucket cannot be asked.
    """
    present_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    return _Surveyor(project, asked, meter, present_ms, holdings or holdings_of(project)).survey()


def store_for(project: Project, asked: Asked, places: Places | None = None) -> CleanupStore:
    """Return the store that a clean-up works on; nothing is opened yet.

    Args:
        project: Whose stores.
        asked: What a person asked for.
        places: Makes places of addresses; one of its own if None.

    Raises:
        InvalidInputError: What was given for the database is none.
    """
    uri = asked.backend_store_uri
    if uri is not None:
        uri = resolve_sqlite_uri(normalize_tracking_uri(uri, "--backend-store-uri"), Path.cwd())
    places = places or places_for(project.settings, asked.artifacts_destination)
    return open_cleanup(project.connection, uri or project.settings.backend_store_uri, places.place_of)


def holdings_of(project: Project) -> Holdings:
    """Return what the project's keys see of what is stored."""
    settings = project.settings
    return Holdings(access_of(settings), settings.tracking_uri, login_of(settings))


class _Surveyor:
    def __init__(self, project: Project, asked: Asked, meter: Meter, now_ms: int, holdings: Holdings) -> None:
        self._project, self._asked, self._meter, self._now_ms = project, asked, meter, now_ms
        self._holdings = holdings
        self._places: Places = places_for(project.settings, asked.artifacts_destination)
        self._store = store_for(project, asked, self._places)
        self._troubles: list[Trouble] = []
        self._storage_troubles: list[Trouble] = []
        self._told: list[str] = []
        self._trashed = Trashed()

    def survey(self) -> Survey:
        rules = self._with_retention(self._asked.rules)
        details_of = self._details_of(rules.retention)
        state = self._store.census(Wanted(details_of))
        check_destination(self._project.settings.tracking_uri, state, self._places, self._holdings)
        rules = self._with_scope(rules, state)
        state = self._with_needs(self._with_ages(state, rules), details_of, rules)
        scope = scope_of(state, rules, self._now_ms)
        inputs = needs_of_inputs(self._project, state, scope.model_ids)
        state = replace(state, needs=(*state.needs, *inputs))
        with Findings() as findings:
            self._list(scope, state, findings)
            state, rules = self._without_troubles(state, rules)
            withheld = Withheld(self._project, state, rules, self._places.place_of)
            plan = make_plan(state, withheld.without(findings), rules, self._now_ms)
            if rules.trash:
                plan, troubles = Trashable(self._holdings).only(plan)
                self._troubles += troubles
            told = (*plan.told, *self._told, *self._trashed.told(plan), *filter(None, [withheld.told]))
            plan = replace(plan, told=told)
            return Survey(self._holdings, plan, state, tuple(self._troubles), findings.count)

    # -- what was asked ---------------------------------------------------------------

    def _with_retention(self, rules: CleanupRules) -> CleanupRules:
        if not self._asked.retention:
            return rules
        return replace(rules, retention=(*rules.retention, *configured(self._project.settings).retention))

    def _details_of(self, retention: Sequence[RetentionRule]) -> frozenset[str]:
        """Return the experiments whose runs' tags and metrics rules ask for; deleted ones have no active runs."""
        if not retention:
            return frozenset()
        found = self._project.runs.experiments()
        return frozenset(item.experiment_id for item in found if _is_about(item.name, retention))

    def _with_scope(self, rules: CleanupRules, state: State) -> CleanupRules:
        ids = (*rules.experiment_ids, *ids_of(state.experiments, self._asked.experiments))
        rules = replace(rules, experiment_ids=tuple(dict.fromkeys(ids)), roots=())
        if not rules.orphans or rules.run_ids:
            return rules
        settings = self._project.settings
        named = [settings.artifact_root] if settings.artifact_root else []
        configured_roots = [*map(self._places.place_of, named), self._places.destination]
        roots, self._told = roots_of(worth_listing(state), configured_roots, rules.experiment_ids)
        return replace(rules, roots=roots)

    # -- what is needed ---------------------------------------------------------------

    def _with_ages(self, state: State, rules: CleanupRules) -> State:
        if rules.older_than_s <= 0:
            return state
        try:
            return with_ages(state, self._project.settings, self._now_ms)
        except HoldfastError as error:
            # Their age stays unknown, and they stay.
            self._troubles.append(trouble_of(str(home_of(self._project.settings)), error))
            return state

    def _with_needs(self, state: State, details_of: Iterable[str], rules: CleanupRules) -> State:
        project, place_of = self._project, self._places.place_of
        # Without any model there is no history to be read: opening MLflow's client for it takes seconds.
        histories = needs_of_histories(project, state, place_of) if self._store.has_models() else Found()
        self._trashed = trashed(home_of(project.settings), rules, self._now_ms)
        self._troubles += histories.troubles
        needs = [
            *state.needs,
            *histories.needs,
            *needs_of_histories_kept_here(project, state, place_of),
            *needs_of_journals(project, state, place_of),
            *needs_of_migrations(project, place_of),
            *needs_of_links(state, self._places),
            *self._trashed.needs,
            *_of_unknown_runs(state, rules.retention, frozenset(details_of)),
            *(Need(_AMBIGUOUS.format(address=address), place=path) for address, path in self._places.readings()),
        ]
        return replace(state, needs=tuple(dict.fromkeys(needs)))

    # -- what is stored ---------------------------------------------------------------

    def _list(self, scope: Scope, state: State, findings: Findings) -> None:
        experiments: PlaceMap[None] = PlaceMap((item.place, None) for item in state.experiments if item.place)
        root = self._places.place_of(str(self._project.settings.project_root))
        away = on_missing_disks(scope.wanted, experiments, root)
        away += on_empty_disks(_outside(away, scope.wanted), state)
        lister = Lister(self._holdings, findings, self._meter)
        lister.list_all(_outside(away, scope.places))
        self._storage_troubles = [*away, *lister.troubles]
        self._troubles += self._storage_troubles

    def _without_troubles(self, state: State, rules: CleanupRules) -> tuple[State, CleanupRules]:
        """Keep all that lies at, above or below what could not be listed."""
        troubles = self._storage_troubles
        needs = (
            Need(_UNLISTED.format(one.place, f" ({one.code})" if one.code else ""), place=one.place) for one in troubles
        )
        places = [one.place for one in troubles]
        roots = [
            root for root in rules.roots if not any(covers(place, root) or covers(root, place) for place in places)
        ]
        return replace(state, needs=(*state.needs, *needs)), replace(rules, roots=tuple(roots))


_UNLISTED = "what lies at {}, which cannot be listed{},"
_AMBIGUOUS = "{address}, an address that can be read in several ways,"
_NEW = "the experiment {name}, which was made or restored during the survey,"


def _outside(troubles: Sequence[Trouble], places: Iterable[str]) -> list[str]:
    return [place for place in places if not any(covers(one.place, place) for one in troubles)]


def _is_about(name: str, retention: Iterable[RetentionRule]) -> bool:
    return any(fnmatchcase(name, glob) for rule in retention for glob in rule.experiments)


def _of_unknown_runs(state: State, retention: Sequence[RetentionRule], known: frozenset[str]) -> Iterator[Need]:
    """Keep the experiments that rules are about and whose runs' tags were not read."""
    for item in state.experiments:
        if not item.is_deleted and item.experiment_id not in known and _is_about(item.name, retention):
            yield Need(_NEW.format(name=item.name), experiment_id=item.experiment_id)
