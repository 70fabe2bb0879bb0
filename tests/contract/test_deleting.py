"""Deleting versions, aliases and tags, names of every kind, and versions that are not ready."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from holdfast import MLflowTracker, ModelRegistry, open_project
from holdfast.core.history import Kind
from holdfast.core.policy import PromotionPolicy
from holdfast.core.stages import STAGE_TAG, Stage
from holdfast.errors import InvalidInputError, NotFoundError, RegistryError
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
    """A model with five versions: archived, archived, Production, Staging, None."""
    for number in range(1, 6):
        registry.register(unique, source)
        if number < 4:
            registry.promote(unique, number, "Production")
    registry.promote(unique, 4, "Staging")
    return unique


def last(registry: ModelRegistry, name: str) -> Any:
    return Mover(registry._project).peek(name).book.events[-1]


def test_what_is_served_or_to_go_back_to_is_kept(registry: ModelRegistry, name: str) -> None:
    registry.set_alias(name, "champion", 5)
    for number, why in ((2, "a rollback would go back to it"), (3, "it is Production"), (4, "it is Staging")):
        with pytest.raises(RegistryError, match=why) as refused:
            registry.delete(name, number)
        assert "--force" in refused.value.hint
    with pytest.raises(RegistryError, match="alias 'champion' points at it"):
        registry.delete(name, 5)
    assert [item.version for item in registry.versions(name)] == [5, 4, 3, 2, 1]
    event = registry.delete(name, 1, reason="old")
    assert (event.kind, event.version, event.draft.reason) == (Kind.DELETED, 1, "old")
    assert [item.version for item in registry.versions(name)] == [5, 4, 3, 2]
    for call in (registry.delete, registry.get):
        with pytest.raises(NotFoundError):
            call(name, 1)
    with pytest.raises(NotFoundError):
        registry.promote(name, 1, "Production")


def test_a_stage_that_only_one_place_shows_is_enough_to_keep_it(registry: ModelRegistry, name: str) -> None:
    models = registry._project.models
    models.set_version_tags(name, 5, {STAGE_TAG: "Production"})
    with pytest.raises(RegistryError, match="it is Production"):
        registry.delete(name, 5)


def test_by_force_and_so_it_is_said(registry: ModelRegistry, name: str) -> None:
    event = registry.delete(name, 3, force=True)
    assert event.draft.details["forced"] == ["it is Production", "alias 'production' points at it"]
    assert registry.find(name, Stage.PRODUCTION) is None
    ledger = Mover(registry._project).peek(name).ledger
    assert (ledger.holder(Stage.PRODUCTION), ledger.rollback_target) == (None, 2)
    assert not registry.repair(name, dry_run=True).is_needed
    assert registry.promote(name, 5, "Production").archived == ()


def test_aliases_and_tags(registry: ModelRegistry, name: str) -> None:
    assert registry.set_alias(name, "champion", "Production") is not None
    assert registry.set_alias(name, "champion", 3) is None
    moved = registry.set_alias(name, "champion", 4, reason="faster")
    assert moved is not None
    assert (moved.kind, moved.version, moved.draft.details) == (Kind.ALIAS_SET, 4, {"alias": "champion", "before": 3})
    assert registry.get(name, "champion").version == 4
    assert registry.remove_alias(name, "champion") is not None
    assert registry.remove_alias(name, "champion") is None
    with pytest.raises(NotFoundError):
        registry.get(name, "champion")
    tagged = registry.set_tag(name, 1, "team", "ml")
    assert tagged is not None
    assert tagged.draft.details == {"key": "team", "value": "ml"}
    assert registry.set_tag(name, 1, "team", "ml") is None
    assert registry.get(name, 1).tags["team"] == "ml"
    removed = registry.remove_tag(name, 1, "team")
    assert removed is not None
    assert registry.remove_tag(name, 1, "team") is None
    assert "team" not in registry.get(name, 1).tags
    for call in (lambda: registry.set_alias(name, "x", 99), lambda: registry.set_tag(name, 99, "x", "y")):
        with pytest.raises(NotFoundError):
            call()


def test_labels_that_say_the_stage_are_refused(registry: ModelRegistry, name: str) -> None:
    before = last(registry, name)
    for alias in ("production", "staging", "Production"):
        with pytest.raises(InvalidInputError) as refused:
            registry.set_alias(name, alias, 1)
        assert f"--to {alias.capitalize()}" in refused.value.hint
        with pytest.raises(InvalidInputError):
            registry.remove_alias(name, alias)
    for key in (STAGE_TAG, "holdfast.anything"):
        with pytest.raises(InvalidInputError, match="written by Holdfast itself"):
            registry.set_tag(name, 1, key, "x")
        with pytest.raises(InvalidInputError):
            registry.remove_tag(name, 1, key)
    with pytest.raises(InvalidInputError, match="written by Holdfast itself"):
        registry.register(name, "runs:/0/model", tags={STAGE_TAG: "Production"})
    for bad in ("", "a b", "latest", "v7", "x" * 256):
        with pytest.raises(InvalidInputError, match="no alias"):
            registry.set_alias(name, bad, 1)
    for key, value in (("", "x"), ("a\nb", "x"), ("k" * 251, "x"), ("..", "x"), ("k", "x" * 100_001), ("k", "a\0b")):
        with pytest.raises(InvalidInputError):
            registry.set_tag(name, 1, key, value)
    with pytest.raises(InvalidInputError, match="too long"):
        registry.set_tag(name, 1, "k", "x" * 6000)
    with pytest.raises(InvalidInputError, match="history keeps"):
        registry.set_tag(name, 1, "k", "x", reason="y" * 1001)
    assert last(registry, name) == before


NAMES = [
    "it's",
    'the "best"',
    """both ' and " of them""",
    "100%_sure",
    "back\\slash",
    "modèle 漢字 😀",
    "a' OR name='b",
    "semi;colon -- x",
    " spaces around ",
    "a`b [c] {d}",
]


