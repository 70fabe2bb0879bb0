"""Whole stores for the properties of clean-up, thrown with dice from a seed, shown when they fail and made smaller.

Few places, and most of them near another: the same, one in the other, or nearly alike. Dice alone, because drawing a
store record by record from strategies takes a hundred times as long, and what matters is rare in it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace

from holdfast.core.cleanup.records import (
    ExperimentRecord,
    Form,
    ModelRecord,
    Need,
    RunRecord,
    State,
    StoredObject,
    TraceRecord,
    VersionRecord,
)
from holdfast.core.cleanup.rules import CleanupRules, RetentionRule

HOUR = 3_600_000
NOW = 1_000 * 24 * HOUR
World = tuple[State, tuple[StoredObject, ...], CleanupRules]

_ROOT = "s3://b"
# Hours ago: on both sides of the ages that are asked for, and just on them.
_AGES = [0, 1, 5, 23, 24, 25, 47, 48, 49, 100, 100, 1000]
_OLD = [48, 49, 100, 300, 1000, 1000]
_FILES = ["f", "model/MLmodel", "artifacts/f", "sub/f", "", "/x", "../x"]
_CHECKPOINTS = ["e=1.ckpt", "e=2.ckpt", "e=3.ckpt", "e=10.ckpt", "e=10.ckpt/part", "e=4.ckpt/part", "last.ckpt"]
_LOOSE = ["gone/artifacts/f", "gone/artifacts/g", "models/m-9/artifacts/f", "traces/tr-9/f", "x/f", "x/g", "x", "x/y/f"]
_BESIDE = ["a", "/beside", "/sub", "/model", "/checkpoints", "/checkpoints/e=1.ckpt", "/artifacts", "/"]
_OTHER_STATUSES = ["FAILED", "RUNNING", "RUNNING", "SCHEDULED"]
_FORMS = [*[Form.OBJECT] * 5, Form.OLD, Form.OLD, Form.MARKER, Form.UPLOAD]
_RETENTION = [
    RetentionRule("all", older_than_s=0),
    RetentionRule("old", older_than_s=24 * 3600),
    RetentionRule("best", keep_best=1, metric="m", mode="max"),
    RetentionRule("last", keep_last=1, tags=(("a", "*"),)),
    RetentionRule("lasts", keep_last=2),
    RetentionRule("both", experiments=("name-1",), keep_best=1, metric="m", mode="min", keep_last=1),
    RetentionRule("files", keep_last=1, checkpoints="checkpoints/*.ckpt"),
    RetentionRule("folders", keep_last=0, checkpoints="checkpoints/*/"),
]


def make_world(seed: int) -> World:
    """Return a store, what is stored, and what is asked; of one seed always the same."""
    return _Dice(random.Random(seed)).world()  # noqa: S311 - no secret


def dice_of(seed: int) -> random.Random:
    """Return other dice than those that the world of a seed was thrown with, the same each time."""
    return random.Random(f"more of {seed}")  # noqa: S311 - no secret


def more_needs(world: World, dice: random.Random) -> World:
    """Return a world in which one thing more is needed, by a version or by something else."""
    state, objects, rules = world
    thrown = _Dice(dice, list(state.experiments), list(state.runs))
    thrown.places = [one.place for one in (*state.runs, *state.models, *state.traces)]
    model_ids = [one.model_id for one in state.models] or ["m-7"]
    if dice.random() < 0.5 or not state.runs or not state.experiments:
        needs = (*state.needs, Need("another", place=thrown.near(), run_id=dice.choice(["", "r"])))
        return replace(state, needs=needs), objects, rules
    if dice.random() < 0.5:
        return replace(state, needs=(*state.needs, thrown.need(model_ids))), objects, rules
    return replace(state, versions=(*state.versions, thrown.version(model_ids))), objects, rules


@dataclass
class _Dice:
    dice: random.Random
    experiments: list[ExperimentRecord] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    is_calm: bool = False
    is_empty: bool = False

    def world(self) -> World:
        # In one of four most runs have ended, and have checkpoints: what is rare elsewhere.
        self.is_calm = self._some(0.25)
        # In one of five there is little in experiments but what is loose, and most of them are to go.
        self.is_empty = not self.is_calm and self._some(0.25)
        self.experiments = [self._experiment(str(one)) for one in range(1, self.dice.choice([2, 2, 3, 3, 4]))]
        self.runs = [self._run(one) for one in "rstuv"[: self.dice.choice([1, 2, 2, 3, 3, 4, 5])]]
        models = [self._model(f"m-{one}") for one in range(self.dice.choice([0, 0, 1, 1, 2, 3]))]
        traces = [self._trace(f"tr-{one}") for one in range(self.dice.choice([0, 0, 1, 2]))]
        model_ids = [one.model_id for one in models] + ["m-7"]
        versions = [self.version(model_ids) for _ in range(self.dice.choice([0, 0, 0, 1, 1, 2]))]
        needs = [self.need(model_ids) for _ in range(self.dice.choice([0, 0, 0, 1, 1]))]
        records = (self.experiments, self.runs, models, traces, versions, needs)
        state = State(*(tuple(one) for one in records), has_rows=self.dice.random() < 0.8)  # type: ignore[arg-type]
        rules = self._rules()
        return state, tuple(self._objects()), rules

    def _some(self, share: float) -> bool:
        return self.dice.random() < share

    def _ago(self, hours: list[int]) -> int:
        return NOW - self.dice.choice(hours) * HOUR

    def _experiment(self, one: str) -> ExperimentRecord:
        place = f"{_ROOT}/{one}"
        if self._some(0.25):
            place = self.dice.choice(
                [f"{_ROOT}/1", f"{_ROOT}/1/in", f"{_ROOT}/1/r", f"{_ROOT}/9/e", f"{_ROOT}/1a", _ROOT, "", "/disk"]
            )
        changed = None if self._some(0.1) else self._ago(_OLD if self._some(0.7) else _AGES)
        return ExperimentRecord(one, f"name-{one}", place, self._some(0.8 if self.is_empty else 0.5), changed)

    def _place(self, usual: str) -> str:
        """Return the usual place, or one near another, or one that is no place."""
        place = usual
        if self.places and self._some(0.3):
            near = self.dice.choice(self.places)
            place = self.dice.choice([near, near.rpartition("/")[0], near[:-1], near + self.dice.choice(_BESIDE)])
        elif self._some(0.06):
            place = self.dice.choice(["", "relative", usual + "/", _ROOT, "/disk/1/../r", "/disk/1/r"])
        self.places += [place] if "/" in place else []
        return place

    def _home(self) -> tuple[str, str]:
        home = self.experiments[-1] if self.is_empty else self.dice.choice(self.experiments)
        return home.experiment_id, home.place or f"{_ROOT}/1"

    def _run(self, run_id: str) -> RunRecord:
        experiment_id, home = self._home()
        place = self._place(f"{home}/{run_id}/artifacts")
        started, is_deleted = self._ago(_AGES), self._some(0.2 if self.is_calm else 0.65)
        deleted = self._ago(_OLD if self._some(0.75) else _AGES) if is_deleted and self._some(0.9) else None
        return RunRecord(
            run_id,
            experiment_id,
            place,
            self.dice.choice(["FINISHED"] * (30 if self.is_calm else 5) + _OTHER_STATUSES),
            is_deleted,
            started,
            None if self._some(0.15) else max(started, self._ago(_AGES)),
            deleted,
            tags=self.dice.choice([{}, {}, {}, {"a": "b"}, {"holdfast.keep": "yes"}, {"holdfast.keep": "false"}]),
            metrics=self.dice.choice([{}, {"m": 1.0}, {"m": 2.0}, {"m": 2.0}, {"m": float("nan")}]),
        )

    def _owner(self) -> str:
        return self.dice.choice([one.run_id for one in self.runs] * 2 + ["", "z"])

    def _model(self, model_id: str) -> ModelRecord:
        run_id, (experiment_id, home) = self._owner(), self._home()
        place = self._place(f"{home}/models/{model_id}/artifacts")
        changed = self._ago(_OLD if self._some(0.6) else _AGES)
        return ModelRecord(model_id, experiment_id, place, run_id, self._some(0.3), changed)

    def _trace(self, trace_id: str) -> TraceRecord:
        run_id, (experiment_id, home) = self._owner(), self._home()
        place = "" if self._some(0.3) else self._place(f"{home}/traces/{trace_id}/artifacts")
        return TraceRecord(trace_id, experiment_id, place, run_id, self._ago(_OLD if self._some(0.7) else _AGES))

    def near(self) -> str:
        """Return a place at, above, below or beside one of a thing."""
        near = self.dice.choice(self.places or [_ROOT])
        if self._some(0.25):
            return near.rpartition("/")[0]
        return near + self.dice.choice(["", "", "/", *_BESIDE])

    def version(self, model_ids: list[str]) -> VersionRecord:
        """Return a version that names a place, a logged model, a run, or nothing that is there."""
        how = self.dice.randrange(4)
        places = (self.near(),) if how == 0 else ("relative",) if self._some(0.03) else ()
        model_id = self.dice.choice(model_ids) if how == 1 else ""
        return VersionRecord("fraud", 1, places, self._owner() if how == 2 else "", model_id)

    def need(self, model_ids: list[str]) -> Need:
        """Return a need of a run, a logged model, a place or an experiment."""
        how = self.dice.randrange(7)
        return Need(
            "approval",
            run_id=self._owner() if how < 2 else "",
            model_id=self.dice.choice(model_ids) if how in (2, 3) else "",
            place=self.near() if how in (4, 5) else "",
            experiment_id=self.dice.choice(self.experiments).experiment_id if how == 6 else "",
        )

    def _rules(self) -> CleanupRules:
        roots = [(), (_ROOT,), (_ROOT,), (_ROOT,), (_ROOT, "/disk"), (f"{_ROOT}/1", f"{_ROOT}/2")]
        roots += [(_ROOT, f"{_ROOT}/1"), (_ROOT, f"{_ROOT}/9/e")]
        return CleanupRules(
            older_than_s=self.dice.choice([0, 24, 48, 48]) * 3600,
            grace_s=self.dice.choice([0, 24, 24, 48]) * 3600,
            orphans=self._some(0.95 if self.is_empty else 0.6),
            trash=self._some(0.15),
            retention=tuple(self.dice.sample(_RETENTION[:-2], self.dice.choice([0, 0, 1, 1, 2])))
            + tuple(self.dice.sample(_RETENTION[-2:], self.dice.choice([1, 1, 2] if self.is_calm else [0, 0, 0, 1]))),
            experiment_ids=self.dice.choice([("1",), ("1", "2")]) if self._some(0.15) else (),
            run_ids=("r", "s") if self._some(0.1) else (),
            roots=self.dice.choice(roots),
        )

    def _objects(self) -> Iterator[StoredObject]:
        found: dict[tuple[str, str, Form], StoredObject] = {}
        for one in (self._object(address) for address in self._addresses()):
            found.setdefault((one.address, one.version_id, one.form), one)
        yield from found.values()

    def _addresses(self) -> Iterator[str]:
        for place in self.places:
            for _ in range(self.dice.choice([0, 1, 1, 2])):
                yield f"{place}/{self.dice.choice(_FILES)}"
        for run in self.runs:
            if self._some(0.8 if self.is_calm else 0.2):
                yield from (f"{run.place}/checkpoints/{name}" for name in self.dice.choices(_CHECKPOINTS, k=5))
        homes = [one.place for one in self.experiments] + [_ROOT, f"{_ROOT}/9", f"{_ROOT}/1"]
        for _ in range(self.dice.choice([0, 1, 2, 3, 4]) + 3 * self.is_empty):
            yield f"{self.dice.choice(homes)}/{self.dice.choice(_LOOSE)}"
        if self._some(0.15):
            yield f"{self.near()}/g"

    def _object(self, address: str) -> StoredObject:
        form = self.dice.choice(_FORMS)
        modified = None if self._some(0.06) else self._ago([1000, 1000, 300, 100] if self._some(0.85) else _AGES)
        size = 0 if form is Form.MARKER else self.dice.randrange(10)
        return StoredObject(address, size, modified, form, self.dice.choice(["", "", "v2"]))


def shown(world: World) -> str:
    """Return a world as a person can read it, a record a line, with hours ago for times."""
    state, objects, rules = world
    records = [one for column in _columns(state) for one in getattr(state, column)]
    lines = [f"has_rows={state.has_rows}", _shown(rules), *(_shown(one) for one in (*records, *objects))]
    return "\n".join(lines)


def _shown(record: object) -> str:
    told = []
    for one in fields(record):  # type: ignore[arg-type]
        value = getattr(record, one.name)
        if one.name.endswith("_ms") and value is not None:
            told.append(f"{one.name[:-3]}={(NOW - value) // HOUR}h")
        elif value != one.default and value not in ((), {}):
            told.append(f"{one.name}={value!s}")
    return f"{type(record).__name__}({', '.join(told)})"


def _columns(state: State) -> list[str]:
    return [one.name for one in fields(state) if one.name != "has_rows"]


def _smaller(world: World) -> Iterator[World]:
    """Yield the world without each one thing that there is in it."""
    state, objects, rules = world
    for at in range(len(objects)):
        yield state, objects[:at] + objects[at + 1 :], rules
    for column in _columns(state):
        records = getattr(state, column)
        for at in range(len(records)):
            yield replace(state, **{column: records[:at] + records[at + 1 :]}), objects, rules
    for column in ("retention", "experiment_ids", "run_ids", "roots"):
        asked = getattr(rules, column)
        for at in range(len(asked)):
            yield state, objects, replace(rules, **{column: asked[:at] + asked[at + 1 :]})


def try_world(seed: int, check: Callable[[World], None]) -> None:
    """Check something of the world of a seed.

    Raises:
        AssertionError: It does not hold; names the seed, and shows a world as small as dropping things could make it.
    """
    world = make_world(seed)
    problem = _problem(check, world)
    if problem is None:
        return
    smallest = next(iter(_shrunk(world, check)))
    raise AssertionError(f"seed {seed}: {problem!r}\n{shown(smallest)}\nthere: {_problem(check, smallest)!r}")


def _shrunk(world: World, check: Callable[[World], None]) -> Iterator[World]:
    found: World | None = world
    while found is not None:
        world = found
        found = next((one for one in _smaller(world) if _problem(check, one) is not None), None)
    yield world


def _problem(check: Callable[[World], None], world: World) -> Exception | None:
    try:
        check(world)
    except Exception as problem:  # whatever goes wrong is a world to be shown
        return problem
    return None
