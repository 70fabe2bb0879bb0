"""Histories that were damaged, deleted, renamed or begun in disorder: what audit says, and what repair makes of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from histories import mirror_of, register, run_of
from sqlalchemy import create_engine, text
from typer.testing import CliRunner, Result

from holdfast import ModelRegistry, open_project
from holdfast.cli import models_history, models_repair
from holdfast.core.history import Kind
from holdfast.core.stages import Stage
from holdfast.errors import HistoryError, RegistryError
from holdfast.project import Project
from holdfast.registry.changes.moving import Mover
from holdfast.registry.history.audit import audit

Run = Callable[..., Result]


@pytest.fixture
def project(sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri)
    monkeypatch.setenv("MLFLOW_ARTIFACT_ROOT", str(tmp_path / "files"))
    monkeypatch.setenv("HOLDFAST_DELIVERY", "direct")
    return open_project()


@pytest.fixture
def registry(project: Project, tmp_path: Path) -> ModelRegistry:
    """With model `m`, whose version 1 is in Production."""
    found = register(project, "m", tmp_path / "model")
    found.promote("m", 1, "Production")
    return found


@pytest.fixture
def client(project: Project) -> Iterator[Any]:
    """Plain MLflow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield project.connection.client


@pytest.fixture
def run() -> Run:
    app = typer.Typer()
    models_history.add_to(app)
    models_repair.add_to(app)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def edit(project: Project, number: int) -> None:
    """Change an event in the database, as somebody with its password would."""
    engine = create_engine(project.settings.tracking_uri)
    statement = "UPDATE params SET value = replace(value, 'kind', 'kinds') WHERE run_uuid = :run AND key = :key"
    with engine.begin() as connection:
        done = connection.execute(text(statement), {"run": run_of(project, "m"), "key": f"event/{number:06d}"})
        assert done.rowcount == 1
    engine.dispose()


def last(registry: ModelRegistry, name: str = "m") -> Any:
    return registry.history(name)[-1].draft


def test_a_model_made_again(registry: ModelRegistry, project: Project, client: Any, run: Run) -> None:
    before = len(registry.history("m"))
    client.delete_registered_model("m")
    client.create_registered_model("m")
    (problem,) = audit(project, "m").problems
    assert "the history begins anew with the next change" in problem.message
    assert problem.remedy == "holdfast models repair m"
    assert "another one of the same name" in run("repair", "m", "--dry-run").output
    done = run("repair", "m", "--yes")
    assert f"repaired (event {before + 1})" in done.output, (done.output, done.exception)
    assert last(registry).kind is Kind.ADOPTED
    assert "another one of the same name" in last(registry).reason
    assert audit(project, "m").is_clean


def test_a_registry_in_disorder(project: Project, client: Any, run: Run, tmp_path: Path) -> None:
    client.create_registered_model("m")
    for number in (1, 2, 3):
        client.create_model_version("m", str(tmp_path))
        client.transition_model_version_stage("m", str(number), "Production")
    client.set_registered_model_alias("m", "production", "1")
    shown = run("repair", "m", "--dry-run").output.replace("\n", " ")
    assert "there is no history yet" in shown
    assert "Production: 1" in shown
    assert "version 3: stage Production (taken as Archived)" in shown
    assert "cut short" not in shown
    assert run("repair", "m", "--yes").exit_code == 0
    registry = ModelRegistry(project)
    adopted = registry.history("m")[0].draft
    assert len(adopted.details["found"]) == 2  # versions 2 and 3
    assert "version 3: stage Production (taken as Archived)" in adopted.reason
    assert registry.get("m", 3).stage is Stage.ARCHIVED
    assert audit(project, "m").is_clean
    assert "m: nothing is out of step" in run("repair", "--all", "--dry-run").output


def test_a_history_changed_in_the_database(
    registry: ModelRegistry, project: Project, client: Any, run: Run, tmp_path: Path
) -> None:
    assert registry.history("m")[0].draft.reason == "the history begins"
    old = run_of(project, "m")
    for stage in ("Archived", "Staging", "Production"):
        registry.promote("m", 1, stage)
    for number in range(1, 7):
        edit(project, number)
    shown = run("audit", "m")
    assert (shown.exit_code, shown.output.count("models repair")) == (1, 1)
    assert "and 2 more; see them all with --json" in shown.output
    assert run("history", "m").exit_code == 1
    done = run("repair", "m", "--yes")
    assert done.exit_code == 0, (done.output, done.exception)
    assert run_of(project, "m") != old
    assert [event.kind for event in registry.history("m")][-2:] == [Kind.MOVED, Kind.REPAIRED]
    assert "event 1 cannot be read" in last(registry).reason
    assert audit(project, "m").is_clean
    assert run("history", "m").exit_code == 0
    edit(project, 2)
    project.artifacts.delete(mirror_of(project, "m").place, "events/000002.json")
    refused = run("repair", "m", "--yes")
    assert isinstance(refused.exception, HistoryError)
    assert refused.exception.hint.endswith("holdfast models repair m --begin-anew")
    assert run("repair", "m", "--yes", "--begin-anew").exit_code == 0
    assert [event.kind for event in registry.history("m")] == [Kind.ADOPTED, Kind.REPAIRED]
    assert audit(project, "m").is_clean
    register(project, "m", tmp_path / "second")
    registry.promote("m", 2, "Production")
    assert Mover(project).peek("m").ledger.rollback_target == 1


def test_a_deleted_run_and_a_renamed_model(registry: ModelRegistry, project: Project, client: Any) -> None:
    client.delete_run(run_of(project, "m"))
    with pytest.raises(HistoryError) as caught:
        registry.promote("m", 1, "Archived")
    assert caught.value.hint.startswith("holdfast models repair m; or mlflow runs restore")
    registry.repair("m")
    assert (last(registry).kind, last(registry).details["lost"]) == (Kind.REPAIRED, "its run is deleted")
    client.rename_registered_model("m", "n")
    assert ["renamed from 'm'" in problem.message for problem in audit(project, "n").problems] == [True]
    assert registry.repair("n").renamed_from == "m"
    assert last(registry, "n").details == {"renamed_from": "m"}
    assert audit(project, "n").is_clean


def test_what_a_rollback_goes_back_to_is_deleted_only_by_force(
    registry: ModelRegistry, project: Project, tmp_path: Path
) -> None:
    register(project, "m", tmp_path / "second")
    registry.promote("m", 2, "Production")
    with pytest.raises(RegistryError) as caught:
        registry.delete("m", 1)
    assert caught.value.hint == "delete it all the same with --force"
