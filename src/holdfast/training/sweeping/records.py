"""What a sweep keeps of its trials: a run each, whose tags say what became of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from holdfast.backend.entities import Run
from holdfast.training.sweeping.space import Value

PARENT_TAG = "mlflow.parentRunId"
SWEEP_TAG = "holdfast.sweep"
TRIAL_TAG = "holdfast.sweep.trial"
STATE_TAG = "holdfast.sweep.state"
PARAMS_TAG = "holdfast.sweep.params"
VALUE_TAG = "holdfast.sweep.value"
REASON_TAG = "holdfast.sweep.reason"


class State(StrEnum):
    """What became of a trial."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def is_final(self) -> bool:
        """Whether the trial is done; one that was interrupted is begun again when the sweep goes on."""
        return self in (State.COMPLETE, State.PRUNED, State.FAILED)


STATUS_OF = {
    State.COMPLETE: "FINISHED",
    State.PRUNED: "KILLED",
    State.FAILED: "FAILED",
    State.INTERRUPTED: "KILLED",
}


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended.

    Attributes:
        state: What became of it.
        value: Of the metric, a finite number; None where the trial has none.
        reason: Why it failed.
    """

    state: State
    value: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Trial:
    """A trial of a sweep, as its run has it.

    Attributes:
        number: From 0, in the order in which they were begun.
        run_id: Its run.
        params: Parameter → value.
        state: What became of it.
        value: Of the metric, also that which a pruned trial had last; None where it has none.
        reason: Why it failed.
        duration_s: How long it took; None while it lasts.
    """

    number: int
    run_id: str
    params: dict[str, Value]
    state: State
    value: float | None = None
    reason: str = ""
    duration_s: float | None = field(default=None, compare=False)


def trial_of(run: Run) -> Trial:
    """Return the trial that a run is of.

    Raises:
        ValueError, KeyError: Its tags are not those of a trial.
    """
    tags = run.tags
    text = tags.get(VALUE_TAG)
    return Trial(
        number=int(tags[TRIAL_TAG]),
        run_id=run.run_id,
        params=json.loads(tags[PARAMS_TAG]),
        state=State(tags.get(STATE_TAG, State.RUNNING)),
        value=_finite(text),
        reason=tags.get(REASON_TAG, ""),
        duration_s=None if run.end_time_ms is None else (run.end_time_ms - run.start_time_ms) / 1000,
    )


def _finite(text: str | None) -> float | None:
    value = math.nan if text is None else float(text)
    return value if math.isfinite(value) else None


def first_tags(parent_id: str, number: int, params: Mapping[str, Value]) -> dict[str, str]:
    """Return the tags of a trial that begins."""
    return {
        PARENT_TAG: parent_id,
        TRIAL_TAG: str(number),
        PARAMS_TAG: json.dumps(dict(params)),
        STATE_TAG: State.RUNNING,
    }


def last_tags(end: TrialEnd) -> dict[str, str]:
    """Return the tags of a trial that has ended."""
    tags: dict[str, str] = {STATE_TAG: end.state}
    if end.value is not None:
        tags[VALUE_TAG] = repr(end.value)
    if end.reason:
        tags[REASON_TAG] = end.reason
    return tags


def best_of(trials: list[Trial], sign: int) -> Trial | None:
    """Return the complete trial with the best value, the first of equals; None where there is none.

    Args:
        trials: All of them.
        sign: 1 where less is better, -1 where more is.
    """
    complete = [trial for trial in trials if trial.state is State.COMPLETE and trial.value is not None]
    return min(complete, key=lambda trial: (sign * _known(trial.value), trial.number), default=None)


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def as_row(trial: Trial) -> dict[str, Any]:
    """Return a trial as plain values."""
    return {
        "trial": trial.number,
        "run_id": trial.run_id,
        "state": str(trial.state),
        "value": trial.value,
        "params": trial.params,
        "reason": trial.reason,
        "duration_s": trial.duration_s,
    }
