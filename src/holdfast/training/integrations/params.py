"""Params of a training that is one of several in its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.errors import InvalidInputError
from holdfast.logs import get_logger
from holdfast.tracking import MLflowTracker

_log = get_logger(__name__)


def log_first_values(tracker: MLflowTracker, params: Mapping[str, Any]) -> None:
    """Log params; those that the run has with another value keep it, and a warning names them.

    A training is not ended by what was logged before it: a second fit in the same run, or `eta` as somebody else writes
    it.
    """
    try:
        tracker.log_params(params)
    except InvalidInputError:
        refused = sorted(name for name, value in params.items() if not _is_taken(tracker, name, value))
        _log.warning("these params have another value already, or none that MLflow takes", params=", ".join(refused))


def _is_taken(tracker: MLflowTracker, name: str, value: Any) -> bool:
    try:
        tracker.log_params({name: value})
    except InvalidInputError:
        return False
    return True
