"""The best run by a metric, for every metric name, and which runs never logged it."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from holdfast.backend.entities import Run
from holdfast.core.names import check_keys
from holdfast.errors import InvalidInputError
from holdfast.project import Project

Mode = Literal["min", "max"]
_LOOKED_AT = 2000
_ASKED_FOR = 10


@dataclass(frozen=True)
class BestRun:
    """The answer to "which run is best".

    Attributes:
        run: The best run, or None where no run has a number for the metric.
        value: Its value.
        lacking: Ids of the runs that have no number for it (never logged, NaN or infinite), the latest
            first.
        lacking_is_complete: False where only the latest 2,000 runs were looked through for them.
    """

    run: Run | None
    value: float | None
    lacking: tuple[str, ...]
    lacking_is_complete: bool

    def as_dict(self) -> dict[str, Any] | None:
        """Return `run_id`, `run_name`, `metric_value`, `params`, `metrics`, `lacking`; None without a best run."""
        if self.run is None:
            return None
        return {
            "run_id": self.run.run_id,
            "run_name": self.run.name,
            "metric_value": self.value,
            "params": self.run.params,
            "metrics": self.run.metrics,
            "lacking": list(self.lacking),
        }


def find_best(
    project: Project, experiment_ids: list[str], metric: str, mode: Mode = "min", filter_string: str = ""
) -> BestRun:
    """Find the run with the least or greatest last value of a metric; NaN and infinities are never best.

    Args:
        project: Where to look.
        experiment_ids: In which experiments.
        metric: Its name, any that MLflow accepts: `val/loss`, `top-5 accuracy`.
        mode: `min` or `max`.
        filter_string: A filter in MLflow's language, such as `attributes.status = 'FINISHED'`.

    Raises:
        InvalidInputError: The name, the mode or the filter is not valid.
    """
    check_keys([metric], "metric")
    chosen = check_mode(mode)
    seen = project.runs.search_runs(experiment_ids, filter_string, limit=_LOOKED_AT)
    complete = len(seen) < _LOOKED_AT
    best = _pick(seen, metric, chosen) if complete else _ask(project, experiment_ids, metric, chosen, filter_string)
    lacking = tuple(run.run_id for run in seen if not _has(run, metric))
    return BestRun(best, best.metrics[metric] if best else None, lacking, complete)


def _pick(runs: list[Run], metric: str, mode: Mode) -> Run | None:
    choose = min if mode == "min" else max
    return choose((run for run in runs if _has(run, metric)), key=lambda run: run.metrics[metric], default=None)


def _ask(project: Project, experiment_ids: list[str], metric: str, mode: Mode, filter_string: str) -> Run | None:
    """Let the store sort: with many runs, that is far less than fetching them."""
    # Back-ticks make any name one identifier; the store sorts NaN and missing behind every number.
    order = f"metrics.`{metric}` {'ASC' if mode == 'min' else 'DESC'}"
    limit = _ASKED_FOR
    while True:
        found = project.runs.search_runs(experiment_ids, filter_string, [order], limit=limit)
        best = next((run for run in found if _has(run, metric)), None)
        # Before the best there can only be infinities; behind the first without a value there is nothing.
        if best is not None or len(found) < limit or _is_lacking(found[-1], metric):
            return best
        limit *= _ASKED_FOR


def check_mode(mode: str | Callable[..., Any]) -> Mode:
    """Return `min` or `max` for the word or for Python's function of that name.

    Raises:
        InvalidInputError: It is neither.
    """
    if mode == "min" or mode is min:
        return "min"
    if mode == "max" or mode is max:
        return "max"
    if callable(mode):
        return _mode_of(mode)
    raise InvalidInputError(f"{mode!r} is no mode.", 'use mode="min" or mode="max"')


def _mode_of(choose: Callable[[Iterable[float]], Any]) -> Mode:
    """Find out which of two numbers a function like `lambda values: min(values)` picks."""
    samples = ([3.0, 5.0], [7.0, 2.0])
    try:
        answers = [choose(sample) for sample in samples]
    except Exception:  # whatever a stranger's function raises, it is neither min nor max
        answers = []
    if answers == [min(sample) for sample in samples]:
        return "min"
    if answers == [max(sample) for sample in samples]:
        return "max"
    raise InvalidInputError(f"{choose!r} picks neither the least nor the greatest.", 'use mode="min" or mode="max"')


def _has(run: Run, metric: str) -> bool:
    # An SQL database has no infinity: MLflow stores the greatest number instead.
    return not _is_lacking(run, metric) and abs(run.metrics[metric]) < sys.float_info.max


def _is_lacking(run: Run, metric: str) -> bool:
    return math.isnan(run.metrics.get(metric, math.nan))
