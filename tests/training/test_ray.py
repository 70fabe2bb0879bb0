"""Ray, on this machine: a sweep by Tune, and a training by two workers of Train."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import ray
import torch
from torch.utils.data import DataLoader, TensorDataset

from holdfast import open_project
from holdfast.errors import InvalidInputError
from holdfast.project import Project
from holdfast.testing.fixtures import RunningMlflow
from holdfast.training.command import Script
from holdfast.training.launching.ray import LaunchError, launch, lightning_parts
from holdfast.training.lightning.logger import HoldfastLogger
from holdfast.training.ray_cluster import signals_kept
from holdfast.training.sweeping import State, sweep

TRIAL = """
import sys
from holdfast import MLflowTracker
with MLflowTracker() as tracker:
    if sys.argv[2] == "3":
        sys.exit("not three")
    for step, value in enumerate((5.0, float(sys.argv[2]))):
        tracker.log_metrics({"val/loss": value}, step=step)
"""


class Line(pl.LightningModule):
    """One layer that learns y = 2x."""

    def __init__(self, breaks: bool = False) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.breaks = breaks

    def _loss(self, batch: Any) -> torch.Tensor:
        x, y = batch
        return torch.nn.functional.mse_loss(self.layer(x), y)

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        if self.breaks and self.global_rank == 1:
            raise RuntimeError("rank 1 breaks")
        return self._loss(batch)

    def validation_step(self, batch: Any, number: int) -> None:
        self.log("val/loss", self._loss(batch), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def make_data(*_: Any) -> tuple[DataLoader[Any], DataLoader[Any]]:
    x = torch.linspace(-1, 1, 16).unsqueeze(1)
    return DataLoader(TensorDataset(x, 2 * x), batch_size=4), DataLoader(TensorDataset(x, 2 * x), batch_size=4)


def make_line(*_: Any) -> Line:
    return Line()


def train_broken(config: dict[str, Any]) -> None:
    """A script without the pipeline: Lightning's own Trainer, with the logger."""
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=HoldfastLogger(),
        enable_checkpointing=False,
        enable_progress_bar=False,
        **lightning_parts(),
    )
    trainer.fit(Line(breaks=config["breaks"]), *make_data())


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    # The functions of this file are not importable where the workers are.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with signals_kept():
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def project(cluster: None, mlflow_server: RunningMlflow, unique: str) -> Project:
    """The workers of the cluster have another environment: they read the project's own settings."""
    Path(".env").write_text(f"MLFLOW_TRACKING_URI={mlflow_server.url}\nMLFLOW_EXPERIMENT_NAME={unique}\n")
    return open_project()


def runs(project: Project) -> list[Any]:
    return project.runs.search_runs([project.experiment().experiment_id])


def test_tune(project: Project) -> None:
    Path("trial.py").write_text(TRIAL)
    line = [sys.executable, "trial.py"]
    options: dict[str, Any] = {"metric": "val/loss", "engine": "ray", "parallel": 2, "seed": 1, "sampler": "random"}
    options |= {"pruner": "median", "prune_after": 1}  # which Tune would do by pausing, and begin a trial again
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    result = sweep(line, {"x": {"low": 1, "high": 3}}, trials=2, **options)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == handlers
    assert [trial.number for trial in result.trials] == [0, 1]
    assert {trial.state for trial in result.trials} == {State.COMPLETE, State.FAILED}
    for trial in result.trials:
        fails = trial.params["x"] == 3
        assert trial.state is (State.FAILED if fails else State.COMPLETE)
        assert trial.value == (None if fails else trial.params["x"])
        run = project.runs.get_run(trial.run_id)
        assert run.tags["mlflow.parentRunId"] == result.run_id
        assert run.status == ("FAILED" if fails else "FINISHED")
    more = sweep(line, resume=result.run_id, trials=3, engine="ray")
    assert more.trials[:2] == result.trials
    assert len(more.trials) == 3
    assert project.runs.get_run(result.run_id).status == "FINISHED"


def test_train(project: Project) -> None:
    """Two workers, one run, each metric once."""
    script = Script(make_line, make_data)
    options = "--launcher ray --devices 2 --epochs 2 --num-workers 0 --accelerator cpu --system-metrics-every-s 0"
    on_interrupt = signal.getsignal(signal.SIGINT)
    result = script.train(script.parse(options.split()))
    assert signal.getsignal(signal.SIGINT) is on_interrupt
    assert result.epochs == 2
    assert result.global_step == 4  # 16 samples, by 2 ranks, 4 a batch, twice
    (run,) = runs(project)
    assert run.run_id == result.run_id
    assert run.status == "FINISHED"
    assert [point.step for point in project.runs.metric_history(run.run_id, "val/loss")] == [1, 3]
    assert result.metrics["val/loss"] == pytest.approx(run.metrics["val/loss"])


def test_broken_worker(project: Project) -> None:
    """One worker's exception ends the training, and the one run as FAILED."""
    with pytest.raises(LaunchError, match=r"The worker of rank [01] failed: RuntimeError"):
        launch(train_broken, {"breaks": True}, num_workers=2)
    deadline_s = time.monotonic() + 120
    while [run.status for run in runs(project)] != ["FAILED"] and time.monotonic() < deadline_s:
        time.sleep(0.1)  # rank 0 was killed by Ray; the shipper ends its run
    assert [run.status for run in runs(project)] == ["FAILED"]


def test_refusals(project: Project) -> None:
    with pytest.raises(InvalidInputError, match="There are 0 workers"):
        launch(dict, {}, num_workers=0)
    with pytest.raises(InvalidInputError, match="no strategy 'dp'"):
        lightning_parts("dp")
