"""Hugging Face's `Trainer`, in the tracker's run and through the journal, by its own `report_to="mlflow"`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.backend.autologging import wait_for_asynchronous_calls
from holdfast.errors import SettingsError
from holdfast.tracking import MLflowTracker
from holdfast.training.integrations.run_in_use import run_in_use

# With one of these the Trainer's callback begins a run of its own, or goes on with another.
_IN_THE_WAY = ("MLFLOW_RUN_ID", "MLFLOW_NESTED_RUN", "DISABLE_MLFLOW_INTEGRATION")


@contextmanager
def hugging_face_run(tracker: MLflowTracker, run_name: str | None = None) -> Iterator[str | None]:
    """Have each `Trainer` of this block that reports to MLflow log to the tracker's run.

        with hugging_face_run(tracker):
            Trainer(model, TrainingArguments(report_to="mlflow", …), train_dataset=data).train()

    Its params and metrics go through the journal: a missing server neither holds up the training nor loses anything.
    They are there when the block ends. A second Trainer whose arguments differ needs a run of its own
    (`tracker.run(nested=True)`), as a param keeps its value. Started by torchrun, rank 0 alone has a run.

    Args:
        tracker: Whose open run; where none is open, one is begun and ends with the block.
        run_name: Of a run that is begun; the Trainer's own `run_name` is not used.

    Yields:
        The run's id; None on ranks other than 0.

    Raises:
        SettingsError: A variable of the environment would send the Trainer elsewhere.
    """
    found = [name for name in _IN_THE_WAY if os.environ.get(name, "").upper() not in ("", "0", "FALSE")]
    if found:
        raise SettingsError(
            f"{' and '.join(found)} would keep the Trainer from logging to the tracker's run.",
            f"unset {' '.join(found)}; to go on with a run: tracker.run(run_id=…)",
        )
    if os.environ.get("RANK", "0") != "0":
        yield None
        return
    with run_in_use(tracker, run_name) as run_id:
        try:
            yield run_id
        finally:
            wait_for_asynchronous_calls()
