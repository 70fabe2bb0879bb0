"""A training that says when its first optimizer step is done, then waits to be killed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import lightning.pytorch as pl

from benchmarks.loops.model import SEED, Net, make_loaders, plain_callbacks

BATCH_SIZE, STEPS = 32, 60
# In the middle of the second epoch, so that half an epoch of data is gone through again.
SAVED_AT = STEPS + STEPS // 2
_EPOCHS = 1000


class _FirstStep(pl.Callback):
    """Says when the first step of this process is done, and later when the step `until` is; then waits."""

    def __init__(self, answers: TextIO, begun: float, until: int) -> None:
        self._answers, self._begun, self._until, self._is_first = answers, begun, until, True

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if self._is_first:
            self._is_first = False
            self._say(first_step=time.monotonic(), train_called=self._begun, step=trainer.global_step)
        if trainer.global_step > self._until:
            self._say(waits=True)
            sys.stdin.read()

    def _say(self, **what: Any) -> None:
        print(json.dumps(what), file=self._answers, flush=True)


def go(answers: TextIO, uri: str, experiment: str, tracker: bool, resume: str | None, until: int) -> None:
    """Train up to a step and wait.

    Args:
        answers: Where it is said.
        uri: The tracking store.
        experiment: The experiment's name.
        tracker: Whether with Holdfast's pipeline, or with Lightning alone.
        resume: `last`, or None for a fresh run.
        until: The optimizer step after which it waits.
    """
    data = make_loaders(BATCH_SIZE, STEPS)
    if not tracker:
        _plainly(answers, data, resume, until)
        return
    from holdfast import MLflowTracker
    from holdfast.training import TrainingPipeline

    config = {"epochs": _EPOCHS, "seed": SEED, "accelerator": "cpu", "checkpoint_every_steps": STEPS // 2}
    begun = time.monotonic()
    watching = _FirstStep(answers, begun, until)
    pipeline = TrainingPipeline(MLflowTracker(uri, experiment_name=experiment), None, config, callbacks=[watching])
    pipeline.train(lambda *_: Net(), data, resume=resume)


def _plainly(answers: TextIO, data: Any, resume: str | None, until: int) -> None:
    begun = time.monotonic()
    pl.seed_everything(SEED, verbose=False)
    saving = pl.callbacks.ModelCheckpoint("outputs", filename="last", every_n_train_steps=SAVED_AT)
    trainer = pl.Trainer(
        max_epochs=_EPOCHS,
        accelerator="cpu",
        logger=False,
        callbacks=[*plain_callbacks("outputs", False), saving, _FirstStep(answers, begun, until)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    found = Path("outputs", "last.ckpt")
    trainer.fit(Net(), *data, ckpt_path=str(found) if resume else None)
