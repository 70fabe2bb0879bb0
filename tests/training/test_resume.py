"""A training that ended too early goes on in the same run, as if nothing had been."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import small_training
import torch
from small_training import Data, Small

from holdfast import MLflowTracker, open_project
from holdfast.errors import InvalidInputError, NotFoundError, RunStateError
from holdfast.lifecycle import Terminated
from holdfast.project import Project
from holdfast.training import Preempted, TrainingConfig, TrainingPipeline, TrainingResult, beginning
from holdfast.training.resume import noted, owned, pointer

CONFIG: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 4,
    "num_workers": 0,
    "learning_rate": 0.01,
    "early_stopping_patience": 0,
    "log_every_n_steps": 1,
    "checkpoint_every_s": 0,
    "checkpoint_every_steps": 3,
    "save_top_k": 2,
    "system_metrics_every_s": 0.05,
    "accelerator": "cpu",
}
STEPS = 24


@pytest.fixture
def project(sqlite_uri: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "small")
    return open_project()


@pytest.fixture(scope="module")
def whole(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a training that nothing happened to ends with: its weights, and what is in its run."""
    folder = tmp_path_factory.mktemp("whole")
    uri = f"sqlite:///{shutil.copyfile(sqlite_template, folder / 'mlflow.db')}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("HOLDFAST_JOURNAL", str(folder / "journal"))
        patch.setenv("HOLDFAST_SHIPPER", "thread")
        patch.chdir(folder)
        result = train(folder / "out")
        yield {"weights": weights(result), **in_run(open_project(), result.run_id)}


def train(output: Path, resume: str | None = None, **other: Any) -> TrainingResult:
    pipeline = TrainingPipeline(MLflowTracker(), {"width": 8}, {**CONFIG, **other}, output)
    return pipeline.train(lambda model, config: Small(model["width"], config.learning_rate), Data(), resume=resume)


