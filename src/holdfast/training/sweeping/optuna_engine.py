"""Optuna as the engine of a sweep: it searches, schedules and prunes; trials run in processes of their own."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from holdfast.training.sweeping.options import SweepError, SweepOptions
from holdfast.training.sweeping.records import State, Trial
from holdfast.training.sweeping.space import Choice, Space, Span, Value
from holdfast.training.sweeping.watch import Watch
from holdfast.training.sweeping.work import TrialWork

_STATES = {State.COMPLETE: TrialState.COMPLETE, State.PRUNED: TrialState.PRUNED, State.FAILED: TrialState.FAIL}


class _TrialFailed(Exception):  # noqa: N818 - what Optuna is told to take for a failed trial
    """The trial failed; its run says why."""


class _Stopped(Exception):  # noqa: N818 - no error
    """The sweep is being ended."""


def search_with_optuna(work: TrialWork, space: Space, known: Sequence[Trial], first_number: int) -> None:
    """Do the trials that are still to be done.

    Args:
        work: Does a trial.
        space: What is searched.
        known: The trials of an earlier part of the sweep: Optuna is told of those that are done, and those that were
            interrupted come first.
        first_number: The number of the next trial.

    Raises:
        SweepError: More trials failed than may.
        HoldfastError: A server cannot be reached.
    """
    options = work.options
    wanted = known if options.pruner != "none" else ()  # the pruner compares with every step of the earlier ones
    histories = {one.run_id: {at.step: at.value for at in work.book.history(one.run_id)} for one in wanted}
    with quiet_optuna():
        study = study_of(known, space, options, seed=options.seed + len(known), histories=histories)
        for trial in known:
            if not trial.state.is_final:
                study.enqueue_trial(trial.params, skip_if_exists=False)
        left = options.trials - len(study.get_trials(deepcopy=False, states=tuple(_STATES.values())))
        if left > 0:
            _Search(work, space, study, first_number).run(left)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna from writing on the screen how trials went, which their runs say, and what it makes of a space."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        # From Python 3.12 on they are said to come from whoever called Optuna, which is this package.
        warnings.filterwarnings("ignore", module=r"optuna\.|holdfast\.training\.sweeping\.|ray\.tune\.search\.optuna\.")
        yield


class _Search:
    def __init__(self, work: TrialWork, space: Space, study: optuna.Study, first_number: int) -> None:
        self._work, self._study = work, study
        self._space = space
        self._offset = first_number - len(study.get_trials(deepcopy=False, states=tuple(_STATES.values())))
        self._failures: list[str] = []

    def run(self, count: int) -> None:
        """Do so many trials at most."""
        if self._work.options.parallel == 1:
            self._optimize(count)  # in this thread: a function may want to be in the main one
        else:
            self._optimize_beside(count)
        if len(self._failures) > self._work.options.max_failures:
            raise too_many_failures(self._work, self._failures)

    def _optimize(self, count: int) -> None:
        options = self._work.options
        self._study.optimize(
            self._objective, count, options.timeout_s, options.parallel, catch=(_TrialFailed,), callbacks=[self._count]
        )

    def _optimize_beside(self, count: int) -> None:
        """Have it done in a thread, so that this one hears of Ctrl-C and SIGTERM and can tell the trials."""
        raised: list[BaseException] = []

        def optimize() -> None:
            try:
                self._optimize(count)
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=optimize, name="holdfast-sweep")
        thread.start()
        try:
            while thread.is_alive():
                thread.join(0.2)
        finally:
            self._work.stop.set()
            thread.join()
        for error in raised:
            raise error

    def _objective(self, trial: optuna.Trial) -> float:
        if self._work.stop.is_set():
            raise _Stopped
        params = {name: _suggested(trial, name, dimension) for name, dimension in self._space.items()}
        end = self._work.run(trial.number + self._offset, params, Watch(self._reporter(trial)))
        if end.state is State.INTERRUPTED:
            raise _Stopped
        if end.state is State.PRUNED:
            raise optuna.TrialPruned
        if end.state is State.FAILED or end.value is None:
            self._failures.append(end.reason)
            raise _TrialFailed(end.reason)
        return end.value

    def _reporter(self, trial: optuna.Trial) -> Callable[[int, float], bool] | None:
        if self._work.options.pruner == "none":
            return None

        def report(step: int, value: float) -> bool:
            trial.report(value, step)
            return trial.should_prune()

        return report

    def _count(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if len(self._failures) > self._work.options.max_failures:
            study.stop()


def _suggested(trial: optuna.Trial, name: str, dimension: Span | Choice) -> Value:
    if isinstance(dimension, Choice):
        return cast(Value, trial.suggest_categorical(name, dimension.values))
    if dimension.is_whole:
        return trial.suggest_int(
            name, int(dimension.low), int(dimension.high), step=int(dimension.step or 1), log=dimension.log
        )
    return trial.suggest_float(name, dimension.low, dimension.high, step=dimension.step, log=dimension.log)


def too_many_failures(work: TrialWork, reasons: Sequence[str]) -> SweepError:
    """Return the error that ends a sweep in which more trials failed than may.

    Args:
        work: The sweep's.
        reasons: Why they failed, the last at the end.
    """
    return SweepError(
        f"{len(reasons)} trials failed, and {work.options.max_failures} may; the last: {reasons[-1]}.",
        f"look at the run's sweep/output.txt, then go on: holdfast sweep --resume {work.book.parent_id}",
    )


# -- the study ------------------------------------------------------------------------


def study_of(
    known: Sequence[Trial],
    space: Space,
    options: SweepOptions,
    seed: int = 0,
    histories: Mapping[str, dict[int, float]] | None = None,
) -> optuna.Study:
    """Return a study that knows the trials which are done.

    Args:
        known: The trials of the sweep so far.
        space: What is searched.
        options: How.
        seed: Of the sampler.
        histories: Run → step → value of the metric, as far as the pruner is to know them.
    """
    samplers: dict[str, Callable[..., Any]] = {
        "tpe": optuna.samplers.TPESampler,
        "random": optuna.samplers.RandomSampler,
    }
    pruners: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=options.prune_after),
        "none": optuna.pruners.NopPruner,
    }
    direction = StudyDirection.MINIMIZE if options.mode == "min" else StudyDirection.MAXIMIZE
    study = optuna.create_study(
        sampler=samplers[options.sampler](seed=seed), pruner=pruners[options.pruner](), direction=direction
    )
    distributions, steps = distributions_of(space), histories or {}
    study.add_trials([_frozen(one, distributions, steps.get(one.run_id, {})) for one in known if one.state.is_final])
    return study


def _frozen(trial: Trial, distributions: dict[str, BaseDistribution], values: dict[int, float]) -> FrozenTrial:
    return create_trial(
        state=_STATES[trial.state],
        value=trial.value if trial.state is State.COMPLETE else None,
        params=trial.params,
        distributions=distributions,
        intermediate_values=values,
    )


def distributions_of(space: Space) -> dict[str, BaseDistribution]:
    """Return a space in Optuna's words."""
    return {name: _distribution(dimension) for name, dimension in space.items()}


def _distribution(dimension: Span | Choice) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    if dimension.is_whole:
        return IntDistribution(int(dimension.low), int(dimension.high), dimension.log, int(dimension.step or 1))
    return FloatDistribution(dimension.low, dimension.high, dimension.log, dimension.step)
