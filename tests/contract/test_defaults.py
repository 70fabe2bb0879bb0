"""What a tracker does where nothing is configured: no experiment, no artifact root, a fresh database."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import MLflowTracker, get_mlflow_config


def test_files_lie_in_the_project_wherever_the_script_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path.cwd()
    (root / "pyproject.toml").write_text("")
    (root / "deep" / "inside").mkdir(parents=True)
    (root / "deep" / "f.txt").write_text("x")
    monkeypatch.chdir(root / "deep" / "inside")
    before = str(get_mlflow_config())
    tracker = MLflowTracker()
    with tracker.run() as run_id:
        tracker.log_artifact("../f.txt", "")
    assert tracker.experiment_name == root.name
    assert tracker.get_run_info(run_id)["artifact_uri"].startswith(f"{root}/mlartifacts/")
    assert (root / "mlflow.db").exists()
    # The oldest MLflow leaves an empty ./mlruns behind whatever it is told; nothing may be in it.
    assert not [path for path in root.rglob("*") if path.is_file() and "mlruns" in path.parts]
    assert str(get_mlflow_config()) == before