def train_in_child(output: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in CONFIG.items()]
    return subprocess.run(
        [sys.executable, small_training.__file__, *options, f"--output-dir={output}", "--width=8"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def weights(result: TrainingResult) -> dict[str, torch.Tensor]:
    content = torch.load(result.output_dir / "last.ckpt", weights_only=True)
    return dict(content["state_dict"])


def in_run(project: Project, run_id: str | None) -> dict[str, Any]:
    """Return the metrics of a run with all their steps and values, and the names of its checkpoints."""
    assert run_id is not None
    project.settle()
    run = project.runs.get_run(run_id)
    metrics = {
        name: [(point.step, point.value) for point in project.runs.metric_history(run_id, name)]
        for name in run.metrics
        if not name.startswith("system/")
    }
    files = {Path(file.path).name for file in project.artifacts.list_files(run.artifact_uri, "checkpoints")}
    return {"metrics": metrics, "files": files, "status": run.status}


def check_same(project: Project, result: TrainingResult, whole: dict[str, Any]) -> None:
    here = weights(result)
    assert all(torch.equal(value, here[name]) for name, value in whole["weights"].items())
    found = in_run(project, result.run_id)
    assert found["metrics"] == whole["metrics"]
    assert found["files"] == whole["files"]
    assert found["status"] == "FINISHED"
    assert result.global_step == STEPS


def runs(project: Project) -> list[Any]:
    return project.runs.search_runs([project.runs.find_experiment("small").experiment_id], limit=10)


def test_sigkill(project: Project, whole: dict[str, Any], tmp_path: Path) -> None:
    step = random.SystemRandom().randrange(1, STEPS)
    child = train_in_child(tmp_path / "out", KILL_AT=f"KILL:{step}")
    assert child.returncode == -9, child.stderr
    result = train(tmp_path / "out", "auto")
    print(f"killed in step {step}")  # noqa: T201 - shown where it fails
    assert result.is_resumed
    check_same(project, result, whole)
    assert len(runs(project)) == 1


def test_files_gone(project: Project, whole: dict[str, Any], tmp_path: Path) -> None:
    # Its files are sent by a process that outlives it.
    child = train_in_child(tmp_path / "out", KILL_AT="KILL:17", HOLDFAST_SHIPPER="process")
    assert child.returncode == -9, child.stderr
    run_id = json.loads((tmp_path / "out" / "run.json").read_text())["run_id"]
    project.settle_files(run_id)
    shutil.rmtree(tmp_path / "out")
    check_same(project, train(tmp_path / "elsewhere", run_id), whole)


def test_last_of_experiment(project: Project, whole: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("KILL_AT", "RAISE:9")
    with pytest.raises(RuntimeError, match="the training breaks"):
        train(tmp_path / "out")
    assert [run.status for run in runs(project)] == ["FAILED"]
    monkeypatch.delenv("KILL_AT")
    shutil.rmtree(tmp_path / "out")
    check_same(project, train(tmp_path / "out", "last"), whole)


@pytest.mark.parametrize(("name", "error"), [("INT", KeyboardInterrupt), ("TERM", Terminated), ("USR1", Preempted)])
def test_signals(
    name: str, error: type[BaseException], project: Project, whole: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("KILL_AT", f"{name}:10")
    with pytest.raises(error) as caught:
        train(tmp_path / "out", checkpoint_every_steps=0)
    assert getattr(caught.value, "code", None) == {"INT": None, "TERM": 143, "USR1": 3}[name]
    (run,) = runs(project)
    assert run.status == "KILLED"
    assert ("holdfast.training.preempted" in run.tags) == (name == "USR1")
    monkeypatch.delenv("KILL_AT")
    # The state was saved when the signal came, not at the epoch before.
    note = json.loads((tmp_path / "out" / run.run_id / "last.json").read_text())
    assert note[0]["step"] in (10, 11)
    check_same(project, train(tmp_path / "out", "auto"), whole)


def test_exit_codes(project: Project, tmp_path: Path) -> None:
    child = train_in_child(tmp_path / "out", KILL_AT="USR1:4")
    assert child.returncode == 3, child.stderr
    assert "Traceback" not in child.stderr
    assert [run.status for run in runs(project)] == ["KILLED"]


def test_damaged_here(project: Project, whole: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("KILL_AT", "RAISE:9")
    with pytest.raises(RuntimeError, match="the training breaks"):
        train(tmp_path / "out")
    monkeypatch.delenv("KILL_AT")
    path = next((tmp_path / "out").glob("*/last.ckpt"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    open_project().settle()
    check_same(project, train(tmp_path / "out", "last"), whole)


def test_no_checkpoint_yet(project: Project, whole: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("KILL_AT", "RAISE:1")
    with pytest.raises(RuntimeError, match="the training breaks"):
        train(tmp_path / "out")
    monkeypatch.delenv("KILL_AT")
    check_same(project, train(tmp_path / "out", "auto"), whole)


def test_auto(project: Project, tmp_path: Path) -> None:
    first = train(tmp_path / "out", "auto", epochs=1)
    assert not first.is_resumed
    second = train(tmp_path / "out", "auto", epochs=1)
    assert second.run_id != first.run_id
    # More epochs than the run was meant for: it goes on after its last one.
    more = train(tmp_path / "out", second.run_id, epochs=2)
    assert more.run_id == second.run_id
    assert more.global_step == 2 * STEPS // 3
    assert "epochs=2" in project.runs.get_run(more.run_id or "").tags["holdfast.training.changed_params"]


def test_in_use(project: Project, tmp_path: Path) -> None:
    result = train(tmp_path / "out", epochs=1)
    with owned(result.output_dir, result.run_id or ""), pytest.raises(RunStateError, match="is being trained"):
        train(tmp_path / "out", result.run_id)


@pytest.mark.parametrize(
    ("error", "status"), [(None, "FINISHED"), (KeyboardInterrupt, "KILLED"), (RuntimeError, "FAILED")]
)
def test_how_it_ended_is_noted(error: type[BaseException] | None, status: str, tmp_path: Path) -> None:
    with pytest.raises(error) if error else contextlib.nullcontext(), noted(tmp_path, "a"):
        assert pointer(tmp_path) == {"run_id": "a", "status": "RUNNING"}
        if error:
            raise error
    assert pointer(tmp_path) == {"run_id": "a", "status": status}


@pytest.mark.parametrize(("lenient", "raised"), [(False, FileNotFoundError), (True, RuntimeError)])
def test_an_end_that_cannot_be_noted(lenient: bool, raised: type[Exception], tmp_path: Path) -> None:
    """Where it may be left out, the training's own error stays the one that is raised."""

    def break_and_lose_the_folder() -> None:
        with noted(tmp_path / "out", "a", lenient):
            shutil.rmtree(tmp_path / "out")
            raise RuntimeError

    (tmp_path / "out").mkdir()
    with pytest.raises(raised):
        break_and_lose_the_folder()


def test_unknown_run(project: Project, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="0123"):
        train(tmp_path / "out", "0123")
    with pytest.raises(NotFoundError, match="no run to go on with"):
        train(tmp_path / "out", "last")


def test_objects_in_checkpoint(project: Project, tmp_path: Path, monkeypatch: Any) -> None:
    class Odd(Small):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["odd"] = TrainingConfig()

    def train_odd(resume: str | None = None, **other: Any) -> TrainingResult:
        config = {**CONFIG, "save_top_k": 1, "epochs": 1, **other}
        return TrainingPipeline(MLflowTracker(), None, config, tmp_path).train(Odd(), Data(), resume=resume)

    monkeypatch.setenv("KILL_AT", "RAISE:5")
    with pytest.raises(RuntimeError, match="the training breaks"):
        train_odd()
    monkeypatch.delenv("KILL_AT")
    with pytest.raises(InvalidInputError, match="Python objects") as caught:
        train_odd("last")
    assert "trust_checkpoint" in str(caught.value)
    assert train_odd("last", trust_checkpoint=True).global_step == STEPS // 3


def test_module_alone(project: Project, tmp_path: Path) -> None:
    # A module that has its loaders, without a configuration and without a test.
    class Alone(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            loss = self.layer(batch[0]).pow(2).mean()
            self.log("val/loss", loss)
            return loss

        def train_dataloader(self) -> Any:
            return Data().train_dataloader()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    result = TrainingPipeline(MLflowTracker(), training_config={**CONFIG, "epochs": 1}, output_dir=tmp_path).train(
        Alone()
    )
    assert result.best_checkpoint is not None
    assert result.global_step == STEPS // 3


class Judged(Small):
    """Its validation loss is what `losses` says, epoch by epoch."""

    losses = (3.0, 1.0, 2.0, 2.5, 5.0)
    monitored = "val/loss"

    def validation_step(self, batch: Any, number: int) -> None:
        self.log(self.monitored, self.losses[self.current_epoch])


def train_judged(output: Path, module: Judged, **other: Any) -> TrainingResult:
    config = {**CONFIG, "epochs": len(module.losses), "checkpoint_every_steps": 0, **other}
    return TrainingPipeline(MLflowTracker(), None, config, output).train(module, Data())


def test_kept_after_the_test(project: Project, tmp_path: Path) -> None:
    result = train_judged(tmp_path, Judged())
    assert "test/loss" in result.metrics
    here = {path.name for path in result.output_dir.glob("*.ckpt")} | {"last.json"}
    assert len(here) == 4  # two of the best, and the last with its note
    assert in_run(project, result.run_id)["files"] == here
    assert result.best_score == 1.0


@pytest.mark.parametrize("name", ["val:loss", "val{loss}", "val[0]", "val/läss (%) @ K=5", "x" * 240])
def test_odd_monitors(name: str, project: Project, tmp_path: Path) -> None:
    module = Judged()
    module.losses, module.monitored = (2.0, 1.0), name
    result = train_judged(tmp_path, module, monitor=name)
    assert result.best_checkpoint is not None
    assert result.best_checkpoint.name.endswith("-1.0000.ckpt")
    assert result.best_checkpoint.name in in_run(project, result.run_id)["files"]


def test_never_finite(project: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = Judged()
    module.losses = (float("nan"),)
    result = train_judged(tmp_path, module)
    assert result.best_score is None
    assert "never a finite number" in caplog.text
    assert "best/val/loss" not in in_run(project, result.run_id)["metrics"]


def test_monitor_not_logged(project: Project, tmp_path: Path) -> None:
    for patience in (0, 5):
        with pytest.raises(InvalidInputError, match=r"val/nope.*not logged: there are .*val/loss"):
            train(tmp_path / "out", monitor="val/nope", early_stopping_patience=patience)
    assert {run.status for run in runs(project)} == {"FAILED"}


def test_other_model(project: Project, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("KILL_AT", "RAISE:9")
    with pytest.raises(RuntimeError, match="the training breaks"):
        train(tmp_path / "out")
    monkeypatch.delenv("KILL_AT")
    pipeline = TrainingPipeline(MLflowTracker(), {"width": 9}, CONFIG, tmp_path / "out")
    with pytest.raises(InvalidInputError, match="does not fit the model") as caught:
        pipeline.train(lambda model, config: Small(model["width"]), Data(), resume="last")
    assert "model/width is 9, was 8" in str(caught.value)


@pytest.mark.parametrize(("name", "error"), [("SIGINT", KeyboardInterrupt), ("SIGUSR1", Preempted)])
def test_signal_at_the_beginning(
    name: str, error: type[BaseException], project: Project, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(beginning, "log_environment", lambda tracker: os.kill(os.getpid(), getattr(signal, name)))
    with pytest.raises(error):
        train(tmp_path / "out")
    (run,) = runs(project)
    assert run.status == "KILLED"
    assert ("holdfast.training.preempted" in run.tags) == (name == "SIGUSR1")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["run_id"] == run.run_id


def test_nothing_is_left_over(project: Project, tmp_path: Path) -> None:
    result = train(tmp_path / "out", epochs=1)
    (result.output_dir / "last.ckpt.123.new").write_text("of one that was killed")
    train(tmp_path / "out", result.run_id, epochs=2)
    assert not list(result.output_dir.glob("*.new"))
