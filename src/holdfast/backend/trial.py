"""Loads a model of a local folder and has it predict its input example, if any; a script for a process of its own.

    python -P trial.py FOLDER FD

It imports nothing of Holdfast, so that it runs wherever MLflow does. What it found goes to the file descriptor FD as
one JSON object: `{"seconds": 1.5}`, or `{"step": "predict", "error": "ValueError: …"}`. Whatever the model prints goes
to stdout and stderr. When stdin ends, its parent is gone, and so is it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any

_MAX_ERROR = 20_000


class _StepError(Exception):
    def __init__(self, step: str) -> None:
        super().__init__(step)
        self.step = step


def main(folder: str, fd: int) -> None:
    """Try the model, and say how it went."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    started = time.monotonic()
    try:
        _try(folder)
        found: dict[str, Any] = {"seconds": time.monotonic() - started}
    except _StepError as error:
        cause = error.__cause__
        traceback.print_exception(cause)
        found = {"step": error.step, "error": f"{type(cause).__name__}: {cause}"[:_MAX_ERROR]}
    with os.fdopen(fd, "wb") as file:
        file.write(json.dumps(found).encode())


def _try(folder: str) -> None:
    # Whatever a model raises is about the model: SystemExit too.
    step = "start"
    try:
        import mlflow.pyfunc

        step = "load"
        model = mlflow.pyfunc.load_model(folder)
        step = "read"
        about = mlflow.models.Model.load(folder)
        if about.saved_input_example_info:
            example, params = about.load_input_example(folder), about.load_input_example_params(folder)
            step = "predict"
            answer = model.predict(example, params=params)
            step = "compare"
            _compare(answer, about.signature)
    except BaseException as error:
        raise _StepError(step) from error


def _compare(answer: Any, signature: Any) -> None:
    """Check the answer as MLflow checks an input: its columns, shape and types.

    Raises:
        MlflowException: It is not what the signature says.
    """
    from mlflow.models.utils import _enforce_schema

    if signature is not None and signature.outputs is not None:
        _enforce_schema(answer, signature.outputs)


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
