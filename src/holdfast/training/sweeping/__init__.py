"""Sweeps: Optuna or Ray Tune search, each trial is a child run of one parent."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.training.sweeping.options import SweepError, SweepOptions
    from holdfast.training.sweeping.records import State, Trial
    from holdfast.training.sweeping.search import SweepResult, sweep
    from holdfast.training.sweeping.space import Choice, Span, load_space, parse_space, read_params
    from holdfast.training.sweeping.work import Pruned

__all__ = [
    "Choice",
    "Pruned",
    "Span",
    "State",
    "SweepError",
    "SweepOptions",
    "SweepResult",
    "Trial",
    "load_space",
    "parse_space",
    "read_params",
    "sweep",
]

_HOMES = {
    "Choice": "space",
    "Pruned": "work",
    "Span": "space",
    "State": "records",
    "SweepError": "options",
    "SweepOptions": "options",
    "SweepResult": "search",
    "Trial": "records",
    "load_space": "space",
    "parse_space": "space",
    "read_params": "space",
    "sweep": "search",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
