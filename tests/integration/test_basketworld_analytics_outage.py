"""A tracking server that goes away in the middle of an analysis costs nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest

pd = pytest.importorskip("pandas")

from holdfast import open_project  # noqa: E402
from holdfast.settings import load_settings  # noqa: E402
from holdfast.testing import FaultProxy  # noqa: E402
from holdfast.testing.fixtures import RunningMlflow  # noqa: E402
from holdfast.tracking import MLflowTracker  # noqa: E402
from holdfast_examples.basketworld.analytics.analysis import analysis  # noqa: E402
from holdfast_examples.basketworld.analytics.request import Request, TrainingRun  # noqa: E402


def test_nothing_is_lost_with_the_server(
    mlflow_server: RunningMlflow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unique: str
) -> None:
    policy = tmp_path / "unified_policy_alt_0.zip"
    policy.write_bytes(b"not looked at here")
    with FaultProxy(mlflow_server.url) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        monkeypatch.setenv("HOLDFAST_READ_WAIT", "1")
        monkeypatch.setenv("HOLDFAST_CLOSE_WAIT", "1")
        tracker = MLflowTracker(experiment_name=unique)
        with tracker.run("self-play") as training_id:
            tracker.log_artifact(policy, "models")
        tracker.flush(60)
        training = TrainingRun(training_id)
        with analysis("elo", training, Request(training_id)) as found:
            proxy.refuse()
            found.table("ratings", pd.DataFrame({"alternation": [0], "rating": [1000.0]}))
            found.metrics["elo/peak_rating"] = 1000.0
        proxy.pass_on()
        project = open_project(load_settings(experiment_name=unique), journaled=True)
        project.settle(60)
        project.settle_files(found.run_id)
    looked = open_project(load_settings(tracking_uri=mlflow_server.url))
    child = looked.runs.get_run(found.run_id)
    assert child.status == "FINISHED"
    assert child.metrics == {"elo/peak_rating": 1000.0}
    assert child.tags["mlflow.parentRunId"] == training_id
    assert [file.path for file in looked.artifacts.list_files(child.artifact_uri)] == ["ratings.csv"]
    assert looked.runs.get_run(training_id).status == "FINISHED"
