"""A registry that somebody changed by hand, or with plain MLflow, and how it is brought back in step."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from holdfast import MLflowTracker, ModelRegistry, open_project
from holdfast.backend.history import HISTORY_TAG
from holdfast.core.history import Kind, broken_links
from holdfast.core.policy import PromotionPolicy
from holdfast.core.stages import STAGE_TAG, Stage
from holdfast.errors import HistoryError, InvalidInputError, NotFoundError
from holdfast.project import Project
from holdfast.registry.changes.moving import Mover

# Behind "http" is PostgreSQL.
pytestmark = pytest.mark.backends("sqlite", "http")

MLMODEL = "flavors:\n  python_function:\n    loader_module: nowhere\n"


@pytest.fixture
def project(tracking_uri: str, unique: str, tmp_path: Path) -> Project:
    root = None if tracking_uri.startswith("http") else str(tmp_path / "artifacts")
    return open_project(tracking_uri=tracking_uri, experiment_name=unique, artifact_root=root, delivery="direct")


@pytest.fixture
def registry(project: Project) -> ModelRegistry:
    return ModelRegistry(project, PromotionPolicy())


@pytest.fixture
def client(tracking_uri: str) -> Iterator[Any]:
    """Plain MLflow, as somebody uses it who knows nothing of Holdfast."""
    from mlflow import MlflowClient

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@pytest.fixture
def source(project: Project, tmp_path: Path) -> str:
    """The URI of a model that was logged."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text(MLMODEL)
    tracker = MLflowTracker(settings=project.settings)
    with tracker.run() as run_id:
        tracker.log_artifacts_dir(tmp_path / "model", "model")
    return f"runs:/{run_id}/model"


@pytest.fixture
def name(registry: ModelRegistry, source: str, unique: str) -> str:
    """A model with three versions, of which the second is Production and the first was before."""
    for number in (1, 2, 3):
        registry.register(unique, source)
        if number < 3:
            registry.promote(unique, number, "Production")
    return unique


def places(registry: ModelRegistry, name: str) -> dict[int, tuple[Stage | None, tuple[str, ...], str]]:
    found = registry._project.models.versions(name)
    return {item.version: (item.stage, item.aliases, item.tags.get(STAGE_TAG, "None")) for item in found}


IN_STEP = {
    1: (Stage.ARCHIVED, (), "Archived"),
    2: (Stage.PRODUCTION, ("production",), "Production"),
    3: (Stage.NONE, (), "None"),
}


def events(registry: ModelRegistry, name: str) -> list[Kind]:
    book = Mover(registry._project).peek(name).book
    assert broken_links(book.kept.texts) == []
    return [event.kind for event in book.events]


def test_nothing_to_repair_writes_nothing(registry: ModelRegistry, name: str) -> None:
    before = events(registry, name)
    assert before == [
        *(Kind.ADOPTED, Kind.REGISTERED, Kind.MOVED, Kind.REGISTERED, Kind.MOVED, Kind.REGISTERED),
    ]
    done = registry.repair(name)
    assert not done.is_needed
    assert (events(registry, name), places(registry, name)) == (before, IN_STEP)


SLIPS: dict[str, Callable[[Any, str], object]] = {
    "stage": lambda client, name: client.transition_model_version_stage(name, "3", "Production"),
    "stage with the others": lambda client, name: client.transition_model_version_stage(name, "2", "Archived"),
    "alias": lambda client, name: client.set_registered_model_alias(name, "production", "3"),
    "alias taken": lambda client, name: client.delete_registered_model_alias(name, "production"),
    "tag": lambda client, name: client.set_model_version_tag(name, "3", STAGE_TAG, "Production"),
    "tag taken": lambda client, name: client.delete_model_version_tag(name, "2", STAGE_TAG),
}


