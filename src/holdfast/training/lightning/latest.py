"""Saves the latest state while a model is trained: each epoch, every so often within one, and when a signal asks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from holdfast.errors import InvalidInputError
from holdfast.logs import get_logger
from holdfast.training.lightning import checkpoint_file
from holdfast.training.lightning.checkpoint_file import NAME, NOTE_NAME
from holdfast.training.lightning.exact import ExactState, Point, is_exact_here
from holdfast.training.lightning.mirror import Keeper
from holdfast.training.lightning.ranks import highest
from holdfast.training.lightning.signals import Interrupted, Signals

_log = get_logger(__name__)


class LatestCheckpoint(Checkpoint):
    """Keeps `last.ckpt`, from which the training goes on exactly; here and, in the background, in the artifact store.

    Args:
        folder: Where.
        exact: The callback that adds the exact state.
        keeper: Takes the file for the run's artifact store; None for not.
        signals: What asks the training to end.
        every_s: Save within an epoch once so many seconds have gone by since the last time; 0 for not.
        every_steps: Save within an epoch after so many optimizer steps; 0 for not.

    Attributes:
        folder: Where.
        saves: How often it was saved.
    """

    def __init__(
        self,
        folder: Path,
        exact: ExactState,
        keeper: Keeper | None,
        signals: Signals | None = None,
        *,
        every_s: float = 300.0,
        every_steps: int = 0,
    ) -> None:
        self.folder = folder
        self.saves = 0
        self._exact, self._keeper, self._signals = exact, keeper, signals or Signals()
        self._every_s, self._every_steps = every_s, every_steps
        self._saved_at = time.monotonic()
        self._saved_step = 0

    # -- when -------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to wait for signals; those of Lightning are set by now."""
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
        self._signals.watch()
        self._signals.may_wait = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the state between two epochs."""
        if trainer.current_epoch and trainer.global_step != self._saved_step:
            self._save(trainer, Point.EPOCH)
        self._end_if(highest(trainer, self._signals.seen))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save the state where it is time to, and the state is exact."""
        asked, is_due = highest(trainer, self._signals.seen, int(self._is_due(trainer)))
        if (asked or is_due) and is_exact_here(trainer):
            self._save(trainer, Point.BATCH)
            self._end_if(asked)

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """End the training if a signal asks for it: the epoch's training batches are repeated then."""
        if trainer.world_size == 1 and not trainer.sanity_checking:
            self._end_if((self._signals.seen,))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what the training ended with."""
        self._signals.may_wait = False
        if trainer.global_step != self._saved_step or not self.saves:
            self._save(trainer, Point.EPOCH)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop waiting for signals."""
        self._signals.may_wait = False

    def _is_due(self, trainer: Trainer) -> bool:
        if self._every_steps and trainer.global_step - self._saved_step >= self._every_steps:
            return True
        return bool(self._every_s) and time.monotonic() - self._saved_at >= self._every_s

    def _end_if(self, asked: Any) -> None:
        number = asked[0] if isinstance(asked, tuple) else asked
        if number:
            self._signals.may_wait = False
            raise Interrupted(number)

    # -- how --------------------------------------------------------------------------

    def _save(self, trainer: Trainer, point: Point) -> None:
        self._exact.point = point
        try:
            if trainer.is_global_zero:
                saved = checkpoint_file.write(
                    self.folder,
                    lambda path: self._write(trainer, path),
                    self._exact.run_id or "",
                    trainer.current_epoch,
                    trainer.global_step,
                )
                _log.debug("checkpoint saved", epoch=saved.epoch, step=saved.step, bytes=saved.size)
            else:
                trainer.save_checkpoint(self.folder / NAME, weights_only=False)
        finally:
            self._exact.point = Point.OTHER
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
        self.saves += 1
        if trainer.is_global_zero and self._keeper is not None:
            # The note knows what may be there already, and goes first.
            self._keeper.log_checkpoint(self.folder / NOTE_NAME)
            self._keeper.log_checkpoint(self.folder / NAME)

    def _write(self, trainer: Trainer, path: Path) -> None:
        trainer.save_checkpoint(path, weights_only=False)
        if path.is_dir():
            raise InvalidInputError(
                f"The strategy {type(trainer.strategy).__name__} saves a checkpoint as a folder of many files.",
                'have it save one file, such as FSDPStrategy(state_dict_type="full")',
            )
