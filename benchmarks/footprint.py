"""What logging takes of the machine: CPU of the trainer, disk, and memory."""

from __future__ import annotations

import time

from benchmarks.children import Child, PeerError, read_proc, rss_mb
from benchmarks.peers import get_peer
from benchmarks.peers.holdfast_peers import SHIPPER
from benchmarks.session import CALLERS, OURS, Measured, Session, label_of, say
from benchmarks.table import Table, ratio

_WATCH_S = 5.0
_LIMIT_S = 10.0


def measure(session: Session) -> list[Table]:
    """Return the table of CPU, disk and memory, and that of the shipper's memory."""
    table = Table(
        f"Footprint of the training process, 10 metrics a step, medians of {session.rounds} rounds",
        [
            *("", "CPU µs/step", "× Holdfast", "with closing", "bytes a metric: 1 a call", "10 a call"),
            *("peak RSS MB", "to reach"),
        ],
    )
    ours = session.calls.get((OURS, 10), Measured())["cpu_us"]
    for name in session.chosen(CALLERS):
        one, ten = session.calls[name, 1], session.calls[name, 10]
        cpu = ten["cpu_us"]
        table.add(
            *(label_of(name), cpu, ratio(cpu, ours), ten["cpu_closed_us"], one["bytes"], ten["bytes"]),
            *(ten["rss_mb"], "CPU ≤ 8" if name == OURS else None),
        )
        table.note(label_of(name), ten.error or ten.note)
    table.note("", "CPU is user and system time of the loop, all threads; bytes are what the files grew by.")
    return [table, _shipper(session)]


def _shipper(session: Session) -> Table:
    table = Table("Processes beside the training process, 20,000 steps of ten metrics", ["", "peak RSS MB", "to reach"])
    for name in session.chosen((OURS, "override", "wandb")):
        say(f"helpers of {name}")
        try:
            peak_mb = _peak_of_helpers(session, name)
        except PeerError as error:
            table.add(label_of(name))
            table.note(label_of(name), str(error))
            continue
        table.add(label_of(name), peak_mb or None, "≤ 60" if name != "wandb" else None)
        table.note(label_of(name), "" if peak_mb else "there is no process beside it")
    return table


def _peak_of_helpers(session: Session, name: str) -> float:
    """Return the largest memory of a helper while a run is logged and for some seconds after."""
    peak_mb = 0.0
    with Child(name, session.servers.uri) as child:
        child.start("measure", count=10, calls=get_peer(name).calls, limit_s=_LIMIT_S)
        watched_since: float | None = None
        while watched_since is None or time.monotonic() < watched_since + _WATCH_S:
            pids = [pid for pid in child.helpers() if name == "wandb" or SHIPPER in read_proc(pid, "cmdline").decode()]
            peak_mb = max([peak_mb, *map(rss_mb, pids)])
            if child.has_ended():
                watched_since = watched_since or time.monotonic()
                if not pids:
                    break
            time.sleep(0.02)
        child.answer(1.0)
    return peak_mb
