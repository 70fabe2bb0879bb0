"""Points MLflow's fluent functions (`mlflow.log_metric`, autologging, `log_model`) at a project and a run.

`mlflow.set_tracking_uri`, `set_registry_uri` and `set_experiment` write to the process
environment, from where a child process or another project would pick the values up.
Holdfast never does; it sets the variables those functions set beside it. They are private
names of MLflow, the same from 3.0 to 3.17; `_ask` checks after each change that MLflow
answers as it should, so that a release which renames them fails loudly here.

Where the functions go is one setting for the whole process; the active runs are a stack for each thread.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from holdfast.core.uris import mask_uri
from holdfast.errors import BackendError

# MLflow's own list of a thread's active runs, the innermost last.
Stack: TypeAlias = list[Any]


@dataclass(frozen=True)
class Place:
    """Where the fluent functions go.

    Attributes:
        tracking_uri: The tracking store.
        registry_uri: The model registry.
        experiment_id: What `mlflow.start_run()` uses where it is given no experiment.
    """

    tracking_uri: str = field(repr=False)
    registry_uri: str = field(repr=False)
    experiment_id: str


def go_to(place: Place) -> None:
    """Make the fluent functions use these stores and this experiment, in this process only.

    Raises:
        BackendError: This release of MLflow keeps them elsewhere.
    """
    point_at(place.tracking_uri, place.registry_uri)
    use_experiment(place.experiment_id)


def point_at(tracking_uri: str, registry_uri: str) -> None:
    """Make the fluent functions use these stores, in this process only.

    Raises:
        BackendError: This release of MLflow keeps them elsewhere.
    """
    import mlflow
    from mlflow.tracking._model_registry import utils as registry
    from mlflow.tracking._tracking_service import utils as tracking

    changed = tracking._tracking_uri != tracking_uri
    tracking._tracking_uri = tracking_uri
    # Set even where it equals the tracking URI: otherwise every fluent call looks for Spark first.
    registry._registry_uri = registry_uri
    _ask("tracking URI", mask_uri(mlflow.get_tracking_uri()), mask_uri(tracking_uri))
    _ask("registry URI", mask_uri(mlflow.get_registry_uri()), mask_uri(registry_uri))
    if changed:
        _reset_tracing()


def use_experiment(experiment_id: str) -> None:
    """Make `mlflow.start_run()` without an experiment use this one."""
    from mlflow.tracking import fluent

    fluent._active_experiment_id = experiment_id
    _ask("experiment", fluent._get_experiment_id(), experiment_id)


def enter_run(run_id: str, tracking_uri: str, known: Any | None = None) -> Stack:
    """Make the run the active one of this thread: fluent calls and autologging go to it.

    Args:
        run_id: The run.
        tracking_uri: Where it is read.
        known: MLflow's entity of it, where it is at hand and need not be read.

    Returns:
        The thread's stack, which is what `leave_run` takes it off again, from whichever thread.

    Raises:
        BackendError: This release of MLflow keeps its active run elsewhere.
    """
    import mlflow

    run = known if known is not None else mlflow.MlflowClient(tracking_uri=tracking_uri).get_run(run_id)
    stack = thread_stack()
    stack.append(mlflow.ActiveRun(run))
    active = mlflow.active_run()
    _ask("active run", active.info.run_id if active else None, run_id)
    return stack


def leave_run(stack: Stack, run_id: str, kept: Collection[str] = ()) -> list[str]:
    """Take a run off a stack, with the runs begun inside it up to the next one of `kept`.

    Args:
        stack: What `enter_run` returned.
        run_id: The run; nothing happens where it is not on the stack.
        kept: Runs that others look after, which stay.

    Returns:
        The ids of those inner runs, the innermost first; they are still to be ended.
    """
    ids = run_ids(stack)
    if run_id not in ids:
        return []
    first = ids.index(run_id)
    last = first + 1
    while last < len(ids) and ids[last] not in kept:
        last += 1
    del stack[first:last]
    return ids[first + 1 : last][::-1]


def thread_stack() -> Stack:
    """Return this thread's stack: the same list at each call, and a new one in a forked child."""
    from mlflow.tracking import fluent

    stack: Stack = fluent._active_run_stack.get()
    return stack


def run_ids(stack: Stack) -> list[str]:
    """Return the ids of a stack's runs, the innermost last."""
    return [str(run.info.run_id) for run in list(stack)]


def is_any_run_active() -> bool:
    """Whether a living thread of this process has an active run."""
    from mlflow.tracking import fluent

    thread_stack()  # a forked child lets go of its parent's stack when it first asks for its own
    living = {thread.ident for thread in threading.enumerate()}
    return any(stack for thread, stack in fluent._active_run_stack.get_all_thread_values().items() if thread in living)


def active_run_id() -> str | None:
    """Return the id of this thread's active run, or None."""
    import mlflow

    active = mlflow.active_run()
    return None if active is None else str(active.info.run_id)


def _reset_tracing() -> None:
    from mlflow.tracing.provider import reset

    reset()


def _ask(what: str, answer: object, expected: object) -> None:
    if answer != expected:
        from mlflow.version import VERSION

        raise BackendError(
            f"MLflow {VERSION} does not take its {what} from where Holdfast sets it.",
            "install an MLflow that Holdfast supports: pip install -U holdfast",
        )
