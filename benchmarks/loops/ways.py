"""The ways of training; each imports its own tracker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from benchmarks.loops import Case
from benchmarks.loops.model import SEED, Net, make_loaders, plain_callbacks
from benchmarks.loops.turns import Turns

_EPOCHS = 10_000


def train(way: str, case: Case, uri: str, experiment: str, turns: Turns) -> None:
    """Train in one of the ways until the turns end."""
    data = make_loaders(case.batch_size, case.steps + 1)
    if way == "pipeline":
        _with_pipeline(case, uri, experiment, turns, data)
        return
    logger = _LOGGERS[way](uri, experiment) if way in _LOGGERS else False
    callbacks = [*plain_callbacks("checkpoints", bool(logger)), *_more(way), turns]
    pl.seed_everything(SEED, verbose=False)
    trainer = pl.Trainer(
        max_epochs=_EPOCHS,
        accelerator="cpu",
        logger=logger,
        callbacks=callbacks,
        log_every_n_steps=case.log_every,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Net(), *data)


def _with_pipeline(case: Case, uri: str, experiment: str, turns: Turns, data: Any) -> None:
    from holdfast import MLflowTracker
    from holdfast.training import TrainingPipeline

    config = {
        "epochs": _EPOCHS,
        "seed": SEED,
        "accelerator": "cpu",
        "log_every_n_steps": case.log_every,
        "early_stopping_patience": 0,
    }
    tracker = MLflowTracker(tracking_uri=uri, experiment_name=experiment)
    pipeline = TrainingPipeline(tracker, None, config, Path("outputs"), callbacks=[turns])
    pipeline.train(lambda *_: Net(), data)


def _more(way: str) -> list[pl.Callback]:
    """Return what the pipeline has besides, where only the logging is to be left out."""
    if way != "callbacks":
        return []
    from holdfast.training.watching import GradientNorm

    return [GradientNorm(), _Watched()]


class _Watched(pl.Callback):
    """What `SystemMetricsCallback` does, with values that go nowhere."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        from holdfast.training.watching import SystemMetrics

        self._metrics = SystemMetrics(lambda _metrics, _step: None)
        self._metrics.start()

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self._metrics.stop()


def _dropping(uri: str, experiment: str) -> Any:
    from lightning.pytorch.loggers.logger import DummyLogger

    class Dropping(DummyLogger):  # type: ignore[misc,unused-ignore]
        """Takes everything and keeps nothing."""

        def log_metrics(self, *_: Any, **__: Any) -> None:
            """Drop them."""

    return Dropping()


def _holdfast(uri: str, experiment: str) -> Any:
    from holdfast.training import HoldfastLogger

    return HoldfastLogger(experiment, tracking_uri=uri)


def _mlflow(uri: str, experiment: str, synchronous: bool | None = None) -> Any:
    from lightning.pytorch.loggers import MLFlowLogger
    from mlflow.tracking._tracking_service import utils

    # Holdfast is installed beside this MLflow, and its stores stand in even where they only pass on.
    utils._tracking_store_registry.register("http", utils._get_rest_store)
    utils._tracking_store_registry.register("sqlite", utils._get_sqlalchemy_store)
    logger = MLFlowLogger(experiment, tracking_uri=uri, synchronous=synchronous)
    store = type(logger.experiment._tracking_client.store).__module__
    if store.startswith("holdfast"):
        raise RuntimeError(f"the wrong store would be measured: MLflow uses {store}")
    return logger


def _mlflow_async(uri: str, experiment: str) -> Any:
    return _mlflow(uri, experiment, synchronous=False)


def _wandb(uri: str, experiment: str) -> Any:
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    settings = wandb.Settings(console="off", disable_git=True, disable_code=True)
    return WandbLogger(project=experiment, save_dir=".", offline=True, settings=settings)


_LOGGERS: dict[str, Callable[[str, str], Any]] = {
    "callbacks": _dropping,
    "logger": _holdfast,
    "mlflow": _mlflow,
    "mlflow-async": _mlflow_async,
    "mlflow-sqlite": _mlflow,
    "wandb": _wandb,
}
