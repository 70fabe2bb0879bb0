"""Which logged models live runs took in or gave out, where only asking run by run tells."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from functools import partial

from holdfast.artifacts.team import in_parallel
from holdfast.core.cleanup.records import Need, State
from holdfast.errors import NotFoundError
from holdfast.project import Project

_THREADS = 8


def needs_of_inputs(project: Project, state: State, model_ids: Collection[str]) -> list[Need]:
    """Return which of some logged models live runs use that others logged; a request for each live run.

    MLflow's search for runs does not name what they took in, in 3.0 not even what they gave out; a database does, and
    nothing is asked there.

    Args:
        project: Whose tracking server.
        state: What was read of it.
        model_ids: The logged models that may go.

    Raises:
        BackendError: The server refuses, or cannot be reached.
    """
    if state.has_rows or not model_ids:
        return []
    live = [run.run_id for run in state.runs if not run.is_deleted]
    logged_by = {model.model_id: model.run_id for model in state.models if model.model_id in model_ids}
    tasks = (partial(_needs_of_run, project, run_id, logged_by) for run_id in live)
    parts = in_parallel(tasks, min(_THREADS, len(live)) or 1, threading.Event())
    return [need for part in parts for need in part]


def _needs_of_run(project: Project, run_id: str, logged_by: Mapping[str, str]) -> list[Need]:
    try:
        with project.connection.tracking(f"read run {run_id}"):
            run = project.connection.client.get_run(run_id)
    except NotFoundError:
        return []
    taken = {model.model_id for model in getattr(run.inputs, "model_inputs", None) or ()}
    given = {model.model_id for model in getattr(run.outputs, "model_outputs", None) or ()}
    others = {model_id for model_id, logger in logged_by.items() if logger != run_id}
    return [Need(f"run {run_id}, which uses it,", model_id=model_id) for model_id in sorted((taken | given) & others)]
