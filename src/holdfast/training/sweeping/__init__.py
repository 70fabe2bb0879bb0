"""Sweeps: Optuna or Ray Tune search, each trial is a child run of one parent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.lazy import lazily

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

__getattr__, __dir__ = lazily(__name__, _HOMES)
