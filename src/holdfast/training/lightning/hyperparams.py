"""What a module calls its hyperparameters, as the params of a run: a training is not ended by what they look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.core.names import MAX_PARAM_LENGTH
from holdfast.tracking.values import to_text
from holdfast.training.integrations.names import metric_name

_SHOWN_IN_FULL = 1000


def param_texts(params: Mapping[Any, Any]) -> dict[str, str]:
    """Return params as MLflow stores them; what it would refuse is spelled otherwise, or cut.

    Args:
        params: Name → value, without dictionaries in dictionaries.
    """
    return {metric_name(str(key)): _text(value) for key, value in params.items()}


def _text(value: Any) -> str:
    try:
        text = repr(value) if _is_large(value) else to_text(value)
    except (RecursionError, ValueError):
        text = f"<{type(value).__name__}>"
    plain = text.replace("\0", "").encode(errors="replace").decode()
    return plain if len(plain) <= MAX_PARAM_LENGTH else f"{plain[: MAX_PARAM_LENGTH - 1]}…"


def _is_large(value: Any) -> bool:
    """Whether it is an array of which PyTorch and NumPy show the beginning and the end only."""
    shape = getattr(value, "shape", ())
    elements = 1
    for size in shape if isinstance(shape, tuple) else ():
        elements *= int(size)
    return elements > _SHOWN_IN_FULL
