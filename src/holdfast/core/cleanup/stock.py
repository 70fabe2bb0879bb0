"""All things of a store under one roof: whose run and experiment each belongs to, and where its files lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from holdfast.core.cleanup.places import PlaceMap, protecting
from holdfast.core.cleanup.plan import Kind
from holdfast.core.cleanup.records import ExperimentRecord, State


class Key(NamedTuple):
    """Which thing it is."""

    kind: Kind
    id: str


class Thing(NamedTuple):
    """A run, a logged model or a trace."""

    key: Key
    experiment_id: str
    run_id: str
    place: str
    name: str

    @property
    def said(self) -> str:
        """Its name for people: `run able-fox-3 (4f…)`."""
        return f"{self.key.kind} {self.name} ({self.key.id})" if self.name else f"{self.key.kind} {self.key.id}"


class Stock:
    """Runs, logged models and traces of a state, findable by run, experiment and place.

    Attributes:
        state: The state itself.
        things: By their keys.
        of_run: The logged models and traces of each run that there is.
        in_experiment: All things of each experiment.
        places: Where things' files lie, in the form in which a place protects.
        experiments: By their ids.
        under_way: The runs that are not known to have ended, deleted ones too.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.experiments: dict[str, ExperimentRecord] = {found.experiment_id: found for found in state.experiments}
        self.things: dict[Key, Thing] = {thing.key: thing for thing in _things(state)}
        self.of_run: defaultdict[str, list[Key]] = defaultdict(list)
        self.in_experiment: defaultdict[str, list[Key]] = defaultdict(list)
        self.places: PlaceMap[Key] = PlaceMap()
        self.under_way = {run.run_id for run in state.runs if run.status in ("RUNNING", "SCHEDULED")}
        for thing in self.things.values():
            self._add(thing)

    def _add(self, thing: Thing) -> None:
        self.in_experiment[thing.experiment_id].append(thing.key)
        if thing.key.kind is not Kind.RUN and thing.run_id:
            self.of_run[thing.run_id].append(thing.key)
        if place := protecting(thing.place):
            self.places.add(place, thing.key)

    def run_of(self, key: Key) -> Key | None:
        """Return the run that a logged model or a trace belongs to; None where there is none, or it is itself a run."""
        run = Key(Kind.RUN, self.things[key].run_id)
        return run if key.kind is not Kind.RUN and run in self.things else None


def _things(state: State) -> Iterator[Thing]:
    for run in state.runs:
        yield Thing(Key(Kind.RUN, run.run_id), run.experiment_id, run.run_id, run.place, run.name)
    for model in state.models:
        yield Thing(Key(Kind.MODEL, model.model_id), model.experiment_id, model.run_id, model.place, model.name)
    for trace in state.traces:
        yield Thing(Key(Kind.TRACE, trace.trace_id), trace.experiment_id, trace.run_id, trace.place, "")