def test_what_was_changed_by_hand_is_shown_and_changed_back(registry: ModelRegistry, client: Any, name: str) -> None:
    for slip, change in SLIPS.items():
        change(client, name)
        shown = registry.repair(name, dry_run=True)
        assert shown.is_needed, slip
        assert len(shown.findings) == 1, slip
        assert places(registry, name) != IN_STEP, slip
        done = registry.repair(name, reason="somebody clicked")
        assert done.findings == shown.findings, slip
        assert places(registry, name) == IN_STEP, slip
        (event,) = done.events
        assert (event.kind, event.draft.reason) == (Kind.REPAIRED, "somebody clicked"), slip
        assert event.draft.details["changed"] == [str(done.findings[0]).rpartition(" (")[0]], slip
        assert not registry.repair(name).is_needed, slip


# What the registry becomes where what was done by hand is accepted: who is Production.
ACCEPTED = {"stage": 3, "stage with the others": None, "alias": 3, "alias taken": None, "tag": 3, "tag taken": 2}


@pytest.mark.backends("sqlite")
@pytest.mark.parametrize("slip", SLIPS)
def test_what_was_changed_by_hand_is_accepted(registry: ModelRegistry, client: Any, name: str, slip: str) -> None:
    SLIPS[slip](client, name)
    done = registry.repair(name, accept=True)
    assert [event.kind for event in done.events] == [Kind.ADOPTED]
    ledger = Mover(registry._project).peek(name).ledger
    holder = ACCEPTED[slip]
    assert ledger.holder(Stage.PRODUCTION) == holder
    now = places(registry, name)
    assert [number for number, place in now.items() if place[0] is Stage.PRODUCTION] == [holder] * bool(holder)
    assert [number for number, place in now.items() if "production" in place[1]] == [holder] * bool(holder)
    assert [number for number, place in now.items() if place[2] == "Production"] == [holder] * bool(holder)
    assert not registry.repair(name).is_needed


def test_aliases_and_tags_that_holdfast_set(registry: ModelRegistry, client: Any, name: str) -> None:
    registry.set_alias(name, "champion", 2)
    registry.set_tag(name, 1, "checked", "yes")
    client.set_registered_model_alias(name, "champion", "3")
    client.delete_model_version_tag(name, "1", "checked")
    client.set_model_version_tag(name, "1", "other", "stays")
    done = registry.repair(name)
    assert {(item.place, item.found, item.should) for item in done.findings} == {
        ("alias champion", "3", "2"),
        ("tag checked", None, "yes"),
    }
    assert registry.get(name, "champion").version == 2
    assert registry.get(name, 1).tags == {"checked": "yes", "other": "stays", STAGE_TAG: "Archived"}
    client.set_registered_model_alias(name, "champion", "3")
    client.set_model_version_tag(name, "1", "checked", "no")
    registry.repair(name, accept=True)
    assert registry.get(name, "champion").version == 3
    assert registry.get(name, 1).tags["checked"] == "no"
    assert not registry.repair(name).is_needed


def test_what_came_and_went_around_holdfast(registry: ModelRegistry, client: Any, name: str) -> None:
    client.create_model_version(name, registry.get(name, 3).source, run_id=registry.get(name, 3).run_id)
    client.delete_model_version(name, "1")
    client.set_registered_model_alias(name, "champion", "3")
    done = registry.repair(name)
    assert (done.unrecorded, done.gone, done.aliases) == ((4,), (1,), (("champion", 3),))
    assert [event.kind for event in done.events] == [Kind.DELETED, Kind.ALIAS_SET, Kind.REGISTERED]
    ledger = Mover(registry._project).peek(name).ledger
    assert ledger.version(4).checksum == ledger.version(3).checksum != ""
    assert ledger.version(1).is_deleted
    assert ledger.rollback_target is None
    assert not registry.repair(name).is_needed


