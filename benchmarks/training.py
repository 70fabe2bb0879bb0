"""What logging costs a training with Lightning, and how soon a resumed one trains."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.children import PeerError
from benchmarks.learners import Learner
from benchmarks.loops import AGAIN, CASES, COMPARED, NONE, WAYS, Case
from benchmarks.resumption import measure_resumption
from benchmarks.session import Session, say
from benchmarks.table import Table
from holdfast.testing import FaultProxy

_LATENCY_S = 0.005
_START_S = 300.0
_LIMIT_S = 30.0  # of a case, for each of the session's rounds
_WARM_UP, _FEWEST = 1, 4


def measure(session: Session) -> list[Table]:
    """Return a table of the steps for each case, and one of first steps."""
    with FaultProxy(session.servers.uri) as proxy:
        proxy.delay(_LATENCY_S)
        tables = [_measure_case(number, proxy.url, session.rounds) for number in range(len(CASES))]
        return [*tables, measure_resumption(proxy.url, session.rounds)]


@dataclass
class _Taken:
    """What one way's turns took: steps beside those of the turn of `none` just before, in s."""

    steps: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    cpu_ratios: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    epoch_ends: list[float] = field(default_factory=list)
    helpers_cpu: float = 0.0
    end_s: float | None = None


def _measure_case(number: int, uri: str, rounds: int) -> Table:
    case = CASES[number]
    taken = {name: _Taken() for name in WAYS}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="hf-bench-loops-") as scratch, contextlib.ExitStack() as stack:
        learners: dict[str, Learner] = {}
        for name in WAYS:
            with _noting(failed, name):
                learners[name] = stack.enter_context(_begin(name, number, uri, Path(scratch)))
        for name, learner in learners.items():
            with _noting(failed, name):
                learner.hear(_START_S)
                learner.halt()
        _take_turns(case, learners, taken, failed, rounds * _LIMIT_S)
        for name in [name for name in learners if name not in failed]:
            say(f"training, {case.name}: the end of {name}")
            with _noting(failed, name):
                taken[name].end_s = _end(learners[name])
    return _table(case, taken, failed)


def _begin(name: str, number: int, uri: str, scratch: Path) -> Learner:
    way = WAYS[name]
    where = f"sqlite:///{scratch}/{name}.db" if way.store == "sqlite" else uri
    learner = Learner(name, uri, own_venv=way.own_venv)
    try:
        # An experiment each: two MLflows that make the same one at once fail.
        learner.start("turns", way=name, case=number, uri=where, experiment=learner.experiment)
    except BaseException:
        learner.__exit__()
        raise
    return learner


def _take_turns(
    case: Case, learners: dict[str, Learner], taken: dict[str, _Taken], failed: dict[str, str], limit_s: float
) -> None:
    warm_up = {name: _Taken() for name in WAYS}
    deadline, turn = time.monotonic() + limit_s, 0
    while turn < _WARM_UP + _FEWEST or time.monotonic() < deadline:
        say(f"training, {case.name}: turn {turn + 1}, {deadline - time.monotonic():.0f} s left")
        # Each time in another order, so that nobody always follows the same one.
        order = COMPARED[turn % len(COMPARED) :] + COMPARED[: turn % len(COMPARED)]
        # Two at a time; there is an even number of them.
        for pair in zip(order[::2], order[1::2], strict=True):
            _take_four(case, pair, learners, taken if turn >= _WARM_UP else warm_up, failed)
        turn += 1


def _take_four(
    case: Case, pair: tuple[str, str], learners: dict[str, Learner], taken: dict[str, _Taken], failed: dict[str, str]
) -> None:
    """Give two ways a turn, with one of `none` before and one after; each is compared with the mean of these."""
    found: list[tuple[str, dict[str, float]]] = []
    for name in (NONE, *pair, NONE):
        if name not in failed:
            with _noting(failed, name):
                found.append((name, _turn(learners[name], case, taken[name])))
    base = [one for name, one in found if name == NONE]
    for name, one in found:
        if name != NONE and len(base) == 2:
            taken[name].ratios.append(2 * one["wall_s"] / (base[0]["wall_s"] + base[1]["wall_s"]))
            taken[name].cpu_ratios.append(2 * one["cpu_s"] / (base[0]["cpu_s"] + base[1]["cpu_s"]))


