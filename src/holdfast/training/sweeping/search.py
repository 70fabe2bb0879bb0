"""`sweep`: many trials of a training, each a child run of one parent, the best of them found."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.errors import BackendUnavailableError, HoldfastError, InvalidInputError
from holdfast.lifecycle import run_guard, status_for
from holdfast.logs import get_logger
from holdfast.project import Project, open_project
from holdfast.settings import Settings
from holdfast.training.extras import need
from holdfast.training.sweeping.book import SweepBook, read_about
from holdfast.training.sweeping.options import SweepError, SweepOptions, SweepOptionsError
from holdfast.training.sweeping.records import State, Trial, TrialEnd, best_of
from holdfast.training.sweeping.sole import alone
from holdfast.training.sweeping.space import Space, parse_space
from holdfast.training.sweeping.work import Objective, TrialWork

_log = get_logger(__name__)
_KEEPS_ITS_OWN = "leave it out: a sweep that goes on keeps what it was begun with"


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found.

    Attributes:
        run_id: The parent run.
        trials: All of them, by number.
        best: The best of the complete ones.
    """

    run_id: str
    trials: tuple[Trial, ...]
    best: Trial

    def count(self, state: State) -> int:
        """Return how many trials are in a state."""
        return sum(trial.state is state for trial in self.trials)


def sweep(
    objective: Objective,
    space: Mapping[str, Any] | None = None,
    options: SweepOptions | None = None,
    *,
    settings: Settings | None = None,
    resume: str | None = None,
    run_name: str | None = None,
    folder: Path | None = None,
    **chosen: Any,
) -> SweepResult:
    """Search a space for the parameters with the best value of a metric; Optuna or Ray Tune do the searching.

    Each trial is a child run of one parent. A command gets its run by MLFLOW_RUN_ID, which `MLflowTracker`,
    `HoldfastLogger` and `mlflow.start_run()` go on with, and its parameters as arguments or variables. A trial that
    fails is FAILED, one that is pruned KILLED with the tag `holdfast.sweep.state=pruned`; either way the sweep goes on.
    Ctrl-C and SIGTERM end the trials with SIGTERM and the parent as KILLED.

    Args:
        objective: A command as a list of texts, whose run logs the metric; or a function of the parameters and the id
            of the trial's run, that returns the metric's value. A function runs in this process, several at a time in
            threads, and gives up by raising `Pruned` or `optuna.TrialPruned`; with the engine `ray` it runs in Ray's
            workers.
        space: What `parse_space` takes; may be left out with `resume`.
        options: How the sweep is done.
        settings: The project's; found from the working directory if not given.
        resume: The parent run of an earlier part: trials that are done are not repeated, the engine is told of them.
        run_name: Of the parent.
        folder: Where commands work; the working directory if not given.
        chosen: Fields of `SweepOptions`, instead of `options`.

    Returns:
        All trials, and the best.

    Raises:
        InvalidInputError: Space or options are not valid, or not those of the sweep that is resumed.
        MissingDependencyError: Optuna or Ray is not installed.
        NotFoundError: `resume` names no sweep.
        RunStateError: Another process of this project is at work on the sweep to be resumed.
        SweepError: More trials failed than may, or none gave a value; the parent is FAILED.
        BackendUnavailableError: The server went away; `resume` goes on.
    """
    project = open_project(settings)
    about = read_about(project, resume) if resume is not None else {}
    options = _options(options, about, chosen)
    dimensions = _space(space, about)
    need(("optuna", "ray") if options.engine == "ray" else ("optuna",), "a sweep", options.engine_extra)
    with contextlib.ExitStack() as stack:
        if resume is not None:
            stack.enter_context(alone(project.settings, resume))
        book = _open_book(project, resume, dimensions, options, run_name)
        if resume is None:
            stack.enter_context(alone(project.settings, book.parent_id))
        return _run(TrialWork(book, objective, options, folder or Path.cwd()), dimensions)


