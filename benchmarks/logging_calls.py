"""What one call costs the training loop."""

from __future__ import annotations

from benchmarks.session import CALLERS, LIMIT_S, OURS, Measured, Session, label_of
from benchmarks.table import Table, ratio

_TO_REACH = {"holdfast": "3/15, 6/25", "override": "p50 ≤ 20", "override-registry": "p50 ≤ 20"}


def measure(session: Session) -> list[Table]:
    """Return p50 and p99 of a call, by peer."""
    table = Table(
        f"One logging call, µs: tight loop, one process, medians of {session.rounds} rounds in turn",
        ["", "1 metric p50", "p99", "× Holdfast", "10 metrics p50", "p99", "× Holdfast", "to reach"],
    )
    ours = [session.calls.get((OURS, count), Measured())["p50_us"] for count in (1, 10)]
    for name in session.chosen(CALLERS):
        pair = [session.calls[name, count] for count in (1, 10)]
        cells = [
            cell
            for one, own in zip(pair, ours, strict=True)
            for cell in (one["p50_us"], one["p99_us"], ratio(one["p50_us"], own))
        ]
        table.add(label_of(name), *cells, _TO_REACH.get(name))
        for one in pair:
            table.note(label_of(name), one.error or one.note)
    table.note("", f"Each measurement: up to 20,000 calls (MLflow to a server fewer), or as many as {LIMIT_S} s allow.")
    return [table]