def test_production_deleted_with_plain_mlflow(registry: ModelRegistry, client: Any, name: str) -> None:
    client.delete_model_version(name, "2")
    done = registry.repair(name)
    assert done.gone == (2,)
    assert Mover(registry._project).peek(name).ledger.holder(Stage.PRODUCTION) is None
    assert registry.promote(name, 3, "Production").archived == ()


def test_a_history_run_that_was_deleted(registry: ModelRegistry, client: Any, project: Project, name: str) -> None:
    before = events(registry, name)
    client.delete_run(project.models.find_model(name).tags[HISTORY_TAG])  # type: ignore[union-attr]
    with pytest.raises(HistoryError, match="is deleted"):
        registry.promote(name, 3, "Production")
    assert registry.repair(name, dry_run=True).lost == "its run is deleted"
    assert registry.repair(name).is_needed
    assert events(registry, name)[: len(before)] == before
    assert registry.promote(name, 3, "Production").archived == (2,)


def test_copies_that_are_missing_are_written(
    registry: ModelRegistry, project: Project, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.registry.history.mirror import Mirror

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "put", lambda *_: True)  # a process that is killed just before
        registry.promote(name, 3, "Staging")
    assert registry.repair(name, dry_run=True).copies == (7,)
    assert registry.repair(name).copies == (7,)
    assert not registry.repair(name).is_needed


def test_a_model_that_was_renamed_and_its_name_taken_again(
    registry: ModelRegistry, client: Any, source: str, name: str
) -> None:
    before = events(registry, name)
    client.rename_registered_model(name, f"{name}-renamed")
    ours = ModelRegistry(registry._project, PromotionPolicy())
    assert ours.promote(f"{name}-renamed", 1, "Production").archived == (2,)
    assert events(ours, f"{name}-renamed") == [*before, Kind.MOVED]
    for which in (ours, registry):  # also a process that knew the model by its old name
        which.register(name, source)
    assert events(ours, name) == [Kind.ADOPTED, Kind.REGISTERED, Kind.REGISTERED]
    assert events(ours, f"{name}-renamed") == [*before, Kind.MOVED]
    ours.promote(name, 2, "Production")
    assert ours.get(f"{name}-renamed", "Production").version == 1


def test_a_model_that_was_deleted_and_made_again(registry: ModelRegistry, client: Any, source: str, name: str) -> None:
    registry.delete(name, 3)
    before = events(registry, name)
    client.delete_registered_model(name)
    with pytest.raises(NotFoundError):
        registry.promote(name, 1, "Production")
    for _ in range(3):  # number 3 is another one now, and stays
        registry.register(name, source)
    assert [item.version for item in registry.versions(name)] == [3, 2, 1]
    assert events(registry, name) == [*before, Kind.ADOPTED, *[Kind.REGISTERED] * 3]
    assert registry.promote(name, 3, "Production").archived == ()
    assert not registry.repair(name).is_needed


@pytest.mark.backends("sqlite")
def test_from_the_command_line(
    registry: ModelRegistry, project: Project, client: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    from holdfast.cli import models_repair

    app = typer.Typer()
    models_repair.add_to(app)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", project.settings.tracking_uri)
    if project.settings.artifact_root:
        monkeypatch.setenv("HOLDFAST_ARTIFACT_ROOT", project.settings.artifact_root)
    run = lambda *args: CliRunner().invoke(app, list(args))  # noqa: E731
    assert "nothing is out of step" in run(name).output
    client.set_registered_model_alias(name, "production", "3")
    shown = run(name, "--dry-run", "--json")
    assert json.loads(shown.stdout)[0]["findings"] == [
        {"version": 2, "place": "alias production", "found": "3", "should": "2", "half_done": False}
    ]
    refused = run(name)
    assert isinstance(refused.exception, InvalidInputError)
    assert "--yes" in refused.exception.hint
    assert registry.get(name, "@production").version == 3
    assert "repaired (event 7)" in run(name, "--yes").output
    assert registry.get(name, "@production").version == 2
