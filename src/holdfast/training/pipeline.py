"""`TrainingPipeline`: trains any LightningModule in one MLflow run, which it can go on with to the last bit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from holdfast.errors import InvalidInputError
from holdfast.project import open_project
from holdfast.tracking import MLflowTracker
from holdfast.training.beginning import Request, module_name, params_of
from holdfast.training.config import TrainingConfig, load_training_config
from holdfast.training.lightning import checks, parts
from holdfast.training.lightning.quiet import quiet
from holdfast.training.lightning.trainer import data_arguments, make_trainer, test_arguments
from holdfast.training.result import TrainingResult
from holdfast.training.session import Session
from holdfast.training.splits import FRACTIONS, split_by_session
from holdfast.training.watching import GradientNorm, SystemMetricsCallback


class TrainingPipeline:
    """Trains a LightningModule with everything that a run should have, and resumes one exactly.

    One MLflow run holds the params, the metrics with their steps, the learning rate, the gradients' norm, what the
    machine does, the environment, and the checkpoints: the best ones by the monitored metric, and the latest. Nothing
    waits for a server. The run ends FINISHED, FAILED by an exception, KILLED by Ctrl-C, SIGTERM and SIGUSR1; each of
    the three signals saves the state first.

    In a distributed training rank 0 owns the run, and the others log to it where `log_ranks` is set.

    Args:
        mlflow_tracker: Where to log. A run that it has open is used, and left open; otherwise one is begun and ended.
        model_config: What the model was made from, logged as params `model/…`: a mapping, or a pydantic model.
        training_config: How to train: a `TrainingConfig`, a mapping of its keys, or the path of a file.
        output_dir: The folder of the files; each run has one of its own in it, named by its id.
        callbacks: More callbacks of Lightning.
        trainer_options: More arguments of Lightning's `Trainer`, other than those that the configuration has a key for.
            A strategy may be an object here; the params have the name of its class.

    Raises:
        InvalidInputError: The configuration is not valid, or options are some that it or the pipeline sets.
    """

    def __init__(
        self,
        mlflow_tracker: MLflowTracker,
        model_config: Any = None,
        training_config: TrainingConfig | Mapping[str, Any] | str | Path | None = None,
        output_dir: str | Path = "outputs",
        *,
        callbacks: Sequence[pl.Callback] = (),
        trainer_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.tracker = mlflow_tracker
        self.model_config = model_config
        self.config = _config_of(training_config)
        self.output_dir = Path(output_dir)
        self.trainer: pl.Trainer | None = None
        self._more_callbacks = list(callbacks)
        self._options = dict(trainer_options or {})
        self._loaders: tuple[DataLoader[Any], DataLoader[Any], DataLoader[Any]] | None = None
        checks.check_options(self._options)

    # -- what it is made of -------------------------------------------------------------

    def setup_data_loaders(
        self,
        dataset: Dataset[Any],
        sessions: Sequence[Hashable] | None = None,
        fractions: Sequence[float] = FRACTIONS,
        **options: Any,
    ) -> tuple[DataLoader[Any], DataLoader[Any], DataLoader[Any]]:
        """Split samples by session into 72 % for training, 18 % for validation and 10 % for the test.

        Args:
            dataset: Samples by index.
            sessions: What session each sample is of; each its own if not given. None is in two parts.
            fractions: Of training, validation and test.
            options: More arguments of the `DataLoader`s.

        Returns:
            The three loaders, which `train` uses where it is given no data.

        Raises:
            InvalidInputError: Loaders are given, or another number of sessions than of samples.
            DataError: There are too few sessions.
        """
        checks.check_dataset(dataset)
        count = len(dataset)  # type: ignore[arg-type]
        if sessions is not None and len(sessions) != count:
            raise InvalidInputError(
                f"There are {len(sessions)} sessions for {count} samples.", "give one for each sample"
            )
        chosen = split_by_session(range(count) if sessions is None else sessions, fractions, self.config.seed)
        given = {"batch_size": self.config.batch_size, "num_workers": self.config.num_workers, **options}
        given.setdefault("pin_memory", torch.cuda.is_available())
        loaders = [
            DataLoader(Subset(dataset, part), shuffle=number == 0, **given) for number, part in enumerate(chosen)
        ]
        self._loaders = (loaders[0], loaders[1], loaders[2])
        return self._loaders

    def setup_callbacks(self) -> list[pl.Callback]:
        """Return new callbacks for a training: the best checkpoints first, then what stops, logs and watches."""
        config = self.config
        stopping = parts.early_stopping(config)
        made: list[pl.Callback] = [parts.best_checkpoints(config), parts.learning_rate()]
        made += [] if stopping is None else [stopping]
        made.append(GradientNorm())
        if config.system_metrics_every_s:
            made.append(SystemMetricsCallback(config.system_metrics_every_s))
        if not sys.stdout.isatty():
            made.append(parts.EpochLines([config.monitor, "train/loss"]))
        return [*made, *self._more_callbacks]

    # -- training -----------------------------------------------------------------------

    def train(
        self,
        model: pl.LightningModule | Callable[..., pl.LightningModule],
        data: pl.LightningDataModule | Sequence[Any] | DataLoader[Any] | None = None,
        *,
        resume: str | None = None,
        run_name: str | None = None,
        tags: Mapping[str, Any] | None = None,
        prepare: Callable[[pl.Trainer], pl.Trainer] | None = None,
    ) -> TrainingResult:
        """Train, validate, and test the best weights where there is something to test on.

        Args:
            model: The module, or what makes it from `model_config` and `training_config` once the seed is set; only
                with the latter does a training that was killed before its first checkpoint repeat itself exactly.
            data: A DataModule, or the loaders of training, validation and test, or that of training alone; those of
                `setup_data_loaders`, or of the module itself, if not given.
            resume: A run's id, `last` or `auto`: go on with that run; see `holdfast.training.resume.find_run`.
            run_name: The run's name.
            tags: More tags of the run.
            prepare: Called with the Trainer before it is used; Ray Train has one.

        Raises:
            KeyboardInterrupt: Ctrl-C; the state was saved.
            Terminated: SIGTERM, or as `Preempted` SIGUSR1; the state was saved.
            NotFoundError: There is no such run.
            RunStateError: Another process trains that run.
            InvalidInputError: The data is of no known kind, or files cannot be written to the output folder.
        """
        pl.seed_everything(self.config.seed, workers=True, verbose=False)
        module = model if isinstance(model, pl.LightningModule) else model(self.model_config, self.config)
        given = (data,) if isinstance(data, DataLoader) else data if data is not None else self._loaders
        if self.config.fast_dev_run:
            return self._try_out(module, given)
        checks.check_output_folder(self.output_dir)
        session = Session(self.tracker, self.config, self.output_dir, self.setup_callbacks(), self._options, prepare)
        self.trainer = session.trainer
        request = Request(
            tracker=self.tracker,
            project=open_project(self.tracker.settings, journaled=True),
            output_dir=self.output_dir,
            params=params_of(self.config, self.model_config) | self._strategy_given(),
            module=module_name(module),
            resume=resume,
            run_name=run_name,
            tags=tags or {},
        )
        return session.run(module, given, request)

    def _strategy_given(self) -> dict[str, Any]:
        """Return the param of a strategy that is an object of the user's; a launcher's is not the user's."""
        strategy = self._options.get("strategy")
        return {} if strategy is None or checks.is_launched(self._options) else {"strategy": type(strategy).__name__}

    def _try_out(self, module: pl.LightningModule, data: Any) -> TrainingResult:
        self.trainer = make_trainer(self.config, self._options, logger=False, callbacks=self._more_callbacks)
        with quiet():
            self.trainer.fit(module, **data_arguments(data))
            arguments = test_arguments(module, data)
            if arguments is not None:
                self.trainer.test(module, **arguments, verbose=False)
        return TrainingResult(None, False, None, None, output_dir=self.output_dir)


def _config_of(given: TrainingConfig | Mapping[str, Any] | str | Path | None) -> TrainingConfig:
    if isinstance(given, TrainingConfig):
        return given
    if isinstance(given, Mapping):
        return load_training_config(None, given)
    return load_training_config(given)
