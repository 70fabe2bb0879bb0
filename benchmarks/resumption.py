"""How long a training takes to its first step: begun, killed and resumed, and resumed where its files are gone."""

from __future__ import annotations

import shutil
import statistics
from dataclasses import dataclass

from benchmarks.children import PeerError
from benchmarks.learners import Learner
from benchmarks.loops.first_step import BATCH_SIZE, SAVED_AT, STEPS
from benchmarks.session import say
from benchmarks.table import Table, ratio

_PLAIN, _PLAIN_RESUMED, _FRESH, _RESUMED, _FETCHED = (
    "Lightning alone, fresh",
    "Lightning alone, from its checkpoint",
    "TrainingPipeline, fresh",
    "TrainingPipeline, resumed after SIGKILL",
    "the same, local files gone",
)
_AFTER_KILL = 3


@dataclass(frozen=True)
class _First:
    """Seconds to the first step, from the start of the process and from the call of `train`."""

    process_s: float
    train_s: float


def measure_resumption(uri: str, rounds: int) -> Table:
    """Return the table of first steps."""
    taken: dict[str, list[_First]] = {}
    table = Table(
        "Seconds to the first optimizer step, medians",
        ["", "from process start", "min … max", "× Lightning", "from train()", "min … max", "× Lightning"],
    )
    for round_ in range(rounds):
        for tracker in (False, True):
            say(f"first steps, round {round_ + 1} of {rounds}, {'pipeline' if tracker else 'Lightning alone'}")
            try:
                _measure(uri, tracker, taken)
            except PeerError as error:
                table.note("TrainingPipeline" if tracker else "Lightning alone", str(error))
    _fill(table, taken)
    table.note(
        "", f"Killed right after step {SAVED_AT + _AFTER_KILL} and resumed at once from the checkpoint of {SAVED_AT},"
    )
    table.note(
        "",
        f"which is step {SAVED_AT % STEPS} of {STEPS} of the second epoch (batches of {BATCH_SIZE}): the pipeline goes "
        "on there, Lightning alone begins the epoch's data anew.",
    )
    return table


def _measure(uri: str, tracker: bool, taken: dict[str, list[_First]]) -> None:
    fresh, resumed = (_FRESH, _RESUMED) if tracker else (_PLAIN, _PLAIN_RESUMED)
    with Learner("first step", uri) as one:
        given = {"uri": uri, "experiment": one.experiment, "tracker": tracker}
        one.start("first-step", **given, resume=None, until=SAVED_AT + _AFTER_KILL)
        _note(taken, fresh, one.hear(), one, 1)
        one.hear()
        one.kill()
        _go_on(taken, resumed, one, given)
        if tracker:
            shutil.rmtree(one.folder / "outputs")
            _go_on(taken, _FETCHED, one, given)


def _go_on(taken: dict[str, list[_First]], name: str, killed: Learner, given: dict[str, object]) -> None:
    with Learner(name, killed.uri, killed.folder) as one:
        one.start("first-step", **given, resume="last", until=0)
        _note(taken, name, one.hear(), one, SAVED_AT + 1)
        one.kill()


def _note(taken: dict[str, list[_First]], name: str, said: dict[str, float], one: Learner, step: int) -> None:
    if said["step"] != step:
        raise PeerError(f"{name}: the first step was {said['step']} and not {step}")
    first = said["first_step"]
    taken.setdefault(name, []).append(_First(first - one.begun, first - said["train_called"]))


def _fill(table: Table, taken: dict[str, list[_First]]) -> None:
    base = taken.get(_PLAIN, [])
    for name in (_PLAIN, _PLAIN_RESUMED, _FRESH, _RESUMED, _FETCHED):
        cells: list[str | float | None] = []
        for key in ("process_s", "train_s"):
            values = [getattr(one, key) for one in taken.get(name, [])]
            floor = [getattr(one, key) for one in base]
            if not values:
                cells += [None] * 3
                continue
            middle = statistics.median(values)
            cells += [middle, f"{min(values):.2f} … {max(values):.2f}", ratio(middle, _median(floor))]
        table.add(name, *cells)


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None