def test_names_that_mlflow_takes(registry: ModelRegistry, source: str, unique: str) -> None:
    for form in NAMES:
        check_name(registry, source, unique, form)


def check_name(registry: ModelRegistry, source: str, unique: str, form: str) -> None:
    """Do all that needs a model's name in requests, with one of this form."""
    name = form.replace("a", f"a{unique[-4:]}", 1) + (unique[-8:] if form != " spaces around " else f"{unique[-8:]} ")
    other = name.replace("'", "_").replace('"', "_").replace("%", "x")  # what a wildcard would find too
    for which in {name, other}:
        registry.register(which, source)
    registry.register(name, source)
    registry.promote(name, 1, "Production")
    assert registry.promote(name, 2, "Production").archived == (1,)
    assert [item.version for item in registry.versions(name)] == [2, 1]
    assert (registry.get(name, "production").version, registry.get(name, "latest").version) == (2, 2)
    assert not registry.repair(name, dry_run=True).is_needed
    assert registry.delete(name, 1, force=True).draft.details["forced"] == ["a rollback would go back to it"]
    assert [item.version for item in registry.versions(other)] == ([2] if other == name else [1])


def test_names_that_no_registry_takes(registry: ModelRegistry, source: str, unique: str) -> None:
    for bad in ("", " ", "a/b", "a:b", ".", "..", "a\0b", "\ud800", "x" * 257, 3, None):
        with pytest.raises(InvalidInputError):
            registry.register(bad, source)  # type: ignore[arg-type]
    longest = (unique + "x" * 256)[:256]
    assert registry.register(longest, source, "d" * 5000).version == 1
    with pytest.raises(InvalidInputError, match="5000"):
        registry.register(longest, source, "d" * 5001)
    for version in (0, -1, 2**31, "99999999999999999999"):
        with pytest.raises(InvalidInputError, match="no model version"):
            registry.promote(longest, version, "Production")


@pytest.mark.backends("sqlite", "postgresql")  # there is no request that makes a version so
@pytest.mark.parametrize("status", ["PENDING_REGISTRATION", "FAILED_REGISTRATION"])
def test_versions_that_are_not_ready(registry: ModelRegistry, name: str, status: str) -> None:
    from sqlalchemy import create_engine, text

    engine = create_engine(registry._project.connection.client._get_registry_client().store.engine.url)
    with engine.begin() as connection:
        set_status = "UPDATE model_versions SET status = :status WHERE name = :name AND version IN (2, 5)"
        connection.execute(text(set_status), {"status": status, "name": name})
    engine.dispose()
    before = last(registry, name)
    assert registry.get(name, 5).status == status
    for stage in ("Staging", "Production"):
        with pytest.raises(RegistryError, match=f"{status}, not READY"):
            registry.promote(name, 5, stage)
        with pytest.raises(RegistryError, match=f"{status}, not READY"):
            registry.check(name, 5, stage)
    with pytest.raises(RegistryError, match=f"{status}, not READY"):
        registry.rollback(name)
    assert last(registry, name) == before
    assert registry.promote(name, 5, "Archived").version.stage is Stage.ARCHIVED
    registry.delete(name, 5)


@pytest.mark.backends("sqlite")
def test_from_the_command_line(project: Project, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    from holdfast.cli import models_edit

    app = typer.Typer()
    models_edit.add_to(app)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", project.settings.tracking_uri)
    if project.settings.artifact_root:
        monkeypatch.setenv("HOLDFAST_ARTIFACT_ROOT", project.settings.artifact_root)

    def run(*args: str) -> Any:
        return CliRunner().invoke(app, list(args))

    assert f"{name}@champion points at version 2 (event" in run("alias", name, "2", "champion").output
    assert "already; nothing was changed" in run("alias", name, "2", "champion").output
    assert '"changed": true' in run("unalias", name, "champion", "--json").stdout
    assert f"{name} version 1: team = ml (event" in run("tag", name, "1", "team", "ml").output
    assert "is not set (event" in run("untag", name, "1", "team").output
    assert "--yes" in str(run("delete", name, "1").exception)
    assert "it is Production" in str(run("delete", name, "3", "--yes").exception)
    assert "version 1 is deleted (event" in run("delete", name, "1", "--yes").output
