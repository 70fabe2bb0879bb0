"""Training: a Lightning pipeline with exact resume, its logger, sweeps, and ONNX export.

Public names are loaded when they are first used, so that importing the room loads no library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.lazy import lazily
from holdfast.training.extras import need

if TYPE_CHECKING:
    from holdfast.training.command import Script
    from holdfast.training.config import Count, Number, TrainingConfig, load_training_config
    from holdfast.training.lightning.logger import HoldfastLogger
    from holdfast.training.lightning.signals import Preempted
    from holdfast.training.pipeline import TrainingPipeline
    from holdfast.training.result import TrainingResult
    from holdfast.training.splits import split_by_session

__all__ = [
    "Count",
    "HoldfastLogger",
    "Number",
    "Preempted",
    "Script",
    "TrainingConfig",
    "TrainingPipeline",
    "TrainingResult",
    "load_training_config",
    "split_by_session",
]

_HOMES = {
    "Count": "config",
    "HoldfastLogger": "lightning.logger",
    "Number": "config",
    "Preempted": "lightning.signals",
    "Script": "command",
    "TrainingConfig": "config",
    "TrainingPipeline": "pipeline",
    "TrainingResult": "result",
    "load_training_config": "config",
    "split_by_session": "splits",
}
_NEED_LIGHTNING = ("HoldfastLogger", "TrainingPipeline")


def _check(name: str) -> None:
    if name in _NEED_LIGHTNING:
        need(("torch", "lightning"), f"holdfast.training.{name}", "lightning")


__getattr__, __dir__ = lazily(__name__, _HOMES, _check)
