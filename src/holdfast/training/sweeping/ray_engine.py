"""Ray Tune as the engine of a sweep: it places trials on a cluster, Optuna searches through it, and it prunes.

Ray is given what names the sweep, never a key: each worker reads the project's settings from the project's folder and
its own environment. Workers on other machines need both.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from ray import tune
from ray.tune.schedulers import MedianStoppingRule, TrialScheduler
from ray.tune.search.optuna import OptunaSearch
from ray.tune.stopper import Stopper

from holdfast.core.uris import holds_password
from holdfast.project import open_project
from holdfast.settings import load_settings
from holdfast.training.ray_cluster import ray_cluster
from holdfast.training.sweeping.book import SweepBook
from holdfast.training.sweeping.options import SweepError, SweepOptions
from holdfast.training.sweeping.optuna_engine import distributions_of, quiet_optuna, too_many_failures
from holdfast.training.sweeping.records import State, Trial, TrialEnd
from holdfast.training.sweeping.space import Space
from holdfast.training.sweeping.watch import Watch
from holdfast.training.sweeping.work import Objective, TrialWork

# What Tune is told of a trial.
_VALUE = "objective"
_STEP = "step"
_FAILED = "failed"
_NUMBER = "holdfast:trial"
# After every step that a trial may have.
_LAST_STEP = 1 << 53


@dataclass(frozen=True)
class _Errand:
    """What a worker is told; it holds no secret."""

    parent_id: str
    objective: Objective
    options: SweepOptions
    folder: Path
    project_root: Path
    tracking_uri: str | None
    experiment_name: str


def search_with_ray(work: TrialWork, space: Space, known: Sequence[Trial], first_number: int) -> None:
    """Do the trials that are still to be done on the Ray cluster that is there, else on one of this machine.

    Args:
        work: Says what a trial is.
        space: What is searched.
        known: The trials of an earlier part of the sweep; Optuna is told of those that gave a value. Those that were
            interrupted are not begun again with the same parameters: Tune chooses new ones.
        first_number: The number of the next trial.

    Raises:
        SweepError: More trials failed than may.
    """
    left = work.options.trials - sum(trial.state.is_final for trial in known)
    if left <= 0:
        return
    scheduler = _Median(work.options) if work.options.pruner == "median" else None
    try:
        with (
            _quiet(),
            ray_cluster(num_cpus=work.options.parallel, log_to_driver=False, logging_level=logging.WARNING),
            tempfile.TemporaryDirectory(prefix="holdfast-tune-") as scratch,
        ):
            _tuner(work, _searcher(work.options, space, known, first_number), left, scheduler, scratch).fit()
    finally:
        _end_stopped(work, set() if scheduler is None else scheduler.stopped)
    failed = [trial for trial in work.book.trials() if trial.state is State.FAILED and trial.number >= first_number]
    if len(failed) > work.options.max_failures:
        raise too_many_failures(work, [trial.reason for trial in failed])


# Tune prints tables in spite of `verbose=0`, the stack of every failure, and writes logs that nobody keeps.
_QUIET = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_PRINT_ALL_TRIAL_ERRORS": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray and Optuna from writing on the screen how trials went, which their runs say; what is set stays so."""
    ours = {name: value for name, value in _QUIET.items() if name not in os.environ}
    logger = logging.getLogger("ray.tune")
    level = logger.level
    os.environ.update(ours)
    logger.setLevel(logging.CRITICAL)
    try:
        with quiet_optuna():
            yield
    finally:
        logger.setLevel(level)
        for name in ours:
            os.environ.pop(name, None)


def _tuner(
    work: TrialWork, searcher: OptunaSearch, left: int, scheduler: TrialScheduler | None, scratch: str
) -> tune.Tuner:
    options = work.options
    return tune.Tuner(
        tune.with_parameters(_do_trial, errand=_errand(work)),
        tune_config=tune.TuneConfig(
            metric=_VALUE,
            mode=options.mode,
            num_samples=left,
            search_alg=searcher,
            scheduler=scheduler,
            max_concurrent_trials=options.parallel,
            time_budget_s=options.timeout_s,
            reuse_actors=False,
        ),
        run_config=tune.RunConfig(
            storage_path=scratch, name="sweep", verbose=0, stop=_FailureLimit(options.max_failures)
        ),
    )


