"""The doctor over every tracking store, with the oldest and the newest MLflow: all well, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import MLflowTracker, examine
from holdfast.bucket.migration.moving import Migration, Request
from holdfast.doctor.check import Status
from holdfast.project import open_project


@pytest.fixture
def project(tracking_uri: str, unique: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an experiment of a project with one finished run that has a file."""
    Path("pyproject.toml").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", unique)
    Path("f.txt").write_text("content")
    with MLflowTracker() as tracker:
        tracker.log_metrics({"x": 1.0})
        tracker.log_artifact("f.txt", "")
    tracker.flush()
    return unique


def test_a_healthy_project_has_no_warning(project: str) -> None:
    names = {item.name for item in open_project().runs.experiments()}
    report = examine(only=["env.mlflow", "config", "server", "journal"])
    # Other packages of the environment are not ours to judge.
    wrong = [item for item in report.results if item.finding.status in (Status.WARNING, Status.FAILED)]
    assert wrong == [], str(report)
    asked = {item.check.name: item.finding.status for item in report.results}
    for name in ("server.reachable", "server.version", "server.run", "config.experiment", "config.plugins"):
        assert asked[name] is Status.OK, str(report)
    assert report.left_behind == []
    # On a shared server other tests make theirs meanwhile, and name them after themselves.
    new = {item.name for item in open_project().runs.experiments()} - names
    assert [name for name in new if not name.startswith(("test_", "holdfast-history"))] == []


def test_files_move_and_mlflow_finds_them(project: str, tracking_uri: str, tmp_path: Path) -> None:
    if tracking_uri.startswith("http"):
        pytest.skip("MLflow's API cannot change where files lie")
    new = tmp_path / "new root"
    done = Migration(open_project(), Request(str(new))).run()
    assert (done.status, done.tally.files) == ("moved", 1)
    after = open_project().runs.find_experiment(project)
    assert after is not None
    assert Path(after.artifact_location).is_relative_to(new)
    assert [path.read_text() for path in new.rglob("f.txt")] == ["content"]