def _turn(learner: Learner, case: Case, taken: _Taken) -> dict[str, float]:
    """Let one train an epoch; return what it says of it."""
    cpu_before = learner.helpers_cpu_s()
    learner.go_on()
    learner.say("go")
    said = learner.hear()
    learner.halt()
    taken.helpers_cpu += max(0.0, learner.helpers_cpu_s() - cpu_before) / case.steps
    taken.steps.append(said["wall_s"] / case.steps)
    taken.cpu.append(said["cpu_s"] / case.steps)
    taken.calls.append(said["calls_s"] / case.steps)
    taken.epoch_ends.append(said["epoch_end_s"])
    return said


def _end(learner: Learner) -> float:
    """End a training in good order; return how long that takes, to the exit of its process, in s."""
    learner.go_on()
    begun = time.monotonic()
    learner.say("end")
    learner.wait_for_exit()
    return time.monotonic() - begun


@contextlib.contextmanager
def _noting(failed: dict[str, str], name: str) -> Iterator[None]:
    try:
        yield
    except PeerError as error:
        failed[name] = str(error)


def _table(case: Case, taken: dict[str, _Taken], failed: dict[str, str]) -> Table:
    base = taken[NONE]
    usual = statistics.median(base.steps) if base.steps else 0.0
    table = Table(
        f"A Lightning training on one core, {case.name}: {usual * 1e3:.1f} ms without a tracker, "
        f"logged every {case.log_every}",
        [
            *("", "steps/s", "slower by %", "quartiles", "in calls µs", "of the step %", "more CPU %", "quartiles"),
            *("others' CPU %", "epoch's end ms", "end s"),
        ],
    )
    for name, way in WAYS.items():
        one = taken[name]
        if name in failed or not one.steps:
            table.add(way.label)
            table.note(way.label, failed.get(name, "not measured"))
            continue
        calls = statistics.median(one.calls)
        table.add(
            *(way.label, 1 / statistics.median(one.steps), *_percent(one.ratios)),
            *(calls * 1e6, f"{100 * calls / usual:.2f}", *_percent(one.cpu_ratios)),
            *(100 * one.helpers_cpu / len(one.steps) / usual, statistics.median(one.epoch_ends) * 1e3, one.end_s),
        )
    for note in _notes(case, len(taken[AGAIN].ratios)):
        table.note("", note)
    return table


def _percent(ratios: list[float]) -> tuple[str | None, str | None]:
    if len(ratios) < 2:
        return None, None
    low, middle, high = (100 * (value - 1) for value in statistics.quantiles(ratios, n=4))
    return f"{middle:+.2f}", f"{low:+.1f} … {high:+.1f}"


def _notes(case: Case, turns: int) -> list[str]:
    return [
        "All in one run, one process each, of which one trains while the others are stopped (SIGSTOP); what a tracker "
        "does in the background falls into its own turns.",
        f"Slower by, more CPU: medians of {turns} turns of {case.steps} steps, each beside the mean of two turns of "
        f"`{WAYS[NONE].label}`, before and after.",
        f"`{WAYS[AGAIN].label}` is how far two processes that do the same come apart.",
        "In calls: what a step spends in `log_metrics` and in callbacks, in the training's thread, timed one by one; "
        f"% of the {WAYS[NONE].label} step. Others' CPU: that of processes a tracker started, on the other core.",
        "All log loss, accuracy and learning rate; the pipeline also the gradients' norm and system metrics, and it "
        "stores the best and the latest checkpoints with the run. W&B measures the system too, as it comes.",
        f"The server: {_LATENCY_S * 1e3:.0f} ms before each request, on the same cores.",
        "Epoch's end: validation and checkpoints (all keep the best three; only the pipeline also the latest, synced).",
        "End: from the last step to the process's exit, with everything sent that a tracker sends then.",
    ]
