"""A training that waits its turn: one process trains an epoch while the others stand still."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.model_helpers import is_overridden

# What callbacks do at each step.
_HOOKS = ("on_train_batch_start", "on_before_zero_grad", "on_before_optimizer_step", "on_train_batch_end")


class Spent:
    """Adds up the time that some functions take; that of one called by another counts once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._is_inside = False

    def watch(self, owner: Any, name: str) -> None:
        """Have a method of an object timed from now on."""
        setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._is_inside:
                return function(*args, **kwargs)
            self._is_inside, begun = True, time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - begun
                self._is_inside = False

        return timed


class Turns(pl.Callback):
    """Waits for a line on the standard input before each epoch, and says on a stream how the one before went.

    The timed part of an epoch is from the beginning of its first step to that of step `steps`, so that all that is
    logged of a step is in it; what comes then up to the next turn is the epoch's end.

    Args:
        steps: How many are timed; an epoch has one more.
        answers: Where the figures go, one line of JSON a turn.
    """

    def __init__(self, steps: int, answers: TextIO) -> None:
        self._steps, self._answers = steps, answers
        self._said: dict[str, float] = {}
        self._begun = self._begun_cpu = self._ended = 0.0
        self._spent = Spent()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Have what the loggers and the callbacks do at each step timed."""
        for logger in trainer.loggers:
            self._spent.watch(logger, "log_metrics")
        for callback in trainer.callbacks:
            for hook in _HOOKS:
                if not isinstance(callback, (Turns, ModelCheckpoint)) and is_overridden(hook, callback, pl.Callback):
                    self._spent.watch(callback, hook)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> int | None:
        """Take the time at the two ends of the timed part."""
        if batch_idx == 0:
            return self._wait(trainer)
        if batch_idx == self._steps:
            self._said = {
                "wall_s": time.perf_counter() - self._begun,
                "cpu_s": time.process_time() - self._begun_cpu,
                "calls_s": self._spent.seconds,
            }
        return None

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Take the time at which the epoch's steps are done."""
        self._ended = time.perf_counter()

    def _wait(self, trainer: Any) -> int | None:
        if self._said:
            self._said["epoch_end_s"] = time.perf_counter() - self._ended
        print(json.dumps(self._said), file=self._answers, flush=True)
        if sys.stdin.readline().strip() != "go":
            trainer.should_stop = True
            return -1
        self._spent.seconds = 0.0
        self._begun, self._begun_cpu = time.perf_counter(), time.process_time()
        return None
