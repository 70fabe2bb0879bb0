"""`holdfast models check`: each gate's answer, without promoting."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from holdfast import ModelRegistry, open_project
from holdfast.cli import models_check
from holdfast.errors import SettingsError
from holdfast.registry.demonstration import fit_and_log

Run = Callable[..., Result]


@pytest.fixture
def run(sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Register a fitted model as `m`, and return what runs the command with a policy."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri)
    monkeypatch.setenv("MLFLOW_ARTIFACT_ROOT", str(tmp_path / "files"))
    project = open_project()
    logged = fit_and_log(project, project.experiment().experiment_id, {})
    ModelRegistry(project).register("m", logged.model_uri, "the first", {"owner": "me"})
    app = typer.Typer()
    app.callback()(lambda: None)
    models_check.add_to(app)

    def run(policy: str, *arguments: str) -> Result:
        Path("pyproject.toml").write_text(f"[tool.holdfast.promotion]\n{policy}")
        return CliRunner().invoke(app, ["check", "m", *arguments])

    return run


def test_each_answer_is_explained_and_nothing_is_changed(run: Run) -> None:
    policy = 'min = { "test/auc" = 0.5 }\ntags = ["owner", "reviewed"]\nsignature = true\ndescription = true\n'
    done = run(policy, "1", "--json")
    assert done.exit_code == 1
    answers = json.loads(done.stdout)
    assert [(item["check"], item["passed"]) for item in answers] == [
        ("description", True),
        ("tag owner", True),
        ("tag reviewed", False),
        ("test/auc >= 0.5", True),
        ("signature", True),
    ]
    assert "set it to" in answers[2]["reason"]
    shown = run(policy, "latest", "--to", "production")
    assert shown.exit_code == 1
    for word in ("Gates before Production, m version latest", "tag reviewed", "refused", "passed", "against 0.5"):
        assert word in shown.stdout
    hint = "not asked, since not set in [tool.holdfast.promotion]: loads, callable, input-example, artifacts"
    assert hint in shown.stderr
    assert ModelRegistry(open_project()).get("m", 1).aliases == ()


def test_another_stage_has_gates_of_its_own(run: Run) -> None:
    policy = 'min = { "test/auc" = 2.0 }\n[tool.holdfast.promotion.staging]\nmin = { "test/auc" = 0.5 }\n'
    done = run(policy, "1", "--to", "staging")
    assert (done.exit_code, "Gates before Staging" in done.stdout) == (0, True)
    assert "not set in [tool.holdfast.promotion.staging]: loads" in done.stderr
    assert run(policy, "1").exit_code == 1
    archived = run(policy, "1", "--to", "Archived")
    assert (archived.exit_code, archived.stderr) == (0, "")
    assert archived.stdout == "No rule applies; m version 1 would be moved to Archived.\n"
    assert "no gate is set before Production ([tool.holdfast.promotion])" in run("", "1").stderr
    bad = run("mim = {}\nloads = 3", "1").exception
    assert isinstance(bad, SettingsError)
    assert "'mim'" in bad.message
    assert "loads is 3" in bad.message
