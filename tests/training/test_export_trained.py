"""`holdfast export onnx` after a real training, with MLflow's server and S3: what works, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
import pytest
import torch
import typer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from typer.testing import CliRunner, Result

from holdfast import MLflowTracker, ModelRegistry, open_project
from holdfast.cli import export as export_command
from holdfast.core.policy import parse_policy
from holdfast.errors import HoldfastError, NotFoundError, PromotionRefusedError
from holdfast.project import Project
from holdfast.testing import S3Access
from holdfast.testing.fixtures import RunningMlflow
from holdfast.training import TrainingPipeline
from holdfast.training.export import ExportError

APP = typer.Typer()
export_command.add_to(APP)


class Net(pl.LightningModule):
    """A line through three numbers, which can be made to answer otherwise once it is exported."""

    skew: ClassVar[float] = 0.0

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.example_input_array = torch.linspace(-1, 1, 6).reshape(2, 3)
        self.layers = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y + self.skew if self.skew and torch.compiler.is_exporting() else y

    def training_step(self, batch: list[Tensor], at: int) -> Tensor:
        return self._loss("train/loss", batch)

    def validation_step(self, batch: list[Tensor], at: int) -> None:
        self._loss("val/loss", batch)

    def _loss(self, name: str, batch: list[Tensor]) -> Tensor:
        loss: Tensor = ((self(batch[0]) - batch[1]) ** 2).mean()
        self.log(name, loss, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.05)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def trained(
    mlflow_server: RunningMlflow, s3_server: S3Access, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A run with checkpoints in S3; this process stands in another folder than where it was trained."""
    bucket = unique.replace("_", "-")[-40:].strip("-")
    account = s3_server.add_account(unique, [bucket])
    for name, value in {
        "MLFLOW_TRACKING_URI": mlflow_server.url,
        "MLFLOW_EXPERIMENT_NAME": unique,
        "MLFLOW_ARTIFACT_ROOT": f"s3://{bucket}/files",
        "MLFLOW_S3_ENDPOINT_URL": s3_server.endpoint_url,
        "MLFLOW_AWS_ACCESS_KEY_ID": account.access_key_id,
        "MLFLOW_AWS_SECRET_ACCESS_KEY": account.secret_access_key,
    }.items():
        monkeypatch.setenv(name, value)
    torch.manual_seed(0)
    x = torch.randn(24, 3)
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), 8)
    tracker = MLflowTracker()
    config = {"epochs": 4, "save_top_k": 1, "system_metrics_every_s": 0, "log_every_n_steps": 1, "num_workers": 0}
    result = TrainingPipeline(tracker, None, config, tmp_path / "outputs").train(Net(), (loader, loader))
    tracker.flush(60)
    assert result.run_id is not None
    assert result.best_checkpoint is not None
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return result.run_id


def export(*arguments: str) -> Result:
    return CliRunner().invoke(APP, ["export", "onnx", *arguments])


def done(*arguments: str) -> dict[str, Any]:
    result = export(*arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def refused(kind: type[HoldfastError], *arguments: str) -> str:
    """Return what the command says; as `holdfast` it ends with the error's exit code, which is not 0."""
    result = export(*arguments)
    assert isinstance(result.exception, kind), (result.output, result.exception)
    assert result.stdout == ""
    assert result.exception.exit_code == 1
    return str(result.exception)


def left_by(project: Project, run_id: str) -> tuple[Any, ...]:
    """Return all that an export could leave: files and metrics of the run, registered models."""
    run = project.runs.get_run(run_id)
    files = sorted(file.path for file in project.artifacts.list_files(run.artifact_uri))
    onnx = sorted(name for name in run.metrics if name.startswith("onnx/"))
    versions = [(one.name, one.version, one.stage) for one in ModelRegistry(project).versions(f"m-{run_id}")]
    return files, onnx, versions


def test_from_a_trained_run(trained: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, name = open_project(), f"m-{trained}"
    best = done("--from", "best:val/loss", "--name", name)
    run = project.runs.get_run(trained)
    assert best["metric_value"] == pytest.approx(min(run.metrics["best/val/loss"], run.metrics["val/loss"]))
    assert (best["run_id"], best["version"], best["stage"]) == (trained, 1, "Staging")
    # The files of the training are gone, and the store has them: the same checkpoint, and the same weights.
    shutil.rmtree(tmp_path / "outputs")
    again = done("--from", trained, "--name", name, "--int8", "--stage", "Production")
    assert (again["checkpoint"], again["version"], again["stage"]) == (best["checkpoint"], 2, "Production")
    assert again["parity"]["max_abs_error"] == best["parity"]["max_abs_error"]
    assert again["int8"]["file"] == "model.int8.onnx"
    stored = {Path(file.path).name for file in project.artifacts.list_files(run.artifact_uri, "onnx-2")}
    assert {"model.onnx", "model.int8.onnx", "MLmodel", "metadata.json", "parity.json"} <= stored
    assert list(Path.cwd().iterdir()) == []

    before = left_by(project, trained)
    monkeypatch.setattr(Net, "skew", 0.5)
    assert "does not answer as PyTorch does" in refused(ExportError, "--from", trained, "--name", name)
    monkeypatch.setattr(Net, "skew", 0.0)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", f"{trained}-empty")
    assert "No run of experiment" in refused(NotFoundError, "--name", name)
    registry = ModelRegistry(project, parse_policy({"max": {"best/val/loss": 0.0}}))
    with pytest.raises(PromotionRefusedError, match="best/val/loss"):
        registry.promote(name, 1, "Production")
    assert left_by(project, trained) == before


def test_nothing_to_export(sqlite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "some")
    tracker = MLflowTracker()
    with tracker.run() as run_id:
        tracker.log_metrics({"val/loss": 1.0})
    tracker.flush()
    assert "has a number for 'val/nope'" in refused(NotFoundError, "--from", "best:val/nope")
    assert "has 0 checkpoints" in refused(NotFoundError, "--from", "best:val/loss")
    assert "has 0 checkpoints" in refused(NotFoundError, "--from", run_id)
    assert "no checkpoint 'typo.ckpt'" in refused(NotFoundError, "--from", "typo.ckpt")
    refused(HoldfastError, "--from", "f" * 32)
    assert open_project().models.find_model("some-onnx") is None
