"""One training, from its Trainer to its result."""

from __future__ import annotations

import contextlib
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint

from holdfast.errors import ArtifactError, HoldfastError, InvalidInputError
from holdfast.journal.locks import FileLock
from holdfast.logs import get_logger
from holdfast.tracking import MLflowTracker
from holdfast.tracking.values import to_params
from holdfast.training import beginning
from holdfast.training.beginning import Plan, Request
from holdfast.training.config import TrainingConfig
from holdfast.training.lightning import checkpoint_file, random_state
from holdfast.training.lightning.checks import require_batches
from holdfast.training.lightning.exact import ExactState
from holdfast.training.lightning.latest import LatestCheckpoint
from holdfast.training.lightning.logger import HoldfastLogger
from holdfast.training.lightning.mirror import safe_name
from holdfast.training.lightning.parts import MovedCheckpoints
from holdfast.training.lightning.quiet import quiet
from holdfast.training.lightning.ranks import agreed
from holdfast.training.lightning.resumable_data import resumable_data, resumable_loaders
from holdfast.training.lightning.signals import Interrupted, Preempted, Signals, requeue
from holdfast.training.lightning.trainer import data_arguments, make_trainer, test_arguments
from holdfast.training.result import TrainingResult
from holdfast.training.resume import FOLDER, fetch, noted, stored

_log = get_logger(__name__)
_FETCH_S = 3600.0


