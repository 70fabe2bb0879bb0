"""The runs of a sweep on the server: the parent, and a child for each trial."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.backend.entities import MetricPoint, Run
from holdfast.backend.tracking import now_ms
from holdfast.core.names import check_keys
from holdfast.delivery.delivery import delivery_in_use
from holdfast.delivery.sync import Result, Sync
from holdfast.delivery.target import target_of
from holdfast.errors import DeliveryError, InvalidInputError, NotFoundError, SettingsError
from holdfast.journal.layout import JournalPaths
from holdfast.project import Project
from holdfast.training.sweeping.options import SweepOptions
from holdfast.training.sweeping.process import text_of
from holdfast.training.sweeping.records import (
    PARENT_TAG,
    STATUS_OF,
    SWEEP_TAG,
    TRIAL_TAG,
    State,
    Trial,
    TrialEnd,
    first_tags,
    last_tags,
    trial_of,
)
from holdfast.training.sweeping.space import Space, Value, parse_space

# What stores of MLflow take in a tag, with some room.
_LONGEST_TAG = 4500
_PATIENT_S = 60.0


class SweepBook:
    """Reads and writes the runs of one sweep. Threads may share it.

    Args:
        project: Where they are. What is written here is on the server when a call returns, also where the process logs
            through a journal, which it shares with all of its projects on one store.
        parent_id: The parent run.
        metric: The metric that trials are judged by.
    """

    def __init__(self, project: Project, parent_id: str, metric: str) -> None:
        self.project = project
        self.parent_id = parent_id
        self.metric = metric
        self.parent: Run = project.runs.get_run(parent_id)

    # -- the parent -------------------------------------------------------------------

    @classmethod
    def begin(cls, project: Project, space: Space, options: SweepOptions, name: str | None) -> SweepBook:
        """Begin a sweep.

        Raises:
            InvalidInputError: The space is too large to be kept, or the metric has no name for one.
        """
        check_keys([options.metric], "metric")
        about = json.dumps({"metric": options.metric, "mode": options.mode, "space": _plain(space)})
        if len(about) > _LONGEST_TAG:
            raise InvalidInputError(
                f"The space of the sweep takes {len(about)} characters; a run's tag holds {_LONGEST_TAG}.",
                "give fewer or shorter values to choose from",
            )
        run = project.runs.create_run(project.experiment().experiment_id, name, {SWEEP_TAG: about})
        spelled = {f"space.{key}": str(dimension)[:500] for key, dimension in space.items()}
        chosen = ("metric", "mode", "engine", "sampler", "pruner", "seed")
        book = cls(project, run.run_id, options.metric)
        book._log(run.run_id, params={key: str(getattr(options, key)) for key in chosen} | spelled)
        return book

    @classmethod
    def reopen(cls, project: Project, parent_id: str, metric: str) -> SweepBook:
        """Go on with a sweep.

        Raises:
            NotFoundError: There is no such run, or it is no sweep.
        """
        project.runs.reopen_run(_checked(project, parent_id).run_id)
        return cls(project, parent_id, metric)

    def log_best(self, trial: Trial) -> None:
        """Note on the parent which trial is the best so far, unless it is noted already."""
        tags = {
            "holdfast.sweep.best_run_id": trial.run_id,
            "holdfast.sweep.best_value": repr(trial.value),
            "holdfast.sweep.best_params": json.dumps(trial.params),
        }
        # Not the metric's own name: the search for the best run would find the parent.
        point = MetricPoint("sweep/best_value", float(trial.value or 0.0), trial.number, now_ms())
        known = self.project.runs.metric_history(self.parent_id, point.name)
        is_new = not known or known[-1].value != point.value
        self._log(self.parent_id, [point] if is_new else [], tags=tags)

    def end(self, status: str) -> None:
        """End the parent."""
        self._end_run(self.parent_id, status)

    def store(self, run: Run, files: Sequence[Path], folder: str) -> None:
        """Store files with a run; they are there when this returns."""
        for path in files:
            self.project.artifacts.upload_file(path, run.artifact_uri, folder)

    # -- the trials -------------------------------------------------------------------

    def begin_trial(self, number: int, params: Mapping[str, Value]) -> Run:
        """Begin a trial's run."""
        tags = first_tags(self.parent_id, number, params)
        return self.project.runs.create_run(self.parent.experiment_id, f"trial-{number}", tags)

    def end_trial(self, run_id: str, end: TrialEnd) -> None:
        """Say on a trial's run how it ended, and end it so; it gets the params that the trial itself did not log."""
        run = self.project.runs.get_run(run_id)
        # Not when it begins: a trial that writes one of them in another way would be refused.
        given = {key: text_of(value) for key, value in trial_of(run).params.items() if key not in run.params}
        redact = self.project.redact.mapping
        self._log(run_id, params=redact(given), tags=redact(last_tags(end)))
        status = STATUS_OF[end.state]
        if run.status != status:
            self._end_run(run_id, status, run.end_time_ms)

    def trials(self) -> list[Trial]:
        """Return all trials, those begun first at the front; of those with one number the latest is the last."""
        found = self.project.runs.search_runs(
            [self.parent.experiment_id], f"tags.`{PARENT_TAG}` = '{self.parent_id}'", ["attributes.start_time ASC"]
        )
        trials = [trial_of(run) for run in found if TRIAL_TAG in run.tags]
        return sorted(trials, key=lambda trial: trial.number)

    def history(self, run_id: str) -> list[MetricPoint]:
        """Return what is on the server of the metric of a trial, the last value of each step."""
        points = {point.step: point for point in self.project.runs.metric_history(run_id, self.metric)}
        return [points[step] for step in sorted(points)]

    def end_by_value(self, run_id: str) -> TrialEnd:
        """Return how a trial ended whose process, or function, did what it should: it has its metric, or failed."""
        metrics = self.project.runs.get_run(run_id).metrics
        value = metrics.get(self.metric)
        if value is None:
            names = ", ".join(sorted(metrics)[:10]) or "no metric"
            return TrialEnd(State.FAILED, reason=f"it logged no {self.metric}, but {names}")
        if not math.isfinite(value):
            return TrialEnd(State.FAILED, reason=f"its {self.metric} is {value}")
        return TrialEnd(State.COMPLETE, value)

    def note_value(self, run_id: str, value: float) -> None:
        """Log the value that a function returned, unless its run has it."""
        if self.project.runs.get_run(run_id).metrics.get(self.metric) != value:
            self._log(run_id, [MetricPoint(self.metric, value, 0, now_ms())])

    # -- what is on the server when it returns ----------------------------------------

    def _log(self, run_id: str, *what: Any, **more: Any) -> None:
        self.project.runs.log(run_id, *what, **more)
        self.settle(run_id)

    def _end_run(self, run_id: str, status: str, end_time_ms: int | None = None) -> None:
        self.project.runs.end_run(run_id, status, end_time_ms)
        self.settle(run_id)

    def settle(self, run_id: str) -> None:
        """Wait until all that was logged to a run, by whichever process, is on the server, for a minute at most.

        Raises:
            DeliveryError: Not all of it is.
        """
        delivery = delivery_in_use(self.project.settings.tracking_uri)
        reason = (delivery.settle([run_id], _PATIENT_S, with_files=False) if delivery else {}).get(run_id)
        reason = reason or self._settle_journal(run_id)
        if reason:
            raise DeliveryError(
                f"Not all that was logged to run {run_id} is on the server: {self.project.redact(reason)}.",
                f"it is in the journal; when the server is back: holdfast sweep --resume {self.parent_id}",
                retryable=True,
            )

    def _settle_journal(self, run_id: str) -> str:
        """Deliver what processes that have ended left of the run; return why not all of it is there, or nothing."""
        try:
            target = target_of(self.project.settings)
        except SettingsError:  # nothing is ever journaled for this kind of store
            return ""
        if not JournalPaths(target.root).run(run_id).folder.exists():
            return ""
        work = Sync(target, self.project.artifacts.upload_folder, timeout_s=_PATIENT_S)
        runs = work.run([run_id]).runs
        return next((run.reason or "not delivered" for run in runs if run.result in _LEFT), "")


_LEFT = (Result.PENDING, Result.BLOCKED)


def read_about(project: Project, parent_id: str) -> dict[str, Any]:
    """Return what a sweep was begun with: `metric`, `mode`, and the `space`.

    Raises:
        NotFoundError: There is no such run, or it is no sweep.
    """
    about: dict[str, Any] = json.loads(_checked(project, parent_id).tags[SWEEP_TAG])
    return about | {"space": parse_space(about["space"])}


def _checked(project: Project, parent_id: str) -> Run:
    run = project.runs.get_run(parent_id)
    if SWEEP_TAG not in run.tags:
        raise NotFoundError(f"Run {parent_id} is no sweep.", "give the id of the parent run that the sweep printed")
    return run


def _plain(space: Space) -> dict[str, Any]:
    return {
        name: list(dimension.values) if hasattr(dimension, "values") else vars(dimension)
        for name, dimension in space.items()
    }
