"""A training whose server is away: it begins, it is killed, and it goes on once the server is back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_training import Data, Small

from holdfast import MLflowTracker, open_project
from holdfast.errors import HoldfastError
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow
from holdfast.training import TrainingPipeline, TrainingResult

CONFIG: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 4,
    "num_workers": 0,
    "early_stopping_patience": 0,
    "log_every_n_steps": 1,
    "checkpoint_every_steps": 3,
    "system_metrics_every_s": 0,
    "accelerator": "cpu",
}
STEPS = 16


@pytest.fixture
def proxy(mlflow_server: RunningMlflow, monkeypatch: pytest.MonkeyPatch, unique: str) -> Iterator[FaultProxy]:
    with FaultProxy(mlflow_server.url) as found:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", found.url)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", unique)
        yield found


def train(output: Path, resume: str | None = None) -> TrainingResult:
    return TrainingPipeline(MLflowTracker(), None, CONFIG, output).train(Small(), Data(), resume=resume)


def break_off(output: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    with monkeypatch.context() as patch:
        patch.setenv("KILL_AT", "RAISE:9")
        with pytest.raises(RuntimeError, match="the training breaks"):
            train(output)
    return str(json.loads((output / "run.json").read_text())["run_id"])


def check_whole(result: TrainingResult) -> None:
    project = open_project()
    project.settle(60)
    run = project.runs.get_run(result.run_id or "")
    assert run.status == "FINISHED"
    steps = [point.step for point in project.runs.metric_history(run.run_id, "train/loss_step")]
    assert steps == list(range(STEPS))
    assert result.global_step == STEPS


def test_begun_without(proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.refuse()
    run_id = break_off(tmp_path, monkeypatch)
    with pytest.raises(HoldfastError) as caught:
        train(tmp_path, "auto")
    assert caught.value.exit_code == 3
    with pytest.raises(HoldfastError) as caught:
        train(tmp_path, "0123456789abcdef0123456789abcdef")
    assert caught.value.exit_code == 3
    proxy.pass_on()
    result = train(tmp_path, "auto")
    assert result.is_resumed
    check_whole(result)
    assert (tmp_path / run_id / "last.ckpt").exists()


def test_away_in_between(proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = break_off(tmp_path, monkeypatch)
    result = train(tmp_path, run_id)
    assert result.run_id == run_id
    check_whole(result)
