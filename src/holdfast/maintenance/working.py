"""Doing some items of a plan: look once more, mark, list, remove, verify, and only then take their rows away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from holdfast.artifacts.removal.holdings import Holdings
from holdfast.artifacts.removal.outcomes import Failure
from holdfast.backend.cleanup.store import RESTORED, CleanupStore, Purged, total
from holdfast.core.cleanup.plan import Action, Item, Kind
from holdfast.core.cleanup.records import TraceRecord
from holdfast.core.cleanup.stock import Key, Thing
from holdfast.errors import HoldfastError
from holdfast.maintenance.belongings import Bundle, key_of
from holdfast.maintenance.choosing import Choice, Present, registered_since
from holdfast.maintenance.fingerprints import unnoted_markers
from holdfast.maintenance.looking import Seen, look
from holdfast.maintenance.outcomes import Account
from holdfast.maintenance.removing import Remover
from holdfast.maintenance.trashable import Trashable

_WITH_ROWS = (Kind.RUN, Kind.MODEL, Kind.TRACE)
_RESUMED = "resumed in the meantime"
_WAITS = "what is stored of it is gone; it waits for {name}, of which not all could be removed"


class Worker:
    """Does bundles of items, by the store as it is now.

    Args:
        store: The project's stores, for clean-up.
        holdings: What is stored.
        account: Where all that happens is noted.
        stop: Ends it between two batches.
    """

    def __init__(
        self,
        store: CleanupStore,
        holdings: Holdings,
        account: Account,
        stop: threading.Event,
    ) -> None:
        self._store, self._holdings, self._account = store, holdings, account
        self._trashable = Trashable(holdings)
        self._remover = Remover(holdings, account.delete, account.hide, stop)

    def check(self, items: Iterable[Item]) -> None:
        """See whether the rows of items may be removed, before anything that is stored of them goes.

        Raises:
            HoldfastError: They may not, or the store cannot be reached.
        """
        if self._store.has_rows and any(item.action is Action.PURGE and item.kind in _WITH_ROWS for item in items):
            self._store.check_may_purge()

    def do(self, bundles: Sequence[Bundle], present: Present) -> None:
        """Do bundles; what becomes of their items is in the account.

        Raises:
            StopAskedError: Not all was tried, because `stop` was set.
            HoldfastError: No other bundle would fare better now.
        """
        choice = Choice(present)
        chosen = [bundle for bundle in bundles if not self._has_obstacle(bundle, choice)]
        chosen = self._still_garbage(chosen, present)
        marked = self._mark(chosen, present)
        stored = [bundle for bundle in self._end_marked(chosen) if not self._lacks_trash(bundle)]
        self._remove(stored, present, choice, marked)

    # -- looking ----------------------------------------------------------------------

    def _has_obstacle(self, bundle: Bundle, choice: Choice) -> bool:
        return self._skip_bundle(bundle, choice.obstacles(bundle))

    def _skip_bundle(self, bundle: Bundle, whys: dict[Key, str]) -> bool:
        """Skip a bundle of which some items have to stay; return whether some have."""
        for item in bundle.items:
            if key_of(item) in whys:
                self._account.skip([item], whys[key_of(item)])
        for key, why in whys.items():
            self._account.skip(bundle.items, why if len(bundle.items) == 1 else f"{key.kind} {key.id}: {why}")
        return bool(whys)

    def _still_garbage(self, bundles: Sequence[Bundle], present: Present) -> list[Bundle]:
        """Leave out what was restored, resumed or registered since the survey."""
        fresh = set(self._store.versions()) - set(present.state.versions)
        lives = _Lives(self._store, present, bundles)
        found = []
        for bundle in bundles:
            why = registered_since(bundle, fresh, present.state) or lives.why(bundle)
            if why:
                self._account.skip(bundle.items, why)
            else:
                found.append(bundle)
        self._active = lives.active
        return found

    # -- marking ----------------------------------------------------------------------

    def _mark(self, bundles: Sequence[Bundle], present: Present) -> set[str]:
        """Mark the runs deleted that are not, and return which they were."""
        runs = [item for bundle in bundles for item in bundle.items if item.kind is Kind.RUN]
        chosen = [item.id for item in runs if item.id in self._active]
        if chosen:
            self._account.ledger.mark_runs(chosen)
            total(self._store.delete_runs(chosen))
        return set(chosen)

    def _end_marked(self, bundles: Sequence[Bundle]) -> list[Bundle]:
        """Finish what was only to be marked; return the rest."""
        expired = [item for bundle in bundles for item in bundle.items if item.action is Action.EXPIRE]
        self._account.finish(expired)
        return [bundle for bundle in bundles if any(item.action is not Action.EXPIRE for item in bundle.items)]

    def _restore(self, bundle: Bundle, marked: set[str]) -> None:
        """Give runs back that were marked a moment ago, and are written to."""
        ours = [item.id for item in bundle.items if item.kind is Kind.RUN and item.id in marked]
        if ours:
            total(self._store.restore_runs(ours))

    # -- what is stored ---------------------------------------------------------------

    def _lacks_trash(self, bundle: Bundle) -> bool:
        failed = {
            key_of(item): failure
            for item in bundle.items
            if item.action is Action.TRASH and (failure := self._trashable.why_not(item)) is not None
        }
        self._refuse({key: [failure] for key, failure in failed.items()}, bundle.items)
        if failed:
            self._account.skip(bundle.items, "what belongs to it cannot be put in the trash")
        return bool(failed)

    def _remove(self, bundles: Sequence[Bundle], present: Present, choice: Choice, marked: set[str]) -> None:
        seen = look(self._holdings, present.belongings, _items(bundles))
        chosen = []
        for bundle in bundles:
            if self._has_changed(bundle, seen, choice):
                self._restore(bundle, marked)
            else:
                chosen.append(bundle)
        items = [item for item in _items(chosen) if not self._account.is_settled(item)]
        self._begin(items, seen, present)
        taken = self._remover.take(items, seen)
        self._refuse({key: one for key, one in taken.failures.items() if taken.error is None or _is_final(one)}, items)
        if taken.error is not None:
            raise taken.error
        tried = [item for item in items if not self._account.is_settled(item)]
        self._refuse(self._remover.look_again(present.belongings, tried, seen), tried)
        self._end(chosen, present)

    def _has_changed(self, bundle: Bundle, seen: Seen, choice: Choice) -> bool:
        """Refuse what cannot be listed, and skip a bundle of which something is not as planned."""
        self._refuse({key: [failure] for key, failure in seen.failed.items()}, bundle.items)
        there = [item for item in bundle.items if key_of(item) not in seen.failed]
        whys = {key_of(item): choice.is_unchanged(item, seen.of(item)) for item in there}
        return self._skip_bundle(bundle, {key: why for key, why in whys.items() if why})

    def _begin(self, items: Sequence[Item], seen: Seen, present: Present) -> None:
        """Note what is about to go, and the markers that an apply which was killed has made and not noted."""
        ledger = self._account.ledger
        for item in items:
            known = present.begun.get(key_of(item))
            lost = unnoted_markers(seen.of(item), known) if known and item.action is Action.TRASH else []
            lost = [one for one in lost if (one.address, one.version_id) not in ledger.noted.markers]
            if lost:
                ledger.hide(lost)
        touched = [item for item in items if item.action is not Action.EXPIRE]
        ledger.begin_items((self._account.number(item), seen.of(item)) for item in touched)

    def _refuse(self, failures: Mapping[Key, Sequence[Failure]], items: Iterable[Item]) -> None:
        for item in items:
            if key_of(item) in failures:
                self._account.refuse(item, failures[key_of(item)])

    # -- rows -------------------------------------------------------------------------

    def _end(self, bundles: Sequence[Bundle], present: Present) -> None:
        """Take the rows of what is gone, and note that it is done."""
        whole = []
        for bundle in bundles:
            stuck = [item for item in bundle.items if self._account.is_settled(item)]
            if stuck:
                self._account.skip(bundle.items, _WAITS.format(name=f"{stuck[0].kind} {stuck[0].id}"))
            else:
                whole.append(bundle)
        whole = self._purge(whole, Kind.TRACE, self._purge_traces(present))
        whole = self._purge(whole, Kind.MODEL, self._store.purge_models)
        if self._store.has_rows:
            whole = self._purge(whole, Kind.RUN, self._store.purge_runs)
        self._account.finish(_items(whole))
        for item in _items(whole):
            if item.action is Action.PURGE:
                self._remover.prune(item, present.belongings)

    def _purge_traces(self, present: Present) -> Callable[[Sequence[str]], Iterator[Purged]]:
        known = {trace.trace_id: trace for trace in present.state.traces}

        def purge(trace_ids: Sequence[str]) -> Iterator[Purged]:
            records: list[TraceRecord] = [known[trace_id] for trace_id in trace_ids if trace_id in known]
            return self._store.purge_traces(records)

        return purge

    def _purge(
        self, bundles: Sequence[Bundle], kind: Kind, purge: Callable[[Sequence[str]], Iterator[Purged]]
    ) -> list[Bundle]:
        items = [item for item in _items(bundles) if item.kind is kind and item.action is Action.PURGE]
        kept = self._purge_rows(items, purge)
        for bundle in bundles:
            self._skip_bundle(bundle, {key: why for key, why in kept.items() if key in set(map(key_of, bundle.items))})
        return [bundle for bundle in bundles if not any(self._account.is_settled(item) for item in bundle.items)]

    def _purge_rows(self, items: Sequence[Item], purge: Callable[[Sequence[str]], Iterator[Purged]]) -> dict[Key, str]:
        """Take the rows of items; return those that the store keeps, and why.

        Raises:
            HoldfastError: It refuses all of them, or cannot be reached.
        """
        by_id = {item.id: item for item in items}
        kept: dict[Key, str] = {}
        done: set[str] = set()
        try:
            for part in purge(list(by_id)) if by_id else ():
                self._account.remove_rows(part.rows)
                done.update(part.done)
                kept |= {key_of(by_id[found]): why for found, why in part.skipped.items()}
        except HoldfastError as error:
            for item in items if not error.retryable else ():
                if item.id not in done and key_of(item) not in kept:
                    self._account.refuse(item, [Failure(item.id, "", "Rows", error.message)])
            raise
        return kept

    def do_experiments(self, items: Sequence[Item], present: Present) -> None:
        """Take the rows of experiments in which nothing is left.

        Raises:
            HoldfastError: The store refuses, or cannot be reached.
        """
        choice = Choice(present)
        chosen = [item for item in items if not self._account.is_settled(item)]
        chosen = [item for item in chosen if not self._has_obstacle(Bundle((item,)), choice)]
        kept = self._purge_rows(chosen, self._store.purge_experiments)
        for item in chosen:
            if key_of(item) in kept:
                self._account.skip([item], kept[key_of(item)])
        done = [item for item in chosen if not self._account.is_settled(item)]
        self._account.finish(done)
        for item in done:
            experiment = present.belongings.stock.experiments.get(item.id)
            if experiment is not None and experiment.place:
                self._remover.prune_place(experiment.place, present.belongings.base_of(experiment.place))


class _Lives:
    """Which runs and experiments of some bundles are not deleted at this moment."""

    def __init__(self, store: CleanupStore, present: Present, bundles: Iterable[Bundle]) -> None:
        self._present = present
        self._runs = {run.run_id: run for run in present.state.runs}
        things = [thing for bundle in bundles for thing in self._things(bundle)]
        run_ids = sorted({thing.run_id for thing in things if thing.run_id in self._runs})
        experiments = sorted({self._runs[run_id].experiment_id for run_id in run_ids})
        self.active = store.active_among(run_ids, experiments) if run_ids else {}
        loose = {thing.experiment_id for thing in things if thing.run_id not in self._runs}
        self._live = store.live_experiments(sorted(loose))

    def _things(self, bundle: Bundle) -> Iterator[Thing]:
        things = self._present.belongings.stock.things
        return (things[key_of(item)] for item in bundle.items if key_of(item) in things)

    def why(self, bundle: Bundle) -> str:
        """Return what has become of a run or an experiment of a bundle; an empty text where it is as it was."""
        experiments = self._present.belongings.stock.experiments
        for thing in self._things(bundle):
            run = self._runs.get(thing.run_id)
            if run is None:
                experiment = experiments.get(thing.experiment_id)
                if thing.experiment_id in self._live and experiment is not None and experiment.is_deleted:
                    return RESTORED
            elif run.run_id in self.active and run.is_deleted:
                return RESTORED
            elif self.active.get(run.run_id) in ("RUNNING", "SCHEDULED") and thing.key.kind is Kind.RUN:
                return _RESUMED
        return ""


def _items(bundles: Iterable[Bundle]) -> list[Item]:
    return [item for bundle in bundles for item in bundle.items]


def _is_final(failures: Iterable[Failure]) -> bool:
    return any(not failure.retryable for failure in failures)
