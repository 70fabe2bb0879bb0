"""Timing two things in turn, so that a machine that slows down slows both."""

from __future__ import annotations

import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """Medians of ours and theirs, and the median of the ratios pair by pair."""

    ours: float
    theirs: float
    ratio: float


def compare(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> Pair:
    """Measure both in turn, `rounds` times after one warm-up each; each call returns its own cost."""
    ours()
    theirs()
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    return Pair(
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )


def cpu_of(command: Sequence[str]) -> float:
    """Run a command and return the CPU time it took, in seconds.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def wall_of(call: Callable[[], object], times: int) -> float:
    """Return the median wall time of a call, in seconds."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
