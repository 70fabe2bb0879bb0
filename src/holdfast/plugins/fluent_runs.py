"""Ends what plain `mlflow.start_run()` began, with the status that fits, when the process ends.

MLflow's own exit handler makes an uncaught exception FINISHED, and a signal leaves the run RUNNING.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from holdfast.lifecycle import run_guard


@dataclass(frozen=True)
class _FluentRun:
    """A run that may be one of MLflow's active runs."""

    run_id: str


def watch_run(store: Any, run_id: str, is_over: bool = False) -> None:
    """Watch over a run until it is ended.

    Args:
        store: Where it is ended.
        run_id: The run.
        is_over: Whether it was ended.
    """
    run = _FluentRun(run_id)
    if is_over:
        run_guard().remove(run)
    else:
        run_guard().add(run, lambda status: _end(store, run_id, status))


def _end(store: Any, run_id: str, status: str) -> None:
    """End the run if it is active in a thread; one of `MlflowClient.create_run` is somebody else's to end."""
    import mlflow
    from mlflow.entities import RunStatus
    from mlflow.tracking import fluent

    own = fluent._active_run_stack.get()
    if own and own[-1].info.run_id == run_id:
        mlflow.end_run(status)  # with its system metrics, and without waiting
        return
    for stack in fluent._active_run_stack.get_all_thread_values().values():
        found = [run for run in stack if run.info.run_id == run_id]
        if found:
            store.update_run_info(run_id, RunStatus.from_string(status), time.time_ns() // 1_000_000, None)
            stack.remove(found[0])
