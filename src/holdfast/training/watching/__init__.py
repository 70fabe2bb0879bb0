"""What is logged beside a training's own metrics: the machine, the gradients, the environment.

Public names are loaded when they are first used: `SystemMetricsCallback` and `GradientNorm` need Lightning, the others
do not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.training.watching.environment import log_environment
    from holdfast.training.watching.gradients import GradientNorm
    from holdfast.training.watching.measuring import SystemMetrics
    from holdfast.training.watching.system import SystemMetricsCallback

__all__ = ["GradientNorm", "SystemMetrics", "SystemMetricsCallback", "log_environment"]

_HOMES = {
    "GradientNorm": "gradients",
    "SystemMetrics": "measuring",
    "SystemMetricsCallback": "system",
    "log_environment": "environment",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