def _options(options: SweepOptions | None, about: Mapping[str, Any], chosen: dict[str, Any]) -> SweepOptions:
    if options is not None and chosen:
        raise InvalidInputError(f"Both options and {', '.join(chosen)} are given.", "give one of them")
    if options is None:
        known = {key: about[key] for key in ("metric", "mode") if key in about}
        unknown = sorted(set(chosen) - {field.name for field in dataclasses.fields(SweepOptions)})
        if unknown:
            raise SweepOptionsError.of(dict.fromkeys(unknown, "is unknown"))
        options = SweepOptions(**({"metric": ""} | known | chosen))
    different = [key for key in ("metric", "mode") if about and about[key] != getattr(options, key)]
    if different:
        told = {key: f"= {getattr(options, key)}, and the sweep was begun with {about[key]}" for key in different}
        raise SweepOptionsError.of(told, _KEEPS_ITS_OWN)
    return options


def _space(given: Mapping[str, Any] | None, about: Mapping[str, Any]) -> Space:
    if given is None and about:
        found: Space = about["space"]
        return found
    space = parse_space(given or {})
    if about and space != about["space"]:
        raise SweepOptionsError.of({"space": "is another than the sweep was begun with"}, _KEEPS_ITS_OWN)
    return space


def _open_book(
    project: Project, resume: str | None, space: Space, options: SweepOptions, run_name: str | None
) -> SweepBook:
    if resume is None:
        return SweepBook.begin(project, space, options, run_name)
    book = SweepBook.reopen(project, resume, options.metric)
    for trial in book.trials():
        if trial.state is State.RUNNING:
            _take_over(book, trial)
    return book


def _take_over(book: SweepBook, trial: Trial) -> None:
    """See what became of a trial whose sweep was killed: it may have come to its end all the same."""
    book.settle(trial.run_id)
    is_finished = book.project.runs.get_run(trial.run_id).status == "FINISHED"
    book.end_trial(trial.run_id, book.end_by_value(trial.run_id) if is_finished else TrialEnd(State.INTERRUPTED))


@dataclass(frozen=True)
class _Parent:
    run_id: str


def _run(work: TrialWork, space: Space) -> SweepResult:
    """Do the trials, report, and end the parent with the status that fits."""
    book, key = work.book, _Parent(work.book.parent_id)
    run_guard().add(key, book.end)  # SIGTERM becomes an exception, and an exit without a word a status
    try:
        _search(work, space)
        trials = book.trials()
        _report(work, trials, space)
        result = _result(work, trials)
    except BaseException as error:
        run_guard().remove(key)
        _end_early(work, space, error)
        raise
    run_guard().remove(key)
    book.end("FINISHED")
    return result


def _end_early(work: TrialWork, space: Space, error: BaseException) -> None:
    """Report what there is and end the parent; the error that is being raised matters more than another one here."""
    if isinstance(error, BackendUnavailableError):
        return  # it would be waited for once more; the parent stays RUNNING until the sweep is resumed
    try:
        work.book.end(status_for(type(error), error))
        trials = work.book.trials()
        if isinstance(error, SweepError):
            error.run_id, error.trials = work.book.parent_id, tuple(trials)
            error.best = best_of(trials, work.options.sign)
        _report(work, trials, space)
    except HoldfastError as other:
        _log.error("the sweep's parent run is not complete", run=work.book.parent_id, reason=other.message)


def _search(work: TrialWork, space: Space) -> None:
    known = work.book.trials()
    first = max((trial.number + 1 for trial in known), default=0)
    if work.options.engine == "ray":
        from holdfast.training.sweeping.ray_engine import search_with_ray

        search_with_ray(work, space, known, first)
    else:
        from holdfast.training.sweeping.optuna_engine import search_with_optuna

        search_with_optuna(work, space, known, first)


def _report(work: TrialWork, trials: list[Trial], space: Space) -> None:
    from holdfast.training.sweeping.report import log_report

    log_report(work.book, trials, space, work.options)


def _result(work: TrialWork, trials: list[Trial]) -> SweepResult:
    best = best_of(trials, work.options.sign)
    if best is None:
        failed = [trial for trial in trials if trial.reason]
        raise SweepError(
            f"None of {len(trials)} trials of the sweep {work.book.parent_id} gave a value of {work.options.metric}"
            + (f"; the last that failed, run {failed[-1].run_id}: {failed[-1].reason}." if failed else "."),
            "see what a trial wrote: holdfast files get RUN_ID sweep/output.txt",
        )
    return SweepResult(work.book.parent_id, tuple(trials), best)
