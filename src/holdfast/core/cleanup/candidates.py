"""What could be garbage by what the store says of it, before anybody asks what needs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from holdfast.core.cleanup.ages import shown_age
from holdfast.core.cleanup.plan import Kind
from holdfast.core.cleanup.records import ExperimentRecord, ModelRecord, RunRecord, TraceRecord
from holdfast.core.cleanup.rules import CleanupRules
from holdfast.core.cleanup.stock import Key, Stock

_UNKNOWN = "it is deleted, and the store does not say since when; --older-than 0s takes it"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that is garbage unless something protects it.

    Attributes:
        key: Which thing it is.
        why: Why it is garbage, for people.
        settled_ms: Since when nothing should write to it any more: its deletion, or the end of a run that a rule takes;
            None where nobody knows.
        through: The run or the experiment with which it goes; None where it is deleted itself.
        is_active: Whether it is a run that is not deleted, and a retention rule takes.
        expires: Whether it is only marked deleted.
        alive_ms: The last sign of life of a run that was under way when it was deleted; None of all else.
        created_ms: When a trace was recorded.
    """

    key: Key
    why: str
    settled_ms: int | None
    through: Key | None = None
    is_active: bool = False
    expires: bool = False
    alive_ms: int | None = None
    created_ms: int | None = None


class Candidates:
    """All of them by their keys, and those of which the store does not say since when they are deleted.

    Attributes:
        found: What could be garbage.
        unknown: What is deleted, asked for, and of unknown age, with the reason why it stays.
    """

    def __init__(self, stock: Stock, rules: CleanupRules, taken: Mapping[str, str], now_ms: int) -> None:
        self._stock, self._rules, self._now_ms = stock, rules, now_ms
        self.found: dict[Key, Candidate] = {}
        self.unknown: dict[Key, str] = {}
        for run in stock.state.runs:
            if rules.is_asked(run.experiment_id, run.run_id):
                self._add_run(run, taken.get(run.run_id))
        for experiment in stock.state.experiments:
            if experiment.is_deleted and not rules.run_ids and rules.is_asked(experiment.experiment_id):
                self._add_experiment(experiment)
        for model in stock.state.models:
            self._add_model(model)
        for trace in stock.state.traces:
            self._add_trace(trace)

    def _add_run(self, run: RunRecord, taken_why: str | None) -> None:
        key = Key(Kind.RUN, run.run_id)
        if run.is_deleted and self._is_old(key, run.deleted_ms):
            signs = (run.started_ms, run.ended_ms or 0)
            alive = max(signs) if run.run_id in self._stock.under_way else None
            self.found[key] = Candidate(key, self._deleted(run.deleted_ms), run.deleted_ms, alive_ms=alive)
        elif taken_why and not run.is_deleted:
            expires = not self._rules.is_old(None, self._now_ms)
            self.found[key] = Candidate(key, taken_why, run.ended_ms, is_active=True, expires=expires)

    def _add_experiment(self, experiment: ExperimentRecord) -> None:
        key = Key(Kind.EXPERIMENT, experiment.experiment_id)
        if self._is_old(key, experiment.changed_ms):
            self.found[key] = Candidate(key, self._deleted(experiment.changed_ms), experiment.changed_ms)

    def _add_model(self, model: ModelRecord) -> None:
        key = Key(Kind.MODEL, model.model_id)
        is_asked = self._rules.is_asked(model.experiment_id, model.run_id)
        if model.is_deleted and is_asked and self._rules.is_old(model.changed_ms, self._now_ms):
            self.found[key] = Candidate(key, self._deleted(model.changed_ms), model.changed_ms)
        elif run := self._purged_run(model.run_id):
            self.found[key] = Candidate(key, f"its run goes: {run.why}", run.settled_ms, run.key)

    def _add_trace(self, trace: TraceRecord) -> None:
        key = Key(Kind.TRACE, trace.trace_id)
        experiment = self.found.get(Key(Kind.EXPERIMENT, trace.experiment_id))
        has_run = Key(Kind.RUN, trace.run_id) in self._stock.things
        owner = self._purged_run(trace.run_id) or (None if has_run else experiment)
        if owner is not None:
            why = f"its {owner.key.kind} goes: {owner.why}"
            self.found[key] = Candidate(key, why, owner.settled_ms, owner.key, created_ms=trace.created_ms)

    def _purged_run(self, run_id: str) -> Candidate | None:
        run = self.found.get(Key(Kind.RUN, run_id))
        return run if run is not None and not run.expires else None

    def _is_old(self, key: Key, deleted_ms: int | None) -> bool:
        is_old = self._rules.is_old(deleted_ms, self._now_ms)
        if not is_old and deleted_ms is None:
            self.unknown[key] = _UNKNOWN
        return is_old

    def _deleted(self, deleted_ms: int | None) -> str:
        if deleted_ms is None:
            return "deleted"
        return f"deleted {shown_age((self._now_ms - deleted_ms) / 1000)} ago"

    def living(self) -> Iterator[Key]:
        """Yield the runs, logged models and traces that are no candidates."""
        yield from (key for key in self._stock.things if key not in self.found)
