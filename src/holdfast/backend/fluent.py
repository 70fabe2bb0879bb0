"""Points MLflow's fluent functions (`mlflow.log_metric`, autologging, `log_model`) at a project and a run.

`mlflow.set_tracking_uri`, `set_registry_uri` and `set_experiment` write to the process
environment, from where a child process or another project would pick the values up.
Holdfast never does; it sets the variables those functions set beside it. They are private
names of MLflow, the same from 3.0 to 3.17; `_ask` checks after each change that MLflow
answers as it should, so that a release which renames them fails loudly here.
"""

from __future__ import annotations

from typing import Any

from holdfast.core.uris import mask_uri
from holdfast.errors import BackendError


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


def enter_run(run_id: str, tracking_uri: str) -> None:
    """Make the run the active one of this thread: fluent calls and autologging go to it.

    Raises:
        BackendError: This release of MLflow keeps its active run elsewhere.
    """
    import mlflow
    from mlflow.tracking import fluent

    run = mlflow.MlflowClient(tracking_uri=tracking_uri).get_run(run_id)
    fluent._active_run_stack.get().append(mlflow.ActiveRun(run))
    active = mlflow.active_run()
    _ask("active run", active.info.run_id if active else None, run_id)


def leave_run(run_id: str) -> list[str]:
    """Take the run off this thread's active runs, with those begun inside it and still open.

    Returns:
        The ids of those inner runs, the innermost first; they are still to be ended.
    """
    from mlflow.tracking import fluent

    stack: list[Any] = fluent._active_run_stack.get()
    if run_id not in [run.info.run_id for run in stack]:
        return []
    inner: list[str] = []
    while (last := stack.pop().info.run_id) != run_id:
        inner.append(last)
    return inner


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
