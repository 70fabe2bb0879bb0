"""System metrics, gradients' norm and the environment, logged by real trainings."""

from __future__ import annotations

import importlib.metadata
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from holdfast import MLflowTracker
from holdfast.errors import InvalidInputError
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow
from holdfast.training.lightning.logger import HoldfastLogger
from holdfast.training.watching import GradientNorm, SystemMetrics, SystemMetricsCallback, log_environment
from holdfast.training.watching.environment import command_line
from holdfast.training.watching.gradients import total_norm

NAMES = {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes", "system/disk_usage_percentage"}


class Line(LightningModule):
    """A linear model whose gradient is known: its loss is `scale * weight · input`."""

    def __init__(self, scale: float = 1.0, fused: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1, bias=False)
        self.scale, self.fused = scale, fused

    def training_step(self, batch: torch.Tensor, at: int) -> torch.Tensor:
        return self.layer(batch).sum() * self.scale

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01, fused=self.fused)


def fit(module: LightningModule, data: torch.Tensor, callbacks: list[Callback], **options: Any) -> Trainer:
    plain = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = Trainer(accelerator="cpu", callbacks=callbacks, **({"max_epochs": 1, "logger": False} | plain | options))
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=1))
    return trainer


def points(tracker: MLflowTracker, run_id: str, name: str) -> list[tuple[int, float]]:
    tracker.flush(60)
    return [(point.step, point.value) for point in tracker.client.get_metric_history(run_id, name)]


def until(what: Callable[[], Any], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def tracker(sqlite_uri: str) -> MLflowTracker:
    return MLflowTracker(sqlite_uri, experiment_name="watching")


# -- gradients --------------------------------------------------------------------------


def test_norm_is_before_clipping(tracker: MLflowTracker) -> None:
    data = torch.tensor([[3.0, 4.0, 0.0], [0.0, 6.0, 8.0], [1.0, 2.0, 2.0], [0.0, 0.0, 7.0]])
    with tracker.run() as run_id:
        fit(Line(), data, [GradientNorm(1)], gradient_clip_val=0.5, logger=HoldfastLogger(tracker=tracker))
    assert len(points(tracker, run_id, "train/grad_norm")) == 4
    assert {value for _, value in points(tracker, run_id, "train/grad_norm")} == {5.0, 10.0, 3.0, 7.0}


def test_norm_is_after_accumulation(tracker: MLflowTracker) -> None:
    data = torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0], [6.0, 0.0, 0.0], [0.0, 8.0, 0.0]])
    with tracker.run() as run_id:
        fit(Line(), data, [GradientNorm(1, tracker=tracker)], accumulate_grad_batches=2)
    # The mean of two batches' gradients.
    assert points(tracker, run_id, "train/grad_norm") == [(0, 2.5), (1, 5.0)]


def test_norm_as_often_as_the_trainer_logs(tracker: MLflowTracker) -> None:
    with tracker.run() as run_id:
        fit(Line(), torch.ones(10, 3), [GradientNorm(tracker=tracker)], log_every_n_steps=4)
    assert [step for step, _ in points(tracker, run_id, "train/grad_norm")] == [3, 7]


@pytest.mark.parametrize("fused", [False, True])  # fused ones take the loss scale out themselves, after the hook
def test_norm_under_mixed_precision(tracker: MLflowTracker, fused: bool) -> None:
    from lightning.pytorch.plugins.precision import MixedPrecision

    data = torch.tensor([[3.0, 4.0, 0.0], [0.0, 6.0, 8.0]])
    with tracker.run() as run_id:
        amp = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))
        fit(Line(fused=fused), data, [GradientNorm(1, tracker=tracker)], plugins=[amp])
    assert {round(value, 3) for _, value in points(tracker, run_id, "train/grad_norm")} == {5.0, 10.0}


def test_norm_that_is_none(tracker: MLflowTracker) -> None:
    with tracker.run() as run_id:
        fit(Line(math.inf), torch.ones(1, 3), [GradientNorm(1, tracker=tracker)])
    assert points(tracker, run_id, "train/grad_norm")[0][1] > 1e308  # how MLflow's databases keep an infinity
    assert total_norm(Line().parameters()) == 0.0
    with pytest.raises(InvalidInputError):
        GradientNorm(0)


def test_norm_of_sparse_gradients() -> None:
    table = nn.Embedding(10, 2, sparse=True)
    (table(torch.tensor([1, 1, 3])) * 2).sum().backward()  # row 1 twice: 4, 4; row 3: 2, 2
    assert total_norm(table.parameters()) == pytest.approx(math.sqrt(40))


class TwoOptimizers(Line):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(3, 1, bias=False)
        self.automatic_optimization = False

    def training_step(self, batch: torch.Tensor, at: int) -> None:
        for layer, optimizer, scale in zip((self.layer, self.other), self.optimizers(), (1, 2), strict=True):
            optimizer.zero_grad()
            self.manual_backward(layer(batch).sum() * scale)
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(layer.parameters(), 0.01) for layer in (self.layer, self.other)]


def test_norm_of_each_optimizer(tracker: MLflowTracker) -> None:
    with tracker.run() as run_id:
        fit(TwoOptimizers(), torch.tensor([[3.0, 4.0, 0.0]]), [GradientNorm(1, tracker=tracker)])
    assert points(tracker, run_id, "train/grad_norm/0") == [(0, 5.0)]
    assert points(tracker, run_id, "train/grad_norm/1") == [(0, 10.0)]


# -- system metrics ---------------------------------------------------------------------


