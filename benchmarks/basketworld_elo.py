"""How a round-robin of BasketWorld's checkpoints scales with processes."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.session import Session, say
from benchmarks.table import Table, ratio
from holdfast_examples.basketworld.analytics.elo import rate
from holdfast_examples.basketworld.analytics.pairings import Pairings, pair
from holdfast_examples.basketworld.analytics.sides import Side
from holdfast_examples.basketworld.analytics.units import MatchUnit, Score, seed_of
from holdfast_examples.basketworld.analytics.workers import Processes

_CHECKPOINTS, _EPISODES = 20, 100
_WORKERS = (1, 2)


def measure(session: Session) -> list[Table]:
    """Return a table of what the same tournament takes with one process and with two, in turns."""
    with tempfile.TemporaryDirectory(prefix="hf-bench-elo-") as scratch:
        units = _units(Path(scratch))
        taken: dict[int, list[tuple[float, float]]] = {count: [] for count in _WORKERS}
        found: dict[int, list[Score]] = {}
        for round_ in range(session.rounds):
            for count in _WORKERS:
                say(f"elo, round {round_ + 1} of {session.rounds}: {count} workers")
                found[count], *times = _play(units, count)
                taken[count].append((times[0], times[1]))
    return [_table(taken, found, session.rounds)]


def _units(folder: Path) -> list[MatchUnit]:
    from holdfast_examples.basketworld.game.rules import Rules
    from holdfast_examples.basketworld.play.policy_files import untrained_policy, write_policy

    rules, sides = Rules(), []
    for number in range(_CHECKPOINTS):
        path = folder / f"unified_policy_alt_{number}.zip"
        write_policy(untrained_policy(rules, seed=number), path, rules, number, (64, 64))
        sides.append(Side(f"alternation {number}", str(path)))
    pairs = pair(_CHECKPOINTS, Pairings.ROUND_ROBIN)
    return [MatchUnit(sides[old], sides[new], _EPISODES, seed_of(0, old, new)) for old, new in pairs]


def _play(units: list[MatchUnit], workers: int) -> tuple[list[Score], float, float]:
    """Return the scores, the wall time from no process to none, and that from the first result to the last, in s."""
    said: list[float] = []
    began_s = time.monotonic()
    with Processes(workers) as crew:
        scores = crew.work(units, lambda _: said.append(time.monotonic()))
    return scores, time.monotonic() - began_s, said[-1] - said[0]


def _table(taken: dict[int, list[tuple[float, float]]], found: dict[int, list[Score]], rounds: int) -> Table:
    table = Table(
        f"A round-robin of {_CHECKPOINTS} checkpoints, {_EPISODES} episodes a match",
        ["workers", "in all s", "× of one", "playing s", "× of one", "episodes/s"],
    )
    one = [statistics.median(times) for times in zip(*taken[_WORKERS[0]], strict=True)]
    games = sum(score.episodes for score in found[_WORKERS[0]])
    for count, times in taken.items():
        whole, playing = (statistics.median(each) for each in zip(*times, strict=True))
        table.add(f"{count}", whole, ratio(one[0], whole), playing, ratio(one[1], playing), games / whole)
    same = len({tuple(scores) for scores in found.values()}) == 1
    pairs = pair(_CHECKPOINTS, Pairings.ROUND_ROBIN)
    best = rate(list(range(_CHECKPOINTS)), pairs, found[_WORKERS[0]]).peak
    table.note(
        "", f"Medians of {rounds} rounds in turns, on {len(os.sched_getaffinity(0))} cores, one thread a process."
    )
    table.note("", "In all: with the start and the end of the processes, and their imports; playing: without.")
    table.note("", f"The scores are {'the same' if same else 'NOT THE SAME'} in all rounds; the strongest is {best}.")
    return table
