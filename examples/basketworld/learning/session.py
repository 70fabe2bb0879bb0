"""One training from its first line to its end: which run it is, from where it goes on, and how it ends.

The run is held by one process of a machine at a time. Ctrl-C and SIGTERM are looked at after each update: the state is
saved, and the run ends KILLED.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holdfast.backend.entities import Run
from holdfast.errors import HoldfastError, InvalidInputError, RunStateError
from holdfast.logs import get_logger
from holdfast.project import Project, open_project
from holdfast.tracking import MLflowTracker
from holdfast.tracking.values import to_text
from holdfast.training.folders import why_unwritable
from holdfast.training.integrations.stable_baselines3 import algorithm_params
from holdfast.training.lightning.signals import Interrupted, Signals
from holdfast.training.resume import MODULE_TAG, find_run, noted, owned
from holdfast.training.watching import log_environment

from ..play.checkpoints import KIND_TAG, TRAINING, policy_path
from .alternations import FORMAT, Alternations
from .config import TrainingConfig, check_given, go_on_config, make_config
from .endings import as_python_ends, disk_told
from .history import History
from .outlet import STATES, Outlet
from .ppo import make_model, quick_torch
from .state_file import in_order, load_state, newest_whole, updates_of
from .vector_env import TeamVecEnv

_log = get_logger(__name__)
_MODULE = "holdfast_examples.basketworld.train"
_RESUMES_TAG = "holdfast.training.resumes"
_CHANGED_TAG = "holdfast.training.changed_params"


@dataclass(frozen=True)
class Trained:
    """What a training made.

    Attributes:
        run_id: Its run.
        is_resumed: Whether the run was there before.
        alternations: The last alternation.
        folder: Where its files lie: `models/unified_policy_alt_{n}.zip` and the others.
    """

    run_id: str
    is_resumed: bool
    alternations: int
    folder: Path

    def policy(self, alternation: int) -> Path:
        """Return where the policy of an alternation lies; 0 is the untrained one."""
        return self.folder / policy_path(alternation)


@dataclass(frozen=True)
class _Start:
    """How a training begins: its configuration, and what it goes on from."""

    config: TrainingConfig
    state: dict[str, Any] | None
    logged: Mapping[str, int]


def train(
    tracker: MLflowTracker,
    given: Mapping[str, Any] | TrainingConfig,
    output_dir: Path,
    *,
    resume: str | None = None,
    run_name: str | None = None,
) -> Trained:
    """Train a policy against its own past, in one run.

    Args:
        tracker: Where to log. A run that it has open is used, and left open.
        given: Keys of `TrainingConfig`. A run that goes on keeps its own, but for those given.
        output_dir: The folder of all runs' files; the run has one of its own in it, by its id.
        resume: A run's id, `last` or `auto`, as of `holdfast.training.resume.find_run`; None for a new run.
        run_name: The run's name.

    Raises:
        InvalidInputError: A key has a bad value, or cannot change in a run that goes on; or nothing can be written.
        NotFoundError: There is no such run.
        RunStateError: Another process trains that run, or the tracker has another open.
        HoldfastError: The disk is full.
        KeyboardInterrupt: Ctrl-C; the state was saved.
        Terminated: SIGTERM; the state was saved.
    """
    keys = given.model_dump() if isinstance(given, TrainingConfig) else dict(given)
    check_given(keys, resume)
    why = why_unwritable(output_dir)
    if why:
        raise InvalidInputError(f"Nothing can be written to {output_dir}: {why}.", "choose another --output-dir")
    project = open_project(tracker.settings, journaled=True)
    run_id = find_run(project, tracker.experiment_id, output_dir, resume)
    signals = Signals()
    with as_python_ends(), signals.caught(), contextlib.ExitStack() as stack:
        if run_id is None:
            config = make_config(keys)
            run_id = tracker.run_id or stack.enter_context(tracker.run(run_name))
            stack.enter_context(owned(output_dir / run_id, run_id))
            stack.enter_context(noted(output_dir, run_id, lenient=True))
            start = _begin(tracker, config)
            is_resumed = False
        else:
            stack.enter_context(owned(output_dir / run_id, run_id))
            start = _go_on(tracker, project, run_id, output_dir / run_id, keys, stack)
            stack.enter_context(noted(output_dir, run_id, lenient=True))
            is_resumed = True
        # Over the handler that the run has set, which is to be found in its place when the run ends.
        stack.enter_context(signals.caught())
        stack.enter_context(quick_torch(start.config.threads))
        with disk_told(output_dir / run_id):
            _run(tracker, start, run_id, output_dir / run_id, signals)
        return Trained(run_id, is_resumed, start.config.alternations, output_dir / run_id)


def _run(tracker: MLflowTracker, start: _Start, run_id: str, folder: Path, signals: Signals) -> None:
    config = start.config
    trained_by = config.make_rules()
    env = TeamVecEnv(trained_by, config.n_envs, config.seed, config.shot_reward == "expected")
    model = make_model(config, env)
    alternations: Alternations

    def interrupted() -> None:
        if signals.seen:
            alternations.save()
            raise Interrupted(signals.seen)

    # Shaping is a help for learning and no rule of the game that the policies play.
    played_by = replace(trained_by, shaping=0.0, gamma=1.0)
    history = History(tracker.settings, run_id, folder)
    outlet = Outlet(tracker, folder, start.logged)
    alternations = Alternations(config, played_by, model, env, outlet, history, interrupted)
    if start.state is not None:
        alternations.restore(start.state)
    signals.may_wait = True
    if start.state is None:
        tracker.log_params({f"ppo/{name}": value for name, value in algorithm_params(model).items()})
        alternations.begin()
    alternations.run()


# -- beginning, and going on --------------------------------------------------------------


def _begin(tracker: MLflowTracker, config: TrainingConfig) -> _Start:
    tracker.set_tags({MODULE_TAG: _MODULE, KIND_TAG: TRAINING})
    tracker.log_params(_params(config))
    log_environment(tracker)
    return _Start(config, None, {})


def _params(config: TrainingConfig) -> dict[str, Any]:
    rules = config.make_rules().as_dict()
    return config.model_dump(exclude={"rules"}) | {f"rules/{name}": value for name, value in rules.items()}


def _go_on(
    tracker: MLflowTracker,
    project: Project,
    run_id: str,
    folder: Path,
    given: Mapping[str, Any],
    stack: contextlib.ExitStack,
) -> _Start:
    if tracker.run_id not in (None, run_id):
        raise RunStateError(f"Run {tracker.run_id} is open, and {run_id} is to be gone on with.", "end the open one")
    logged = tracker.logged_steps(run_id)
    run = project.runs.get_run(run_id)
    if not _is_ours(run):
        raise InvalidInputError(
            f"Run {run_id} is no training of BasketWorld.", "holdfast runs list shows those that are"
        )
    state, changed = _find_state(project, run, folder), dict[str, Any]()
    if state is None:
        config = make_config(given)
        _check_as_begun(config, run)
        _log.warning("the run has no state yet: the training begins anew, in the same run", run=run_id)
    elif state["format"] != FORMAT:
        raise InvalidInputError(
            f"The state of run {run_id} is of another version of this example ({state['format']}, not {FORMAT}).",
            "go on with it by that version, or begin another run",
        )
    else:
        config, changed = go_on_config(state["config"], given)
        _check_not_over(config, state)
    if tracker.run_id is None:
        stack.enter_context(tracker.run(run_id=run_id))
    tracker.set_tags({MODULE_TAG: _MODULE, KIND_TAG: TRAINING, _RESUMES_TAG: int(run.tags.get(_RESUMES_TAG, "0")) + 1})
    if changed:
        _log.warning("these params are other than the run's first ones", params=str(changed))
        tracker.set_tags({_CHANGED_TAG: ", ".join(f"{name}={value}" for name, value in changed.items())[:5000]})
    params = {name: value for name, value in _params(config).items() if name not in run.params}
    tracker.log_params(params)
    return _Start(config, state, logged)


def _check_not_over(config: TrainingConfig, state: Mapping[str, Any]) -> None:
    """Refuse to go on to an alternation that is over."""
    done = state["position"]["alternation"] - 1
    if config.alternations < done:
        raise InvalidInputError(
            f"The run has {done} alternations behind it, and is to end with alternation {config.alternations}.",
            f"give --alternations {done} or more, or leave it out",
        )


def _is_ours(run: Run) -> bool:
    """Tell whether a run is a training of this example, or one that was killed before it said what it is."""
    said = run.tags.get(MODULE_TAG)
    return said == _MODULE or (said is None and not run.params and run.status != "FINISHED")


def _check_as_begun(config: TrainingConfig, run: Run) -> None:
    """Refuse to begin a run anew by other values than those that it says it has."""
    before = run.params
    other = [
        f"{name} was {before[name]} and not {to_text(value)}"
        for name, value in _params(config).items()
        if name in before and before[name] != to_text(value)
    ]
    if other:
        raise InvalidInputError(
            f"Run {run.run_id} has no state to go on from, and began with other values: {', '.join(other)}.",
            "give its values, to begin it anew, or leave --resume out, to begin another run",
        )


def _find_state(project: Project, run: Run, folder: Path) -> dict[str, Any] | None:
    """Return the newest whole state of a run, here or in its artifact store; None where there is none.

    Raises:
        HoldfastError: None is here, and the store cannot be looked into.
    """
    here = newest_whole(folder)
    if here is None:
        project.settle_files(run.run_id)
    try:
        files = project.artifacts.list_files(run.artifact_uri, STATES)
        names = in_order(Path(file.path).name for file in files)
    except HoldfastError as error:
        if here is None:
            raise
        _log.warning("the state of this machine is used; the store's was not seen", reason=error.message)
        return here[1]
    if here is not None and (not names or updates_of(names[-1]) <= updates_of(here[0].name)):
        return here[1]
    if not names:
        return None
    got = project.artifacts.download(run.artifact_uri, f"{STATES}/{names[-1]}", folder)
    if got.parent != folder:
        got = got.replace(folder / got.name)
    _log.info("the state came from the artifact store", run=run.run_id, state=got.name)
    return load_state(got)
