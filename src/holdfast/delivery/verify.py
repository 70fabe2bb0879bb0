"""Compares what a journal says was logged with what the server has: `holdfast verify`.

Files are not compared: the journal deletes its copy as soon as the store has one, verified by checksum where it can be.
It is only told how many are still to be uploaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from holdfast.core.names import END_STATUSES
from holdfast.core.sending import RunRef, Sender
from holdfast.delivery.logged import Choice, Logged, LoggedMetric, PackedPoint, pack_point, read_logged, unpack_point
from holdfast.delivery.offline_files import files_waiting
from holdfast.delivery.places import FoundRun
from holdfast.journal.spool import Spool

_EXAMPLES = 5


class Verdict(StrEnum):
    """What a comparison came to."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    MISSING = "missing"
    PENDING = "pending"


@dataclass
class MetricCheck:
    """One metric.

    Attributes:
        name: Its name.
        logged: How many different values the journal has.
        found: How many of these the server has.
        missing: How many it lacks that were delivered.
        pending: How many it lacks that are still to be delivered.
        aside: How many it refused.
        examples: The first of those that are missing: value, timestamp (ms) and step.
    """

    name: str
    logged: int = 0
    found: int = 0
    missing: int = 0
    pending: int = 0
    aside: int = 0
    examples: list[tuple[float, int, int]] = field(default_factory=list)


@dataclass
class Difference:
    """A param, tag or status that is another one on the server.

    Attributes:
        what: `param`, `tag` or `status`.
        name: Its name; empty for the status.
        logged: What it should be; None for a tag that was deleted.
        found: What it is; None where it is not there.
    """

    what: str
    name: str
    logged: str | None
    found: str | None


@dataclass
class Report:
    """What a comparison came to.

    Attributes:
        run_id: The run, as it was asked for.
        server_id: Its id on the server; None where it is not there yet.
        problem: Why nothing could be compared, or an empty text.
        metrics: Each metric.
        params: How many params are as they were logged.
        tags: How many tags are.
        differences: What is another one.
        aside: How many things are set aside.
        pending: How many records are still to be delivered.
        damaged: How many places of the journal cannot be read.
        gone: How many delivered segments were deleted to make room.
        lost: How many segments are missing from the journal, and nobody knows why.
        uncompared: How many delivered records of datasets and models were not compared.
        status: The run's on the server.
        files_waiting: How many files that were logged are still to be uploaded; those that were set aside count
            among `aside`.
        removals_waiting: How many paths are still to be deleted from the artifact store.
        removals_aside: How many the store does not let be deleted, which makes nothing incomplete.
    """

    run_id: str
    server_id: str | None = None
    problem: str = ""
    metrics: list[MetricCheck] = field(default_factory=list)
    params: int = 0
    tags: int = 0
    differences: list[Difference] = field(default_factory=list)
    aside: int = 0
    pending: int = 0
    damaged: int = 0
    gone: int = 0
    lost: int = 0
    uncompared: int = 0
    status: str = ""
    files_waiting: int = 0
    removals_waiting: int = 0
    removals_aside: int = 0

    @property
    def missing(self) -> int:
        """How many values of metrics are missing."""
        return sum(metric.missing for metric in self.metrics)

    @property
    def verdict(self) -> Verdict:
        """What it came to; `partial` where all that the journal still holds is there, and it does not hold all."""
        is_gone = self.server_id is not None and bool(self.problem)
        if is_gone or self.missing or self.differences or self.aside or self.damaged or self.lost:
            return Verdict.MISSING
        if self.server_id is None or self.pending or self.files_waiting or self.removals_waiting:
            return Verdict.PENDING
        return Verdict.PARTIAL if self.gone else Verdict.COMPLETE


def verify(run_id: str, runs: Iterable[FoundRun], sender: Sender, tick: Callable[[str], None]) -> Report:
    """Compare what journals say was logged to a run with what the server has.

    Values that others have logged are no concern: the server may have more.

    Args:
        run_id: The run, as it was asked for.
        runs: Its folders.
        sender: The server.
        tick: Called with the name of each metric before it is asked for.

    Raises:
        Unavailable, Refused: As the server says.
        JournalError: A journal was written by a later release.
        OSError: It cannot be read.
    """
    runs = list(runs)
    logged = read_logged(runs)
    server_id = next((found for run in runs if (found := run.server_id) is not None), None)
    parcels = [parcel for run in runs for parcel in Spool(run.journal.paths).of_runs([run.run_id])]
    waiting = [parcel.left for parcel in parcels if not parcel.is_refused]
    refused = [parcel.left for parcel in parcels if parcel.is_refused]
    kept = [left.removes for left in refused if left.removes and not left.files]
    report = Report(
        run_id,
        server_id,
        aside=len(logged.aside) + len(refused) - len(kept),
        pending=logged.pending,
        damaged=logged.damaged,
        gone=logged.gone,
        lost=logged.lost,
        uncompared=logged.uncompared,
        files_waiting=sum(files_waiting(run.paths) for run in runs) + sum(len(left.files) for left in waiting),
        removals_waiting=sum(len(left.removes) for left in waiting),
        removals_aside=sum(map(len, kept)),
    )
    if server_id is None:
        report.problem = "it is not on the server yet"
        return report
    ref = sender.get_run(server_id)
    if ref is None:
        report.problem = "the server has no such run"
        return report
    _compare(report, logged, ref, sender, tick)
    return report


