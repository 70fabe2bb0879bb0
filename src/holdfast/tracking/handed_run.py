"""The run that whoever started this process made for it: MLflow's own `MLFLOW_RUN_ID`."""

from __future__ import annotations

import os

RUN_ID_VARIABLE = "MLFLOW_RUN_ID"


def take_handed_run() -> str | None:
    """Return the id of the run that this process was handed, the first time it is asked for; None otherwise.

    It is taken out of the environment, as `mlflow.start_run()` does it: the next run, and a process that this one
    starts, are other runs.
    """
    return os.environ.pop(RUN_ID_VARIABLE, "").strip() or None
