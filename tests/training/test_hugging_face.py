"""Hugging Face's Trainer, which logs to a tracker's run by its own MLflow integration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast import MLflowTracker
from holdfast.errors import SettingsError
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow
from holdfast.training.integrations.transformers import hugging_face_run

pytest.importorskip("accelerate", reason="the Trainer needs accelerate")

from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments


@pytest.fixture
def tracker(sqlite_uri: str) -> MLflowTracker:
    return MLflowTracker(sqlite_uri, experiment_name="words")


def train(folder: Path, **options: Any) -> None:
    """Train a model of a few hundred weights for two steps."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    model = BertForSequenceClassification(BertConfig(vocab_size=16, max_position_embeddings=8, **sizes))
    data = [{"input_ids": torch.tensor([1, 2, 3]), "labels": torch.tensor(i % 2)} for i in range(4)]
    plain = {"report_to": "mlflow", "max_steps": 2, "logging_steps": 1, "use_cpu": True, "save_strategy": "no"}
    arguments = TrainingArguments(str(folder), disable_tqdm=True, per_device_train_batch_size=2, **(plain | options))
    Trainer(model, arguments, train_dataset=data).train()


def test_into_the_open_run(tracker: MLflowTracker, tmp_path: Path, canary: str) -> None:
    with tracker.run() as run_id:
        with hugging_face_run(tracker) as used:
            train(tmp_path / "out", learning_rate=0.25, hub_token=canary)
        assert (used, tracker.run_id) == (run_id, run_id)
        tracker.log_metrics({"later": 1.0})
    tracker.flush(60)
    (run,) = tracker.client.search_runs([tracker.experiment_id])
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")
    params = run.data.params
    assert (params["learning_rate"], params["max_steps"], params["hidden_size"]) == ("0.25", "2", "8")
    assert [point.step for point in tracker.client.get_metric_history(run_id, "loss")] == [1, 2]
    assert set(run.data.metrics) >= {"loss", "grad_norm", "train_runtime", "later"}


def test_a_run_of_its_own(tracker: MLflowTracker, tmp_path: Path) -> None:
    def train_and_fail() -> None:
        with hugging_face_run(tracker, "words"):
            train(tmp_path / "out")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train_and_fail()
    assert tracker.run_id is None
    tracker.flush(60)
    (run,) = tracker.client.search_runs([tracker.experiment_id])
    assert (run.info.run_name, run.info.status) == ("words", "FAILED")
    assert "train_loss" in run.data.metrics


def test_other_ranks_have_no_run(tracker: MLflowTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with hugging_face_run(tracker) as run_id:
        assert run_id is None
    assert tracker.client.search_runs([tracker.experiment_id]) == []


@pytest.mark.parametrize("name", ["MLFLOW_RUN_ID", "MLFLOW_NESTED_RUN", "DISABLE_MLFLOW_INTEGRATION"])
def test_what_would_lead_elsewhere(tracker: MLflowTracker, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "true")
    with pytest.raises(SettingsError, match=name), hugging_face_run(tracker):
        pass


def test_server_away(mlflow_server: RunningMlflow, unique: str, tmp_path: Path) -> None:
    with FaultProxy(mlflow_server.url) as proxy:
        proxy.refuse()
        tracker = MLflowTracker(proxy.url, experiment_name=unique)
        with hugging_face_run(tracker):
            train(tmp_path / "out")
        proxy.pass_on()
        tracker.flush(60)
        (run,) = tracker.client.search_runs([tracker.client.get_experiment_by_name(unique).experiment_id])
        assert (run.info.status, run.data.params["max_steps"]) == ("FINISHED", "2")
        assert [point.step for point in tracker.client.get_metric_history(run.info.run_id, "loss")] == [1, 2]