def _compare(report: Report, logged: Logged, ref: RunRef, sender: Sender, tick: Callable[[str], None]) -> None:
    if ref.deleted:
        report.problem = "the run is deleted on the server"
    report.status = ref.status
    refused = _Refused(logged)
    for name, metric in sorted(logged.metrics.items()):
        tick(name)
        history = {pack_point(p.value, p.timestamp, p.step) for p in sender.metric_history(ref.run_id, name)}
        report.metrics.append(_check_metric(name, metric, history, refused.metrics.get(name, set())))
    _check_params(report, logged, ref, refused)
    _check_tags(report, logged, ref, refused)
    _check_status(report, logged.status, ref.status, refused)


class _Refused:
    """What was set aside, which the server is not expected to have."""

    def __init__(self, logged: Logged) -> None:
        self.metrics: dict[str, set[PackedPoint]] = {}
        self.pairs: set[tuple[str, str, str]] = set()
        self.statuses: set[str] = set()
        for item in logged.aside:
            if item.what == "metric":
                key, value, timestamp, step, *_ = item.content
                self.metrics.setdefault(key, set()).add(pack_point(value, timestamp, step))
            elif item.what in ("param", "tag"):
                self.pairs.add((item.what, *item.content))
            elif item.what == "update":
                self.statuses.add(str(item.content.get("status")))


def _check_metric(name: str, metric: LoggedMetric, history: set[PackedPoint], refused: set[PackedPoint]) -> MetricCheck:
    every = metric.delivered | metric.pending
    lacking = every - history
    missing = (lacking & metric.delivered) - refused
    return MetricCheck(
        name,
        logged=len(every),
        found=len(every) - len(lacking),
        missing=len(missing),
        pending=len(lacking - metric.delivered - refused),
        aside=len(lacking & refused),
        examples=sorted((unpack_point(packed) for packed in missing), key=lambda point: point[1:])[:_EXAMPLES],
    )


def _check_params(report: Report, logged: Logged, ref: RunRef, refused: _Refused) -> None:
    for key, values in sorted(logged.params.items()):
        found = ref.params.get(key)
        for value, is_delivered in values.items():
            if found == value:
                report.params += 1
            elif is_delivered and ("param", key, value) not in refused.pairs:
                report.differences.append(Difference("param", key, value, found))


def _check_tags(report: Report, logged: Logged, ref: RunRef, refused: _Refused) -> None:
    for key, choice in sorted(logged.tags.items()):
        found, said = ref.tags.get(key), choice.values.values()
        if found in said:
            report.tags += 1
        elif not choice.is_pending and not any(("tag", key, value) in refused.pairs for value in said):
            report.differences.append(Difference("tag", key, next(reversed(list(said))), found))


def _check_status(report: Report, choice: Choice, found: str, refused: _Refused) -> None:
    said = list(choice.values.values())
    if choice.is_pending or found in said or not said or said[-1] not in END_STATUSES:
        return
    if not refused.statuses & set(said):
        report.differences.append(Difference("status", "", said[-1], found))


def as_document(report: Report) -> dict[str, Any]:
    """Return a report as plain data."""
    return {
        "run_id": report.run_id,
        "server_id": report.server_id,
        "verdict": report.verdict.value,
        "problem": report.problem,
        "status": report.status,
        "metrics": [vars(metric) for metric in report.metrics],
        "params": report.params,
        "tags": report.tags,
        "differences": [vars(difference) for difference in report.differences],
        "missing": report.missing,
        "aside": report.aside,
        "pending": report.pending,
        "damaged": report.damaged,
        "gone_segments": report.gone,
        "lost_segments": report.lost,
        "uncompared": report.uncompared,
        "files_waiting": report.files_waiting,
        "removals_waiting": report.removals_waiting,
        "removals_aside": report.removals_aside,
        "files_compared": False,
    }
