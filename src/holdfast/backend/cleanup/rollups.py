"""The daily sums of traces that MLflow 3.17 and newer may keep: those of a day from which traces go are made anew."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from holdfast.backend.cleanup.tables import Tables

QUEUE = "sql_trace_rollup_rebuild_queue"
# The tables of sums, and what the queue calls each.
SUMS = {
    "sql_trace_metric_daily_rollups": "trace_metric",
    "sql_span_cost_daily_rollups": "span_cost",
    "sql_assessment_daily_rollups": "assessment",
}
_KEY = ("experiment_id", "rollup_day", "rollup_family")


def queue_rebuilds(tables: Tables, trace_ids: Sequence[str]) -> None:
    """Have MLflow sum up anew the days of traces that are about to go, in the experiments for which it keeps sums.

    MLflow does so itself where traces are deleted through a server that has rollups switched on, which nobody can tell
    from the database; sums that are there do.
    """
    from sqlalchemy import insert, select

    if QUEUE not in tables or "trace_info" not in tables:
        return
    known = tables["trace_info"].c.request_id.in_(trace_ids)
    rows = tables.rows("trace_info", "experiment_id", "timestamp_ms", where=(known,))
    days = sorted({(experiment_id, day) for experiment_id, timestamp_ms in rows if (day := _day(timestamp_ms))})
    queued = {tuple(row) for row in tables.rows(QUEUE, *_KEY)}
    for table, family in SUMS.items():
        if days and table in tables:
            kept = set(tables.connection.execute(select(tables[table].c.experiment_id).distinct()).scalars())
            keys = [(*day, family) for day in days if day[0] in kept]
            new = [dict(zip(_KEY, key, strict=True)) for key in keys if key not in queued]
            if new:
                tables.connection.execute(insert(tables[QUEUE]), new)


def _day(timestamp_ms: int) -> date | None:
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC).date()
    except (OverflowError, OSError, ValueError):  # no day of this calendar, and no sum is kept for it
        return None