class Session:
    """A training that is about to begin.

    Args:
        tracker: Where to log.
        config: How to train.
        output_dir: The folder of all runs' files.
        callbacks: Lightning's; the first `ModelCheckpoint` is the one that keeps the best.
        options: More arguments of the `Trainer`.
        prepare: Called with the `Trainer`.
    """

    def __init__(
        self,
        tracker: MLflowTracker,
        config: TrainingConfig,
        output_dir: Path,
        callbacks: Sequence[pl.Callback],
        options: Mapping[str, Any],
        prepare: Callable[[pl.Trainer], pl.Trainer] | None,
    ) -> None:
        self._tracker, self._config, self._output_dir = tracker, config, output_dir
        # What it takes to begin draws from the generators too, here and in libraries, and not each time the same.
        self._drawn = random_state.capture()
        self._signals, self._exact = Signals(), ExactState()
        self._best = next(one for one in callbacks if isinstance(one, ModelCheckpoint))
        self._latest = LatestCheckpoint(
            output_dir,
            self._exact,
            tracker,
            self._signals,
            every_s=config.checkpoint_every_s,
            every_steps=config.checkpoint_every_steps,
        )
        self._logger = HoldfastLogger(
            tracker=tracker, log_model=True, log_ranks=config.log_ranks, save_dir=str(output_dir)
        )
        made = make_trainer(
            config,
            options,
            logger=self._logger,
            callbacks=[self._exact, *callbacks, MovedCheckpoints(self._best), self._latest],
            default_root_dir=output_dir,
        )
        self.trainer = made if prepare is None else prepare(made)

    def run(self, module: pl.LightningModule, data: Any, request: Request) -> TrainingResult:
        """Train, and test the best weights.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            Terminated: SIGTERM; `Preempted` for SIGUSR1.
        """
        # The run's name is drawn by MLflow, and not to be the same for each run of a seed; see `_fit`.
        random.seed()
        with self._signals.caught(), contextlib.ExitStack() as stack, self._told_apart():
            decided = stack.enter_context(agreed(self.trainer, lambda: beginning.begin(request, stack).to_plain()))
            plan = Plan.from_plain(decided)
            folder = self._output_dir / plan.run_id
            if not self.trainer.local_rank:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(noted(self._output_dir, plan.run_id))
            # Over the handler that the run has set, which is to be found in its place when the run ends.
            stack.enter_context(self._signals.caught())
            path = self._prepare(plan, folder, request)
            self._fit(module, data, path, _changes(plan, request))
            fitted = dict(self.trainer.logged_metrics)  # the test begins them anew
            self._test(module, data, plan, request)
            return self._result(plan, folder, fitted)

    # -- around it ----------------------------------------------------------------------

    @contextlib.contextmanager
    def _told_apart(self) -> Iterator[None]:
        """Make of a signal what Python makes of it, once Lightning is left; a pre-emption is noted on the open run."""
        try:
            yield
        except Interrupted as error:
            ends = error.as_exit()
            if isinstance(ends, Preempted) and self.trainer.is_global_zero:
                beginning.say_preempted(self._tracker, str(error))
                requeue()
            raise ends from None

    # -- its parts ----------------------------------------------------------------------

    def _prepare(self, plan: Plan, folder: Path, request: Request) -> Path | None:
        """Tell the callbacks what rank 0 has decided; return the checkpoint to go on from, which lies here then."""
        self._exact.run_id = plan.run_id
        self._latest.folder = folder
        self._best.dirpath = str(folder)
        if self.trainer.global_rank:
            self._logger.attach(plan.run_id)
        self._logger.skip(plan.logged, plan.params)
        if self.trainer.is_global_zero:
            # The folder `checkpoints` is for the best and the latest, whoever's callback saves first.
            self._logger.keep_in_step(self._best, self._there(plan, folder, request) if plan.is_resumed else {})
        return None if plan.checkpoint is None else self._bring(plan, folder, request)

    def _there(self, plan: Plan, folder: Path, request: Request) -> dict[str, int]:
        """Return the best checkpoints that the artifact store has; see `CheckpointMirror`."""
        try:
            files = stored(request.project, request.project.runs.get_run(plan.run_id))
        except HoldfastError as error:
            _log.warning("checkpoints of before stay in the artifact store", reason=error.message)
            return {}
        there: dict[str, int] = {}
        for file in files:
            name = Path(file.path).name
            if name.endswith(".ckpt") and name != checkpoint_file.NAME:
                here = folder / name
                is_same = here.exists() and here.stat().st_size == file.size_bytes
                there[name] = here.stat().st_mtime_ns if is_same else 0
        return there

    def _bring(self, plan: Plan, folder: Path, request: Request) -> Path:
        """Return the checkpoint; the first process of each machine fetches it where it is not here."""
        path = folder / checkpoint_file.NAME
        if self.trainer.world_size == 1:
            return path
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "fetch.lock")
        lock.acquire(_FETCH_S)
        try:
            here = checkpoint_file.whole(folder, plan.run_id)
            if here != plan.checkpoint:
                here = fetch(request.project, request.project.runs.get_run(plan.run_id), folder)
            if here != plan.checkpoint:
                raise ArtifactError(
                    f"Rank {self.trainer.global_rank} cannot have the checkpoint that rank 0 goes on from, "
                    f"of step {plan.checkpoint.step if plan.checkpoint else 0}.",
                    "put the output folder where all machines see it, or let rank 0 upload it first: holdfast sync",
                )
        finally:
            lock.release()
        return path

    def _fit(self, module: pl.LightningModule, data: Any, path: Path | None, changes: str) -> None:
        random_state.restore(self._drawn)
        with quiet(), contextlib.ExitStack() as stack:
            if path is not None:
                self.trainer.num_sanity_val_steps = 0
            arguments = data_arguments(data)
            if "train_dataloaders" in arguments:
                arguments["train_dataloaders"] = resumable_loaders(
                    arguments["train_dataloaders"], self._exact.resumption
                )
            else:
                stack.enter_context(resumable_data(data or module, self._exact.resumption))
            plainly = None if path is None else self._loads_plainly(path)
            stack.enter_context(self._faults_named(changes))
            self.trainer.fit(module, **arguments, ckpt_path=None if path is None else str(path), weights_only=plainly)
        require_batches(self.trainer)

    @contextlib.contextmanager
    def _faults_named(self, changes: str) -> Iterator[None]:
        """Say what Lightning and PyTorch say in ways of their own: no such metric, or a checkpoint of another model.

        Raises:
            InvalidInputError: It is one of the two.
        """
        try:
            yield
        except (RuntimeError, MisconfigurationException) as error:
            name, there = self._config.monitor, sorted(self.trainer.callback_metrics)
            if name not in there and re.search(rf"(metric|monitor).*{re.escape(name)}", str(error)):
                raise InvalidInputError(
                    f"The metric {name}, by which checkpoints are ranked, is not logged: there are {', '.join(there)}.",
                    "set monitor to one of them, or have the module log it",
                ) from None
            if "in loading state_dict" in str(error):
                first = str(error).splitlines()[1:2] or [str(error)]
                raise InvalidInputError(
                    f"The checkpoint does not fit the model: {first[0].strip()}",
                    f"go on with the options that the run began with{changes and f'; now {changes}'}",
                ) from error
            raise

    def _loads_plainly(self, path: Path) -> bool:
        """Whether a checkpoint holds plain values only.

        Raises:
            InvalidInputError: It does not, and nobody said that it is trusted.
        """
        if checkpoint_file.loads_plainly(path):
            return True
        if not self._config.trust_checkpoint:
            raise InvalidInputError(
                f"The checkpoint {path} holds Python objects, which can run code when it is loaded.",
                "have the module keep plain values in save_hyperparameters(), or set trust_checkpoint",
            )
        return False

    def _test(self, module: pl.LightningModule, data: Any, plan: Plan, request: Request) -> None:
        """Test the best weights, where there is a test."""
        # The ranks may disagree on a metric that a module logs without sync_dist; rank 0 has kept the files.
        self._best.best_model_path = best = self.trainer.strategy.broadcast(self._best.best_model_path)
        if not best:
            return
        if self.trainer.is_global_zero:
            self._log_best()
        arguments = test_arguments(module, data)
        if arguments is None:
            return
        path = Path(best)
        if self.trainer.local_rank == 0 and not path.exists():
            name = safe_name(path, self._best.dirpath)
            run = request.project.runs.get_run(plan.run_id)
            got = request.project.artifacts.download(run.artifact_uri, f"{FOLDER}/{name}", path.parent)
            got.replace(path)
            got.parent.rmdir()
        self.trainer.strategy.barrier()
        self._load_weights(module, path)
        with quiet():
            self.trainer.test(module, **arguments, verbose=False)

    def _log_best(self) -> None:
        name, score = self._config.monitor, self._score()
        if score is None:
            _log.warning("the metric by which checkpoints are ranked was never a finite number", metric=name)
        else:
            self._logger.log_metrics({f"best/{name}": score}, self.trainer.global_step)

    def _score(self) -> float | None:
        score = self._best.best_model_score
        return float(score) if score is not None and math.isfinite(score) else None

    def _load_weights(self, module: pl.LightningModule, path: Path) -> None:
        """Give the module a checkpoint's weights, and nothing else: a `ckpt_path` would set back the callbacks too."""
        content = torch.load(path, map_location="cpu", weights_only=self._loads_plainly(path))
        module.on_load_checkpoint(content)
        module.load_state_dict(content["state_dict"], strict=module.strict_loading)

    def _result(self, plan: Plan, folder: Path, fitted: Mapping[str, Any]) -> TrainingResult:
        best = self._best.best_model_path
        metrics = {key: float(value) for key, value in {**fitted, **self.trainer.logged_metrics}.items()}
        return TrainingResult(
            run_id=plan.run_id,
            is_resumed=plan.is_resumed,
            best_checkpoint=Path(best) if best else None,
            best_score=self._score(),
            metrics=metrics,
            epochs=self.trainer.current_epoch,
            global_step=self.trainer.global_step,
            output_dir=folder,
            rank=self.trainer.global_rank,
        )


def _changes(plan: Plan, request: Request) -> str:
    """Return the params that are other than the run's, each with both values."""
    now = to_params(request.params)
    changed = (name for name in sorted(now) if plan.params.get(name, now[name]) != now[name])
    return ", ".join(f"{name} is {now[name]}, was {plan.params[name]}" for name in changed)
