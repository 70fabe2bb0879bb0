"""What is logged beside a training's own metrics: the machine, the gradients, the environment.

Public names are loaded when they are first used: `SystemMetricsCallback` and `GradientNorm` need Lightning, the others
do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.lazy import lazily

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

__getattr__, __dir__ = lazily(__name__, _HOMES)