def _searcher(options: SweepOptions, space: Space, known: Sequence[Trial], first_number: int) -> OptunaSearch:
    seed = options.seed + len(known)
    sampler = optuna.samplers.TPESampler(seed=seed) if options.sampler == "tpe" else None
    done = [trial for trial in known if trial.state is State.COMPLETE]
    return _NumberedSearch(
        first_number,
        space=distributions_of(space),
        metric=_VALUE,
        mode=options.mode,
        sampler=sampler or optuna.samplers.RandomSampler(seed=seed),
        points_to_evaluate=[trial.params for trial in done] or None,
        evaluated_rewards=[trial.value for trial in done] or None,
    )


class _NumberedSearch(OptunaSearch):
    """Optuna behind Tune, whose trials have random ids: each gets its number in the sweep."""

    def __init__(self, first_number: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._next_number = first_number

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the parameters of the next trial, and its number."""
        params = super().suggest(trial_id)
        if params is None:
            return None
        self._next_number += 1
        return {**params, _NUMBER: self._next_number - 1}


class _Median(MedianStoppingRule):
    """Tune's median rule, that remembers which trials it stopped."""

    def __init__(self, options: SweepOptions) -> None:
        super().__init__(
            time_attr=_STEP,
            grace_period=0,
            min_samples_required=options.prune_after,
            # It would pause trials until there are others to compare with; a command that is paused begins anew.
            min_time_slice=math.inf,  # type: ignore[arg-type]  # a whole number is less than the time before the first
            hard_stop=True,
        )
        self.stopped: set[int] = set()

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide as the rule does."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP:
            self.stopped.add(trial.config[_NUMBER])
        return decision


class _FailureLimit(Stopper):
    """Ends the search when more trials failed than may."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._failures = 0

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Count a failure; no trial is stopped for it."""
        self._failures += bool(result.get(_FAILED))
        return False

    def stop_all(self) -> bool:
        """Return whether there are too many."""
        return self._failures > self._limit


def _end_stopped(work: TrialWork, pruned: set[int]) -> None:
    """End the runs of trials that Tune stopped, whose workers could not."""
    book = work.book
    for trial in book.trials():
        if trial.state is not State.RUNNING:
            continue
        book.settle(trial.run_id)
        if book.project.runs.get_run(trial.run_id).status == "FINISHED":  # it was through when Tune stopped it
            end = book.end_by_value(trial.run_id)
        elif trial.number in pruned:
            end = TrialEnd(State.PRUNED, work.last_value(trial.run_id))
        else:
            end = TrialEnd(State.INTERRUPTED)
        book.end_trial(trial.run_id, end)


# -- in a worker ----------------------------------------------------------------------


def _errand(work: TrialWork) -> _Errand:
    settings = work.book.project.settings
    uri = settings.tracking_uri
    return _Errand(
        parent_id=work.book.parent_id,
        objective=work.objective,
        options=work.options,
        folder=work.folder,
        project_root=settings.project_root,
        tracking_uri=None if holds_password(uri) else uri,
        experiment_name=settings.experiment_name,
    )


def _do_trial(config: dict[str, Any], errand: _Errand) -> None:
    """Do one trial in a worker of Ray; Tune hears of its values as they come."""
    settings = load_settings(
        start=errand.project_root, tracking_uri=errand.tracking_uri, experiment_name=errand.experiment_name
    )
    book = SweepBook(open_project(settings), errand.parent_id, errand.options.metric)
    work = TrialWork(book, errand.objective, errand.options, errand.folder)
    params = dict(config)
    number = params.pop(_NUMBER)
    end = work.run(number, params, Watch(_report if errand.options.pruner != "none" else None))
    if end.state is State.FAILED:
        tune.report({_VALUE: math.inf * errand.options.sign, _FAILED: True, _STEP: 0})
        raise SweepError(f"Trial {number} failed: {end.reason}.")
    if end.value is not None:
        tune.report({_VALUE: end.value, _STEP: _LAST_STEP})


def _report(step: int, value: float) -> bool:
    tune.report({_VALUE: value, _STEP: step})
    return False  # Tune ends this worker where it wants to, and the trial's process with it
