"""MLflow's own autologging, switched on for one run and off again.

MLflow patches a library for the whole process and logs to whatever run is active, or begins one. Here the switch that
its patches ask at each call answers for each thread: off, unless the run at hand is the one, or is nested in it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from holdfast.backend import fluent
from holdfast.errors import InvalidInputError

_PARENT_TAG = "mlflow.parentRunId"
_lock = threading.RLock()


class _OffElsewhere:
    """The value of MLflow's setting `disable`: true wherever the thread does not log to one of these runs."""

    def __init__(self, before: dict[str, Any] | None) -> None:
        self.run_ids: list[str] = []
        self.before = before  # the library's settings, as they are to be again

    def __bool__(self) -> bool:
        stack = list(fluent.thread_stack())
        return not (stack and _is_below(stack, set(self.run_ids)))


def _is_below(stack: fluent.Stack, run_ids: set[str]) -> bool:
    """Whether the innermost run is one of these, or a child of one."""
    parents = {run.info.run_id: run.data.tags.get(_PARENT_TAG) for run in stack}
    run_id = stack[-1].info.run_id
    while run_id is not None and run_id not in run_ids:
        run_id = parents.get(run_id)
    return run_id is not None


@contextmanager
def autologging(flavor: str, run_id: str, options: dict[str, Any]) -> Iterator[None]:
    """Log what a library trains in this block to one run, and to no other; afterwards all is as before.

    Args:
        flavor: MLflow's name of the library: `sklearn` or `xgboost`.
        run_id: The run, which is active in the threads that train.
        options: What MLflow's `autolog` of the library takes.

    Raises:
        InvalidInputError: It takes no such option.
    """
    import mlflow.utils.autologging_utils as utils

    settings = utils.AUTOLOGGING_INTEGRATIONS
    with _lock:
        before = dict(settings[flavor]) if flavor in settings else None
        known = (before or {}).get("disable")
        switch = known if isinstance(known, _OffElsewhere) else _OffElsewhere(before)
        _switch_on(flavor, options)
        settings[flavor]["disable"] = switch
        switch.run_ids.append(run_id)
    try:
        yield
    finally:
        with _lock:
            switch.run_ids.remove(run_id)
            if not switch.run_ids:
                _restore(settings, flavor, switch.before)


def _switch_on(flavor: str, options: dict[str, Any]) -> None:
    try:
        import_module(f"mlflow.{flavor}").autolog(**options)
    except TypeError as error:
        raise InvalidInputError(
            f"MLflow's autologging of {flavor} does not take this: {error}.", f"see mlflow.{flavor}.autolog"
        ) from None


def _restore(settings: dict[str, dict[str, Any]], flavor: str, before: dict[str, Any] | None) -> None:
    if before is None:
        import_module(f"mlflow.{flavor}").autolog(disable=True)
    else:
        settings[flavor] = before


def wait_for_asynchronous_calls() -> None:
    """Wait until what was logged with `synchronous=False` is where everything else that is logged goes."""
    import mlflow

    mlflow.flush_async_logging()
