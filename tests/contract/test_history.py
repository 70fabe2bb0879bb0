"""What a model's history promises, on SQLite, on PostgreSQL and on a real MLflow server alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from holdfast import ModelRegistry, open_project
from holdfast.backend.history import HISTORY_TAG
from holdfast.core.history import Kind, broken_links
from holdfast.core.stages import Stage
from holdfast.errors import HistoryError, NotFoundError
from holdfast.project import Project
from holdfast.registry.history.audit import Audit, audit
from holdfast.registry.history.export import read_history
from holdfast.registry.history.mirror import Mirror
from holdfast.registry.history.restoring import restore_history

# Behind "http" is PostgreSQL.
pytestmark = pytest.mark.backends("sqlite", "http")


@pytest.fixture
def project(tracking_uri: str, unique: str, tmp_path: Path) -> Project:
    root = None if tracking_uri.startswith("http") else str(tmp_path / "artifacts")
    return open_project(
        tracking_uri=tracking_uri, artifact_root=root, experiment_name=unique, user="ada", delivery="direct"
    )


@pytest.fixture
def name(project: Project, unique: str, tmp_path: Path) -> str:
    """A model with two versions, of one run; the second is in Production, the first in Staging."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    run = project.connection.client.create_run(project.experiment().experiment_id)
    project.artifacts.upload_folder(folder, run.info.artifact_uri, "model")
    registry, name = ModelRegistry(project), f"{unique}-model"
    for _ in range(2):
        registry.register(name, f"runs:/{run.info.run_id}/model")
    registry.promote(name, 2, "Production", reason="better")
    registry.promote(name, 1, "Staging")
    return name


def run_of(project: Project, name: str) -> str:
    model = project.models.find_model(name)
    assert model is not None
    return model.tags[HISTORY_TAG]


def mirror_of(project: Project, name: str) -> Mirror:
    return Mirror(project, project.histories.read(run_of(project, name)))


def said(found: Audit) -> list[str]:
    return [f"{problem.place}: {problem.message}" for problem in found.problems]


def test_everything_is_told_and_nothing_is_wrong(project: Project, name: str) -> None:
    events = ModelRegistry(project).history(name)
    assert [event.kind for event in events] == [
        *(Kind.ADOPTED, Kind.REGISTERED, Kind.REGISTERED, Kind.MOVED, Kind.MOVED),
    ]
    moved = events[3].draft
    assert (moved.actor.name, moved.reason, moved.version) == ("ada", "better", 2)
    assert (moved.from_stage, moved.to_stage) == (Stage.NONE, Stage.PRODUCTION)
    assert moved.checksum == events[2].draft.checksum != ""
    assert broken_links([event.to_json() for event in events], name) == []

    copies = mirror_of(project, name).texts()
    assert copies == {event.number: event.to_json() for event in events}
    found = audit(project, name, all_files=True)
    assert (found.problems, found.events, found.copies, found.is_clean) == ((), 5, 5, True)
    assert json.loads(json.dumps(found.to_dict()))["clean"] is True


def test_a_model_that_holdfast_never_changed_has_no_history(project: Project, unique: str) -> None:
    project.models.ensure_model(f"{unique}-plain")
    assert ModelRegistry(project).history(f"{unique}-plain") == ()
    found = audit(project, f"{unique}-plain")
    assert found.is_clean
    assert "no history yet" in found.notes[0]
    with pytest.raises(NotFoundError):
        ModelRegistry(project).history(f"{unique}-nothing")
    with pytest.raises(NotFoundError):
        audit(project, f"{unique}-nothing")


def test_changes_around_holdfast_are_found(project: Project, name: str) -> None:
    client = project.connection.client
    version = project.models.get_version(name, 2)
    client.set_registered_model_alias(name, "production", "1")
    client.set_registered_model_alias(name, "champion", "1")
    client.set_model_version_tag(name, "2", "holdfast.stage", "Archived")
    client.create_model_version(name, version.source, version.run_id)
    client.delete_model_version(name, "1")
    found = said(audit(project, name))
    assert any("alias production is" in text and "should be 2" in text for text in found), found
    assert any("version 2: tag holdfast.stage is Archived, should be Production" in text for text in found), found
    assert any("version 3 was registered around Holdfast" in text for text in found), found
    assert any("version 1" in text and "version is" in text for text in found), found
    assert all(text.startswith("registry: ") for text in found), found


def test_changed_files_are_found_and_named(project: Project, name: str) -> None:
    from holdfast.backend.model_places import place_of_version

    place = place_of_version(project.connection, name, 2)
    extra = Path("extra.txt")
    extra.write_text("not there when it was registered")
    project.artifacts.upload_file(extra, place)
    found = audit(project, name)
    assert ["extra.txt was added" in problem.message for problem in found.problems] == [True]
    assert "rollback" in found.problems[0].remedy
    assert len(audit(project, name, all_files=True).problems) == 2  # both versions are of one run


def test_lost_copies_are_found_and_written_again(project: Project, name: str) -> None:
    mirror = mirror_of(project, name)
    project.artifacts.delete(mirror.place, "events/000002.json")
    assert said(audit(project, name)) == [f"copies: copy 2 is missing at {mirror.place}"]
    assert mirror.missing() == [2]
    assert mirror.fill() == [2]
    assert audit(project, name).is_clean
    project.artifacts.delete(mirror.place)
    found = audit(project, name)
    assert said(found) == [f"copies: all copies are missing at {mirror.place}"]
    assert "holdfast models repair" in found.problems[0].remedy
    assert mirror.fill() == [1, 2, 3, 4, 5]


def test_a_changed_copy_is_found(project: Project, name: str) -> None:
    mirror = mirror_of(project, name)
    text = mirror.texts()[4].replace('"better"', '"because"')
    forged = Path("000004.json")
    forged.write_text(text)
    project.artifacts.upload_file(forged, mirror.place, "events")
    found = said(audit(project, name))
    assert found == ["copies: event 4: the copies are not the registry's words, which are whole"]


def test_a_deleted_history_is_found_and_restored(project: Project, name: str) -> None:
    run_id = run_of(project, name)
    project.connection.client.delete_run(run_id)
    assert said(audit(project, name)) == [f"history: the run that keeps it, {run_id}, is deleted"]
    with pytest.raises(HistoryError, match="deleted"):
        ModelRegistry(project).promote(name, 1, "Archived")
    assert restore_history(project, name) == []
    assert audit(project, name).is_clean


def test_a_model_that_lost_its_tag_finds_its_history(project: Project, name: str) -> None:
    project.connection.client.delete_registered_model_tag(name, HISTORY_TAG)
    assert [text[:6] for text in said(audit(project, name))] == ["index:"]
    ModelRegistry(open_project(project.settings)).promote(name, 1, "Archived")
    assert audit(project, name).is_clean
    project.models.set_model_tag(name, HISTORY_TAG, "0" * 32)
    assert "the index of histories names" in said(audit(project, name))[0]


def test_reading_says_whether_it_was_verified(project: Project, name: str) -> None:
    content = read_history(project, name).to_dict()
    assert content["verified"] is True
    texts = project.histories.read(run_of(project, name)).texts
    assert [json.dumps(item, sort_keys=True, separators=(",", ":")) for item in content["events"]] == list(texts)
