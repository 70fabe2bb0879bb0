"""`holdfast models check`: each gate's answer, without promoting."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from holdfast import ModelRegistry, open_project
from holdfast.cli import models, models_check
from holdfast.errors import PromotionRefusedError, SettingsError
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


def test_approvals_and_transitions_count_as_asked(run: Run) -> None:
    approvals = run("approvals = { Production = 1 }", "1")
    assert (approvals.exit_code, "approvals" in approvals.stdout, approvals.stderr) == (1, True, "")
    moves = run('transitions = "step-by-step"', "1")
    assert (moves.exit_code, "transition" in moves.stdout, moves.stderr) == (1, True, "")


def test_a_version_that_is_there_already(run: Run) -> None:
    assert ModelRegistry(open_project()).promote("m", 1, "Production").event is not None
    there = run("", "1")
    assert (there.exit_code, there.stdout) == (0, "m version 1 is Production already; nothing would be changed.\n")
    approvals = run("approvals = { Production = 1 }", "latest")
    assert (approvals.exit_code, approvals.stdout, approvals.stderr) == (0, there.stdout.replace(" 1 ", " latest "), "")
    assert json.loads(run("approvals = { Production = 1 }", "1", "--json").stdout) == []
    gates = run("approvals = { Production = 1 }\ndescription = true", "1")
    assert (gates.exit_code, "description" in gates.stdout, "approvals" in gates.stdout) == (0, True, False)
    assert "is Production already" in gates.stdout


def test_a_refused_promotion_tells_a_program_why(run: Run) -> None:
    run('min = { "test/auc" = 2 }\ndescription = true', "1")
    done = CliRunner().invoke(models.app, ["promote", "m", "1", "--json"])
    told = json.loads(done.stdout)
    assert (told["promoted"], told["name"], told["version"], told["to"]) == (False, "m", "1", "Production")
    assert [(item["check"], item["passed"]) for item in told["checks"]] == [
        ("description", True),
        ("test/auc >= 2", False),
    ]
    error = pickle.loads(pickle.dumps(done.exception))  # noqa: S301
    assert isinstance(error, PromotionRefusedError)
    assert (error.exit_code, error.message, len(error.answers)) == (1, told["error"], 2)
    Path("pyproject.toml").write_text("[tool.holdfast.promotion]\napprovals = { Production = 1 }")
    refused = CliRunner().invoke(models.app, ["promote", "m", "1", "--override", "at once", "--json"])
    assert [item["check"] for item in json.loads(refused.stdout)["checks"]] == ["approvals"]
    Path("pyproject.toml").unlink()
    assert json.loads(CliRunner().invoke(models.app, ["promote", "m", "1", "--json"]).stdout)["promoted"] is True
