"""How fast what was logged is on the server."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from benchmarks.children import Child, PeerError
from benchmarks.session import Session, label_of, say
from benchmarks.table import Table, ratio

_BARE = "bare-posts"
_STEPS = {"holdfast": 3000, "override": 3000, _BARE: 3000, "mlflow-async": 300, "mlflow-sync": 100}
_TIMEOUT_S = 60.0
_POLL_S = 0.1


@dataclass(frozen=True)
class _Flood:
    per_s: float
    logged_s: float
    note: str


def measure(session: Session) -> list[Table]:
    """Return metrics a second, from the first call until the last one is in the database, by peer."""
    table = Table(
        f"Delivery: metrics/s until all are in PostgreSQL behind `mlflow server`, 10 a step, flat out, "
        f"medians of {session.rounds} rounds in turn",
        ["", "metrics", "metrics/s", "× bare loop", "loop took s", "to reach"],
    )
    taken: dict[str, list[_Flood]] = {name: [] for name in _STEPS if name == _BARE or session.chosen((name,))}
    failed: set[str] = set()
    for round_ in range(session.rounds):
        for name in [name for name in taken if name not in failed]:
            say(f"delivery, round {round_ + 1} of {session.rounds}: {name}")
            try:
                taken[name].append(_flood(session, name, _STEPS[name]))
            except PeerError as error:
                failed.add(name)
                table.note(label_of(name), str(error))
    for name, rounds in taken.items():
        _add_row(table, name, rounds, taken[_BARE])
    return [table]


def _add_row(table: Table, name: str, rounds: list[_Flood], bare: list[_Flood]) -> None:
    if not rounds:
        table.add(label_of(name))
        return
    per_s = statistics.median(one.per_s for one in rounds)
    # Round by round, so that a machine that slows down slows both.
    ratios = [ratio(one.per_s, base.per_s) or 0.0 for one, base in zip(rounds, bare, strict=False)]
    table.add(
        *(label_of(name), _STEPS[name] * 10, per_s, statistics.median(ratios) if ratios else None),
        *(statistics.median(one.logged_s for one in rounds), "≥ 0.90×" if name == "holdfast" else None),
    )
    table.note(label_of(name), rounds[0].note)


def _flood(session: Session, name: str, steps: int) -> _Flood:
    servers = session.servers
    with Child(name, servers.uri) as child:
        child.start("flood", steps=steps)
        deadline = time.monotonic() + _TIMEOUT_S
        while (found := servers.count_metrics(child.experiment)) < steps * 10:
            if time.monotonic() > deadline:
                raise PeerError(f"{found:,} of {steps * 10:,} metrics were there after {_TIMEOUT_S:.0f} s")
            if child.has_ended():
                child.answer(1.0)  # raises where it failed; else a helper is at work
            time.sleep(_POLL_S)
        arrived = time.monotonic()
        clock = child.answer(60.0)
        return _Flood(steps * 10 / (arrived - clock["begun"]), clock["logged"] - clock["begun"], clock["note"])
