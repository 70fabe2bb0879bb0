"""Training: a Lightning pipeline with exact resume, its logger, sweeps, and ONNX export.

Public names are loaded when they are first used, so that importing the room loads no library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

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


def __getattr__(name: str) -> object:
    if name in _HOMES:
        if name in _NEED_LIGHTNING:
            need(("torch", "lightning"), f"holdfast.training.{name}", "lightning")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
