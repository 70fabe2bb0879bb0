"""What the tests of histories share: a registered model whose files are two lines."""

from __future__ import annotations

from pathlib import Path

from holdfast import ModelRegistry
from holdfast.backend.history import HISTORY_TAG
from holdfast.project import Project
from holdfast.registry.history.mirror import Mirror


def register(project: Project, name: str, folder: Path, versions: int = 1) -> ModelRegistry:
    """Register versions of a model that has an MLmodel file and nothing else, all of one run."""
    folder.mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n")
    run = project.connection.client.create_run(project.experiment().experiment_id)
    project.artifacts.upload_folder(folder, run.info.artifact_uri, "model")
    registry = ModelRegistry(project)
    for _ in range(versions):
        registry.register(name, f"runs:/{run.info.run_id}/model")
    return registry


def run_of(project: Project, name: str) -> str:
    """Return the run that keeps a model's history."""
    model = project.models.find_model(name)
    assert model is not None
    return model.tags[HISTORY_TAG]


def mirror_of(project: Project, name: str) -> Mirror:
    """Return the copies of a model's history."""
    return Mirror(project, project.histories.read(run_of(project, name)))
