"""How many steps of BasketWorld games a core does, in a batch and one game at a time."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np

from benchmarks.session import Session, say
from benchmarks.table import Table
from holdfast_examples.basketworld.game.environment import BasketWorld
from holdfast_examples.basketworld.game.games import Games
from holdfast_examples.basketworld.game.legal import sample_legal
from holdfast_examples.basketworld.game.rules import Rules

_BATCHES = (1, 64, 1024, 4096, 16384)
_TURN_S = 0.5
_TURNS = 3  # for each of the session's rounds
_RULES = Rules()

Play = Callable[[], int]


def measure(session: Session) -> list[Table]:
    """Return a table of single-game steps a second of 2v2 random play, by form and by batch."""
    with _one_core():
        ways = {"Gymnasium environment, one game": _environment()}
        ways |= {f"batch of {n:,}": _batch(n) for n in _BATCHES}
        return [_table(_take_turns(ways, _TURNS * session.rounds))]


@contextmanager
def _one_core() -> Iterator[None]:
    """Stay on one core, where the system lets a process choose."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    with suppress(OSError):
        os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _environment() -> Play:
    """Return what plays one step of one game, masks, observation and new episodes included."""
    environment, rng = BasketWorld(_RULES), np.random.default_rng(0)
    seen = [environment.reset(seed=0)[0]]

    def play() -> int:
        actions = sample_legal(seen[0]["action_mask"].astype(np.bool_), rng)
        seen[0], _, ended, cut, _ = environment.step(actions)
        if ended or cut:
            seen[0] = environment.reset()[0]
        return 1

    return play


def _batch(n: int) -> Play:
    """Return what plays a step of n games, masks and new episodes included."""
    games, rng = Games(_RULES, n, seed=0), np.random.default_rng(0)

    def play() -> int:
        games.step(sample_legal(games.legal(), rng))
        games.reset(games.done)
        return n

    return play


def _take_turns(ways: dict[str, Play], turns: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for play in ways.values():
        play()
    for turn in range(turns):
        say(f"basketworld: turn {turn + 1} of {turns}")
        for name, play in ways.items():
            taken[name].append(_steps_per_s(play))
    return taken


def _steps_per_s(play: Play) -> float:
    begun, steps = time.perf_counter(), 0
    while (spent := time.perf_counter() - begun) < _TURN_S:
        steps += play()
    return steps / spent


def _table(taken: dict[str, list[float]]) -> Table:
    table = Table(
        "BasketWorld, 2 a side, random legal play on one core: single-game steps a second",
        ["", "median", "least", "most", "× one game", "× environment"],
    )
    medians = {name: statistics.median(one) for name, one in taken.items()}
    environment, alone = list(medians.values())[:2]
    for name, one in taken.items():
        middle = medians[name]
        table.add(name, middle, min(one), max(one), middle / alone, middle / environment)
    table.note("", f"Medians of {len(taken[next(iter(taken))])} turns of {_TURN_S} s, in turn with the others.")
    table.note("", "All choose among the legal actions and begin new episodes; the environment also observes.")
    return table
