"""Two processes on this machine: one run, which both go on with after one of them was killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import small_training
import torch

from holdfast import open_project
from holdfast.project import Project
from holdfast.testing import free_port
from holdfast.testing.fixtures import RunningMlflow

OPTIONS = [
    "--epochs=3",
    "--batch-size=2",
    "--num-workers=0",
    "--early-stopping-patience=0",
    "--log-every-n-steps=1",
    "--checkpoint-every-steps=2",
    "--system-metrics-every-s=0.2",
    "--devices=2",
    "--strategy=ddp",
    "--accelerator=cpu",
    "--log-ranks=true",
    "--json",
]
STEPS = 24


@pytest.fixture
def project(mlflow_server: RunningMlflow, unique: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", unique)
    monkeypatch.setenv("HOLDFAST_SHIPPER", "process")  # as it is by default: it outlives a rank that is killed
    return open_project()


def start(output: Path, *more: str, by: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *by, small_training.__file__, *OPTIONS, f"--output-dir={output}", *more],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def torchrun() -> tuple[str, ...]:
    return ("-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}")


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))  # one document: the other rank says nothing


def weights(output: Path, run_id: str) -> dict[str, torch.Tensor]:
    return dict(torch.load(output / run_id / "last.ckpt", weights_only=True)["state_dict"])


def metrics(project: Project, run_id: str) -> dict[str, set[tuple[int, float]]]:
    project.settle()
    names = [name for name in project.runs.get_run(run_id).metrics if not name.startswith("system/")]
    return {name: {(point.step, point.value) for point in project.runs.metric_history(run_id, name)} for name in names}


def test_two_ranks(project: Project, tmp_path: Path) -> None:
    whole = result_of(start(tmp_path / "whole"))
    assert whole["global_step"] == STEPS
    # Killed under Lightning's own launcher, it goes on under torchrun.
    killed = start(tmp_path / "cut", KILL_AT="KILL:13:0")
    assert killed.returncode != 0
    run_id = json.loads((tmp_path / "cut" / "run.json").read_text())["run_id"]
    again = result_of(start(tmp_path / "cut", "--resume=auto", by=torchrun()))
    assert (again["run_id"], again["is_resumed"]) == (run_id, True)
    expected, found = weights(tmp_path / "whole", whole["run_id"]), weights(tmp_path / "cut", run_id)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    seen = metrics(project, run_id)
    assert seen == metrics(project, whole["run_id"])
    assert len(seen["rank1/train/loss_step"]) == len(seen["train/loss_step"]) == STEPS
    assert seen["rank1/train/loss_step"] != seen["train/loss_step"]
    runs = project.runs.search_runs([project.experiment().experiment_id], limit=9)
    assert {run.run_id: run.status for run in runs} == {whole["run_id"]: "FINISHED", run_id: "FINISHED"}


def test_sigterm(project: Project, tmp_path: Path) -> None:
    # One rank alone has the signal: all end together, in the same step.
    ended = start(tmp_path, "--checkpoint-every-steps=0", by=torchrun(), KILL_AT="TERM:5:1")
    assert ended.returncode != 0
    note = json.loads((tmp_path / "run.json").read_text())
    assert note["status"] == "KILLED"
    project.settle()
    assert project.runs.get_run(note["run_id"]).status == "KILLED"
    assert json.loads((tmp_path / note["run_id"] / "last.json").read_text())[0]["step"] in (5, 6)