def test_system_metrics_with_the_global_step(tracker: MLflowTracker) -> None:
    with tracker.run() as run_id:
        fit(Line(), torch.ones(5, 3), [SystemMetricsCallback(60)], logger=HoldfastLogger(tracker=tracker))
        assert "holdfast-system-metrics" not in {thread.name for thread in threading.enumerate()}
    assert points(tracker, run_id, "system/system_memory_usage_megabytes")[-1][0] == 5
    assert set(tracker.get_run_info(run_id)["metrics"]) >= NAMES


def test_system_metrics_begin_and_end_a_run(tracker: MLflowTracker) -> None:
    class Failing(Line):
        def training_step(self, batch: torch.Tensor, at: int) -> torch.Tensor:
            raise ZeroDivisionError

    for module, status in ((Line(), "FINISHED"), (Failing(), "FAILED")):
        callback = SystemMetricsCallback(60, tracker=tracker)
        try:
            fit(module, torch.ones(1, 3), [callback])
        except ZeroDivisionError:
            assert status == "FAILED"
        assert tracker.run_id is None
        tracker.flush()
        newest = tracker.client.search_runs([tracker.experiment_id], max_results=1)[0]
        assert newest.info.status == status
        assert set(newest.data.metrics) >= NAMES


def test_system_metrics_need_a_run_to_go_to() -> None:
    with pytest.raises(InvalidInputError, match="no run to go to"):
        fit(Line(), torch.ones(1, 3), [SystemMetricsCallback(1)])
    with pytest.raises(InvalidInputError, match="no interval"):
        SystemMetricsCallback(0)


def test_every_so_often_and_never_after_the_end() -> None:
    got: list[tuple[int, set[str]]] = []
    step = iter(range(1000))
    metrics = SystemMetrics(lambda found, at: got.append((at, set(found))), 0.01, step=lambda: next(step), node=1)
    with metrics:
        until(lambda: len(got) >= 3)
    count = len(got)
    assert not metrics.is_running
    assert [at for at, _ in got] == list(range(count))
    assert {name.replace("system/node1/", "system/") for name in got[0][1]} >= NAMES
    assert all(name.startswith("system/node1/") for name in got[0][1])


def test_what_fails_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def put(metrics: dict[str, Any], step: int) -> None:
        calls.append(step)
        raise OSError("the disk is full")

    with SystemMetrics(put, 0.01):
        until(lambda: len(calls) >= 3)
    assert sum("the disk is full" in record.getMessage() for record in caplog.records) == 1


def test_a_forked_child_measures_for_itself() -> None:
    got: list[int] = []
    metrics = SystemMetrics(lambda found, at: got.append(os.getpid()), 60)
    metrics.start()
    child = os.fork()
    if child == 0:
        # The parent's thread is not here; stopping waits for nobody, and starting makes one.
        metrics.stop()
        own = metrics.is_running
        metrics.start()
        metrics.stop()
        os._exit(0 if not own and got == [os.getpid()] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert metrics.is_running
    metrics.stop()
    assert got == [os.getpid()]


def test_server_away(mlflow_server: RunningMlflow, unique: str) -> None:
    with FaultProxy(mlflow_server.url) as proxy:
        proxy.refuse()
        tracker = MLflowTracker(proxy.url, experiment_name=unique)
        with tracker.run():
            log_environment(tracker)
            logger = HoldfastLogger(tracker=tracker)
            fit(Line(), torch.ones(4, 3), [SystemMetricsCallback(60), GradientNorm(1)], logger=logger)
        proxy.pass_on()
        tracker.flush(60)
        (run,) = tracker.client.search_runs([tracker.client.get_experiment_by_name(unique).experiment_id])
        assert set(run.data.metrics) >= {*NAMES, "train/grad_norm"}
        assert len(tracker.client.get_metric_history(run.info.run_id, "train/grad_norm")) == 4
        assert run.data.tags["holdfast.env.torch"] == torch.__version__


# -- environment ------------------------------------------------------------------------


def test_environment(tracker: MLflowTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, canary: str) -> None:
    script = tmp_path / "train.py"
    script.write_text(f'api_key = "sk-{canary}-0123456789"\nprint("hello")\n')
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    monkeypatch.setattr(sys, "orig_argv", ["python", "train.py", "--hf-token", canary, f"--db-password={canary}"])
    log_environment(tracker)
    script.unlink()
    tracker.flush()
    assert tracker.run_id is None
    (run,) = tracker.client.search_runs([tracker.experiment_id])
    tags = {name.removeprefix("holdfast.env."): text for name, text in run.data.tags.items()}
    assert run.info.status == "FINISHED"
    assert (tags["torch"], tags["cores"]) == (torch.__version__, str(len(os.sched_getaffinity(0))))
    assert tags["command"] == "python train.py --hf-token '****' '--db-password=****'"
    files = Path(tracker.client.download_artifacts(run.info.run_id, ""))
    assert f"torch=={importlib.metadata.version('torch')}" in (files / "environment/packages.txt").read_text()
    assert (files / "code/train.py").read_text() == 'api_key = "****"\nprint("hello")\n'


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["--lr", "0.1", "--pad-token", "x"], "--lr 0.1 --pad-token x"),
        (["--api-key", "a", "b"], "--api-key '****' b"),
        (["--password", "--lr", "1"], "--password --lr 1"),
        (["postgresql://me:secret@host/db"], "'postgresql://me:****@host/db'"),
        (["a b"], "'a b'"),
    ],
)
def test_command_lines(given: list[str], shown: str) -> None:
    assert command_line(given) == shown
