"""A tracking store in memory, with MLflow's rules and with faults."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from holdfast.core.names import MAX_METRICS_PER_BATCH, MAX_PARAMS_PER_BATCH, MAX_TAGS_PER_BATCH, why_bad_key
from holdfast.core.sending import KEY_TAG, ExperimentRef, Point, Refused, RunRef, TooLarge, Unavailable

_T = TypeVar("_T")


@dataclass
class StoredRun:
    """A run as the store has it.

    Attributes:
        ref: The run, without what was logged.
        history: Every value of every metric, once, in the order they came.
        params, tags: Name → value.
        inputs, outputs, models: What was logged of these, each thing once.
    """

    ref: RunRef
    history: dict[tuple[Any, ...], Point] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    inputs: list[Mapping[str, Any]] = field(default_factory=list)
    outputs: list[Mapping[str, Any]] = field(default_factory=list)
    models: list[str] = field(default_factory=list)


class MemoryStore:
    """A `holdfast.core.sending.Sender` that keeps all in memory, as an MLflow server would.

    Metrics are stored once for each key, value, timestamp and step; a param keeps its first value; a deleted run takes
    nothing; a batch with one thing that is refused is refused as a whole.

    Attributes:
        experiments: Id → experiment.
        runs: Id → run.
        calls: The methods that were called, in order; the position in it is the call's number.
    """

    def __init__(self) -> None:
        self.experiments: dict[str, ExperimentRef] = {"0": ExperimentRef("0", "Default", "memory:///0")}
        self.runs: dict[str, StoredRun] = {}
        self.calls: list[str] = []
        self._faults: dict[int, tuple[bool, Callable[[], None]]] = {}
        self._is_down = False

    # -- what a test asks for ---------------------------------------------------------

    def fail(self, call: int, after: bool = False) -> None:
        """Have a call raise `Unavailable`.

        Args:
            call: Its number.
            after: Whether it takes effect nevertheless: the answer is lost.
        """
        self.strike(call, _be_unavailable, after)

    def strike(self, call: int, action: Callable[[], None], after: bool = False) -> None:
        """Call a function before a call takes effect, or after that; it may raise."""
        self._faults[call] = (after, action)

    def go_down(self, is_down: bool = True) -> None:
        """Have every call raise `Unavailable` until told otherwise."""
        self._is_down = is_down

    def calm(self) -> None:
        """Forget every fault that has not struck."""
        self._faults.clear()
        self._is_down = False

    def add_run(self, run_id: str, experiment_id: str = "0", key: str | None = None) -> StoredRun:
        """Create a run that was begun without Holdfast."""
        run = StoredRun(RunRef(run_id, experiment_id, artifact_uri=f"memory:///{run_id}"))
        if key is not None:
            run.tags[KEY_TAG] = key
        self.runs[run_id] = run
        return run

    def _call(self, name: str, work: Callable[[], _T]) -> _T:
        if self._is_down:
            raise Unavailable("the store is down")
        after, action = self._faults.pop(len(self.calls), (False, _do_nothing))
        self.calls.append(name)
        if not after:
            action()
        done = work()
        if after:
            action()
        return done

    # -- experiments ------------------------------------------------------------------

    def check(self, timeout_s: float) -> None:
        """Return if the store is up."""
        self._call("check", _do_nothing)

    def find_experiment(self, name: str) -> ExperimentRef | None:
        """Return the experiment of this name."""
        found = (ref for ref in self.experiments.values() if ref.name == name)
        return self._call("find_experiment", lambda: next(found, None))

    def get_experiment(self, experiment_id: str) -> ExperimentRef | None:
        """Return the experiment."""
        return self._call("get_experiment", lambda: self.experiments.get(experiment_id))

    def create_experiment(self, name: str, artifact_location: str | None, tags: Mapping[str, str]) -> ExperimentRef:
        """Create an experiment, or return the one of that name."""

        def create() -> ExperimentRef:
            known = next((ref for ref in self.experiments.values() if ref.name == name), None)
            number = str(len(self.experiments))
            ref = known or ExperimentRef(number, name, artifact_location or f"memory:///{number}")
            return self.experiments.setdefault(ref.experiment_id, ref)

        return self._call("create_experiment", create)

    # -- runs -------------------------------------------------------------------------

    def find_runs(self, experiment_id: str, key: str) -> list[RunRef]:
        """Return the runs of this key, the earliest first."""

        def find() -> list[RunRef]:
            here = [run for run in self.runs.values() if run.ref.experiment_id == experiment_id]
            found = [_ref(run) for run in here if run.tags.get(KEY_TAG) == key]
            return sorted(found, key=lambda ref: ref.start_time_ms)

        return self._call("find_runs", find)

    def create_run(
        self, experiment_id: str, user: str, start_time_ms: int, name: str | None, tags: Mapping[str, str]
    ) -> RunRef:
        """Create a run."""

        def create() -> RunRef:
            if experiment_id not in self.experiments:
                raise Refused(f"there is no experiment {experiment_id}", about_run=True)
            run = self.add_run(f"{len(self.runs):032x}", experiment_id)
            run.ref = replace(run.ref, name=name or f"run-{len(self.runs)}", start_time_ms=start_time_ms)
            run.tags.update(tags)
            return _ref(run)

        return self._call("create_run", create)

    def get_run(self, run_id: str) -> RunRef | None:
        """Return the run."""
        return self._call("get_run", lambda: _ref(self.runs[run_id]) if run_id in self.runs else None)

    def delete_run(self, run_id: str) -> None:
        """Delete a run; it can be restored."""

        def delete() -> None:
            run = self._run(run_id)
            run.ref = replace(run.ref, deleted=True)

        self._call("delete_run", delete)

    def update_run(self, run_id: str, status: str | None, end_time_ms: int | None, name: str | None) -> None:
        """Set status, end time and name."""

        def update() -> None:
            run = self._run(run_id)
            given = {"status": status, "end_time_ms": end_time_ms, "name": name}
            run.ref = replace(run.ref, **{key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]

        self._call("update_run", update)

    # -- what is logged ---------------------------------------------------------------

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Point],
        params: Sequence[tuple[str, str]],
        tags: Sequence[tuple[str, str]],
    ) -> None:
        """Store a batch, or nothing of it."""

        def store() -> None:
            run = self._run(run_id)
            _check_batch(run, metrics, params, tags)
            for point in metrics:
                run.history.setdefault(_identity(point), point)
            run.params.update(params)
            run.tags.update(tags)

        self._call("log_batch", store)

    def log_inputs(self, run_id: str, body: Mapping[str, Any]) -> None:
        """Store inputs."""
        self._call("log_inputs", lambda: _add(self._run(run_id).inputs, body))

    def log_outputs(self, run_id: str, body: Mapping[str, Any]) -> None:
        """Store outputs."""
        self._call("log_outputs", lambda: _add(self._run(run_id).outputs, body))

    def log_model(self, run_id: str, model_json: str) -> None:
        """Note a model."""
        self._call("log_model", lambda: _add(self._run(run_id).models, model_json))

    def delete_tag(self, run_id: str, key: str) -> None:
        """Delete a tag."""
        self._call("delete_tag", lambda: self._run(run_id).tags.pop(key, None))

    def metric_history(self, run_id: str, key: str) -> list[Point]:
        """Return every stored value of a metric."""
        return self._call(
            "metric_history", lambda: [point for point in self._run(run_id).history.values() if point.key == key]
        )

    def close(self) -> None:
        """There is nothing to let go of."""

    def _run(self, run_id: str) -> StoredRun:
        run = self.runs.get(run_id)
        if run is None:
            raise Refused(f"there is no run {run_id}", about_run=True)
        if run.ref.deleted:
            raise Refused(f"run {run_id} is deleted", about_run=True)
        return run


def _check_batch(
    run: StoredRun, metrics: Sequence[Point], params: Sequence[tuple[str, str]], tags: Sequence[tuple[str, str]]
) -> None:
    if len(params) > MAX_PARAMS_PER_BATCH or len(tags) > MAX_TAGS_PER_BATCH:
        raise TooLarge("too many params or tags in one request")
    if len(metrics) + len(params) + len(tags) > MAX_METRICS_PER_BATCH:
        raise TooLarge(f"more than {MAX_METRICS_PER_BATCH} things in one request")
    names = [point.key for point in metrics] + [key for key, _ in (*params, *tags)]
    bad = [f"{name!r} {reason}" for name in names if (reason := why_bad_key(name))]
    if bad:
        raise Refused("; ".join(bad))
    given = dict(run.params)
    for key, value in params:
        if given.setdefault(key, value) != value:
            raise Refused(f"param {key!r} is {given[key]!r} already")


def _identity(point: Point) -> tuple[Any, ...]:
    # By its bits: one NaN is as good as another, and is no reason to store it twice.
    bits = "nan" if point.value != point.value else struct.pack("<d", point.value)
    return (point.key, bits, point.timestamp, point.step, point.extra)


def _add(things: list[_T], thing: _T) -> None:
    if thing not in things:
        things.append(thing)


def _ref(run: StoredRun) -> RunRef:
    latest = {point.key: point.value for point in sorted(run.history.values(), key=lambda p: (p.step, p.timestamp))}
    return replace(run.ref, params=dict(run.params), metrics=latest, tags=dict(run.tags))


def _be_unavailable() -> None:
    raise Unavailable("the connection was lost")


def _do_nothing() -> None:
    return
