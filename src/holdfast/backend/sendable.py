"""What MLflow takes without a word and stores wrong, stores twice, or breaks on: seen to before it is sent.

MLflow's server parses a request field by field, and where protobuf fails (an integer beyond 64
bits, half a surrogate pair) it goes on with what it has read so far, drops the rest and answers 200.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from holdfast.core.names import RUN_STATUSES
from holdfast.core.sending import Point, Refused

HISTORY_TAG = "mlflow.log-model.history"
# MLflow looks stored metrics up by the names of a hundred points at a time, and takes those of the other
# hundreds for new: all metrics before mlflow/mlflow#24577 was mended, those of models still in 3.17.
_FOUND_AGAIN = 100
_LAST_INT64 = 2**63 - 1
_NEEDED_OF_MODEL = {"artifact_path", "flavors", "utc_time_created", "run_id"}  # as MLflow's server has it


def new_outputs(body: Mapping[str, Any], stored: Collection[str]) -> list[Any]:
    """Return the model outputs of `body` that a run does not have: MLflow fails on one that it has.

    Args:
        body: The request of MLflow's `log-outputs`.
        stored: The ids of the models that the run has as outputs.
    """
    given = {str(_field(model, "model_id", "modelId")): model for model in body.get("models") or ()}
    return [model for model_id, model in given.items() if model_id not in stored]


def model_of(model_json: str) -> dict[str, Any]:
    """Return a model's description.

    Raises:
        Refused: It is none; MLflow's server breaks on some of these.
    """
    try:
        model = json.loads(model_json)
    except ValueError:
        raise Refused("a model's description is no valid JSON") from None
    if not isinstance(model, dict) or not model.keys() >= _NEEDED_OF_MODEL:
        raise Refused(f"a model's description lacks one of {sorted(_NEEDED_OF_MODEL)}")
    return model


def check_int64(**values: int | None) -> None:
    """Raise `Refused` for an integer that MLflow cannot hold."""
    for name, value in values.items():
        if value is not None and not -_LAST_INT64 <= value <= _LAST_INT64:
            raise Refused(f"{name} {value} does not fit into 64 bits")


def check_status(status: str | None) -> None:
    """Raise `Refused` for a status that MLflow does not know: its server answers 200 and changes nothing."""
    if status is not None and status not in RUN_STATUSES:
        raise Refused(f"MLflow knows no run status {status!r}")


def check_text(text: str) -> bytes:
    """Return the text as UTF-8.

    Raises:
        Refused: It holds half a surrogate pair; MLflow's server stores an empty text in its place.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise Refused(f"a text is no valid Unicode: {error.reason}") from None


def holds_model(history: str | None, model_json: str) -> bool:
    """Whether a model is noted in the tag `mlflow.log-model.history`: MLflow would append it once more."""
    model = model_of(model_json)
    try:
        return any(_identity(entry) == _identity(model) for entry in json.loads(history or "[]"))
    except (ValueError, AttributeError, TypeError):
        return False  # somebody else has written that tag


def smaller_parts(metrics: Sequence[Point], history: Callable[[str], Iterable[Point]]) -> list[Sequence[Point]]:
    """Split metrics, some of which are stored already, so that MLflow finds those and adds the others.

    Args:
        metrics: What `DoubledError` was raised for.
        history: Reads the stored values of a metric; asked only for those with NaN.
    """
    odd_keys = {point.key for point in metrics if math.isnan(point.value)}
    # Such an MLflow also takes each NaN for a new one, as NaN equals nothing.
    stored = {(p.key, p.timestamp, p.step) for key in odd_keys for p in history(key) if math.isnan(p.value)}
    left = [p for p in metrics if not (math.isnan(p.value) and (p.key, p.timestamp, p.step) in stored)]
    return [left[at : at + _FOUND_AGAIN] for at in range(0, len(left), _FOUND_AGAIN)] or [[]]


def _identity(model: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(model.get(name) for name in ("artifact_path", "model_uuid", "utc_time_created"))


def _field(message: Mapping[str, Any], name: str, camel: str) -> Any:
    return message.get(name, message.get(camel))
