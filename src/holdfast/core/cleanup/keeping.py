"""Which candidates stay: what is needed, what is alive, what was just written, and all that would go with these.

Whatever stays protects in its turn what lies at, above and below its place, its run and its experiment, until nothing
more is found that has to stay.
"""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.core.cleanup.ages import shown_age
from holdfast.core.cleanup.candidates import Candidate, Candidates
from holdfast.core.cleanup.needs import Guards
from holdfast.core.cleanup.places import PlaceMap, covers, is_understood, protecting
from holdfast.core.cleanup.plan import Kind
from holdfast.core.cleanup.rules import CleanupRules
from holdfast.core.cleanup.sorting import Sorted
from holdfast.core.cleanup.stock import Key, Stock
from holdfast.core.cleanup.tally import Tally, later

_NO_PLACE = "nobody can tell where its files lie"


class Keeping:
    """Finds what stays among candidates.

    Attributes:
        kept: The candidates that stay, with all reasons.
    """

    def __init__(
        self, stock: Stock, candidates: Candidates, guards: Guards, sorted_: Sorted, rules: CleanupRules, now_ms: int
    ) -> None:
        self._stock, self._candidates, self._guards = stock, candidates, guards
        self._sorted, self._rules, self._now_ms = sorted_, rules, now_ms
        self.kept: dict[Key, dict[str, None]] = {}
        self._queue: list[Key] = []
        self._things: PlaceMap[Key] = PlaceMap()
        self._through: dict[Key, list[Key]] = {}
        for key, candidate in candidates.found.items():
            # What is only marked deleted may share its place with anything: nothing that is stored is touched.
            place = "" if key.kind is Kind.EXPERIMENT or candidate.expires else protecting(stock.things[key].place)
            if place:
                self._things.add(place, key)
            if candidate.through is not None:
                self._through.setdefault(candidate.through, []).append(key)

    @property
    def going(self) -> set[Key]:
        """The candidates that do not stay; right once `find` has returned."""
        return self._candidates.found.keys() - self.kept.keys()

    def find(self) -> None:
        """Find all that stays."""
        self._keep_for_themselves()
        for key in self._candidates.living():
            self._spread(key)
        for experiment_id in self._stock.experiments:
            if Key(Kind.EXPERIMENT, experiment_id) not in self._candidates.found:
                self._spread(Key(Kind.EXPERIMENT, experiment_id))
        for root in self._rules.roots:
            for _, key in self._things.at_or_above(protecting(root)):
                self._keep(key, f"the whole artifact root {root} lies in its place")
        # A run that is only marked deleted can be restored: all it has stays, and what shares that.
        for key, candidate in self._candidates.found.items():
            if candidate.expires:
                self._spread(key)
        self._drain()

    def _drain(self) -> None:
        while self._queue:
            self._spread(self._queue.pop())

    def _keep(self, key: Key, why: str) -> None:
        if key not in self._candidates.found:
            return
        if key not in self.kept:
            self.kept[key] = {}
            self._queue.append(key)
        self.kept[key][why] = None

    def _keep_for_themselves(self) -> None:
        for key, candidate in self._candidates.found.items():
            for why in self._guards.needed.get(key, ()):
                self._keep(key, f"{why} needs it")
            if key.kind is Kind.EXPERIMENT:
                continue
            place = self._stock.things[key].place
            # A trace without a place has no files, by what the store says of it; a run without one is not understood.
            if not is_understood(place) and (place or key.kind is not Kind.TRACE):
                self._keep(key, f"{place!r} is no place that is understood" if place else _NO_PLACE)
            for why in _signs_of_life(candidate, self._sorted.owned.get(place), self._rules, self._now_ms):
                self._keep(key, why)

    def _spread(self, key: Key) -> None:
        """Keep what has to stay because this stays."""
        if key.kind is Kind.EXPERIMENT:
            self._spread_experiment(key)
            return
        thing = self._stock.things[key]
        if place := protecting(thing.place):
            for where, other in self._things.around(place):
                if other != key:
                    self._keep(other, f"{thing.said}, which stays, {_relation(place, where)}")
        self._keep(Key(Kind.EXPERIMENT, thing.experiment_id), f"{thing.said} in it stays")
        run = self._stock.run_of(key)
        if run in self._candidates.found and not self._candidates.found[run].expires:
            self._keep(run, f"{thing.said} of it stays")
        self._spread_members(key, thing.said)

    def _spread_members(self, key: Key, said: str) -> None:
        for member in self._through.get(key, ()):
            self._keep(member, f"{said}, with which it would go, stays")

    def _spread_experiment(self, key: Key) -> None:
        experiment = self._stock.experiments[key.id]
        said = f"experiment {experiment.name} ({key.id})"
        if place := protecting(experiment.place):
            # What lies in an experiment is not protected by it; but its next run's files come to lie in its place.
            for _, other in self._things.at_or_above(place):
                self._keep(other, f"{said}, which stays, keeps its runs in its place")
        self._spread_members(key, said)


def _relation(mine: str, theirs: str) -> str:
    if mine == theirs:
        return "has the same place"
    return f"has all of {mine} as its place" if covers(mine, theirs) else f"has its place in this one, {mine}"


def _signs_of_life(candidate: Candidate, tally: Tally | None, rules: CleanupRules, now_ms: int) -> Iterator[str]:
    newest = tally.newest_ms if tally is not None else None
    written = later(newest, candidate.created_ms)
    if written is not None and rules.is_recent(written, now_ms) and written > (candidate.settled_ms or 0):
        settled = "it ended" if candidate.is_active else "it was deleted"
        yield f"written to after {settled}, {shown_age((now_ms - written) / 1000)} ago"
    alive = later(newest, candidate.alive_ms) if candidate.alive_ms is not None else None
    if alive is not None and rules.is_recent(alive, now_ms):
        yield f"under way when it was deleted, with its last sign of life {shown_age((now_ms - alive) / 1000)} ago"
