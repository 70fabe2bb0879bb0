"""What a peer's process is asked to do: measure calls, log at a pace until killed, log flat out, read back."""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.base import KEY, Job, Log, Metrics, Peer

# A page shared with the parent: acknowledged calls, when the present call began (0: none is under way) and in
# which phase, the phase that the parent says it is, refused calls, then the longest call begun in each phase.
SLOTS = struct.Struct("<9q")
ACKNOWLEDGED, BEGUN_NS, BEGUN_IN, PHASE, REFUSED, WORST_NS = range(6)
PHASES = 4
_WARM_UP = 100
_RING = 256


def measure(peer: Peer, job: Job, count: int, calls: int, limit_s: float) -> dict[str, Any]:
    """Time each of up to `calls` calls of `count` metrics; return quantiles, CPU, and bytes on disk a metric."""
    peer.open(job)
    log, ring = peer.logger(count), _ring(count)
    for step in range(min(_WARM_UP, calls // 50)):
        log(ring[step % _RING], step)
    size_before, cpu_before = _size(peer.data(job.folder)), time.process_time()
    taken_ns = _time_calls(log, ring, calls, limit_s)
    cpu_loop = time.process_time() - cpu_before
    size = _size(peer.data(job.folder))
    note = peer.note()
    if peer.closes:
        peer.close()
    done = len(taken_ns)
    # A shipper may have removed by now what it delivered; most others write only when they end.
    size = max(size, _size(peer.data(job.folder))) - size_before
    taken_ns.sort()
    return {
        "calls": done,
        "p50_us": taken_ns[done // 2] / 1e3,
        "p99_us": taken_ns[min(done - 1, done * 99 // 100)] / 1e3,
        "cpu_us": cpu_loop / done * 1e6,
        "cpu_closed_us": (time.process_time() - cpu_before) / done * 1e6 if peer.closes else None,
        "bytes": size / done / count if size > 0 else None,
        "rss_mb": _peak_rss_mb(),
        "note": note,
    }


def pace(peer: Peer, job: Job, page: str, calls_per_s: float) -> dict[str, Any]:
    """Log one metric at a time, so many a second, until killed; what is acknowledged goes into the page."""
    peer.open(job)
    log = peer.logger(1)
    with Path(page).open("r+b") as file:
        shared = memoryview(mmap.mmap(file.fileno(), SLOTS.size)).cast("q")
    step, due = 0, time.monotonic()
    while True:
        begun = time.monotonic_ns()
        shared[BEGUN_IN] = phase = shared[PHASE]
        shared[BEGUN_NS] = begun
        try:
            log({KEY: step * 0.5}, step)
        except Exception:
            shared[REFUSED] += 1
        else:
            step += 1
            shared[ACKNOWLEDGED] = step
        shared[WORST_NS + phase] = max(shared[WORST_NS + phase], time.monotonic_ns() - begun)
        shared[BEGUN_NS] = 0
        due = max(due + 1 / calls_per_s, time.monotonic() - 0.1)
        time.sleep(max(0.0, due - time.monotonic()))


def flood(peer: Peer, job: Job, steps: int) -> dict[str, Any]:
    """Log `steps` steps of ten metrics flat out and end the run; return the clock's readings."""
    peer.open(job)
    log, ring = peer.logger(10), _ring(10)
    begun = time.monotonic()
    for step in range(steps):
        log(ring[step % _RING], step)
    logged, note = time.monotonic(), peer.note()
    peer.close()
    return {"begun": begun, "logged": logged, "closed": time.monotonic(), "note": note}


def read_back(peer: Peer, job: Job, acknowledged: int) -> dict[str, int]:
    """Return how many of the first `acknowledged` steps are nowhere in the files, and how many are there twice."""
    found = peer.stored(job.folder)
    return {
        "lost": sum(1 for step in range(acknowledged) if not found[step]),
        "twice": sum(1 for times in found.values() if times > 1),
    }


TASKS = {"measure": measure, "pace": pace, "flood": flood, "read_back": read_back}


def _time_calls(log: Log, ring: list[Metrics], calls: int, limit_s: float) -> list[int]:
    clock = time.perf_counter_ns
    taken: list[int] = []
    keep = taken.append
    end = clock() + int(limit_s * 1e9)
    for step in range(1000, 1000 + calls):
        metrics = ring[step % _RING]
        begun = clock()
        log(metrics, step)
        ended = clock()
        keep(ended - begun)
        if ended > end:
            break
    return taken


def _ring(count: int) -> list[Metrics]:
    """Return steps' worth of metrics made beforehand: what a loop logs, but not the making of it."""
    keys = [KEY, *(f"metric_{i}" for i in range(1, count))]
    return [{key: 0.1 + row * 0.37 + column for column, key in enumerate(keys)} for row in range(_RING)]


def _peak_rss_mb() -> float:
    # Not getrusage: its figure begins with that of the parent, from before the exec.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # delivered and removed meanwhile
            continue
    return size
