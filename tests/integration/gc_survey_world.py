"""Shared by the tests of surveys: a project with things in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holdfast import open_project
from holdfast.core.cleanup.plan import Kind
from holdfast.core.cleanup.rules import CleanupRules
from holdfast.maintenance.asking import Asked
from holdfast.maintenance.survey import Survey, survey
from holdfast.project import Project
from holdfast.testing import S3Access

ALL = CleanupRules(older_than_s=0, grace_s=0)
ORPHANS = replace(ALL, orphans=True)
Make = Callable[..., "World"]


@dataclass
class World:
    """A project with things in it."""

    project: Project
    folder: Path

    @property
    def client(self) -> Any:
        return self.project.connection.client

    def experiment(self, name: str, place: str | None = None) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        return str(self.client.create_experiment(name, place or self.project.artifact_location(name)))

    def run(self, experiment: str = "runs", files: int = 2, deleted: bool = True, place: str | None = None) -> str:
        made = self.client.create_run(self.experiment(experiment, place)).info
        if files:
            self.fill(made.artifact_uri, files)
        self.client.set_terminated(made.run_id)
        if deleted:
            self.client.delete_run(made.run_id)
        return str(made.run_id)

    def fill(self, address: str, files: int = 2) -> None:
        source = self.folder / f"files-{files}"
        source.mkdir(exist_ok=True)
        for number in range(files):
            (source / f"{number}.txt").write_text("12345")
        self.project.artifacts.upload_folder(source, address)

    def place(self, run_id: str) -> str:
        return str(self.client.get_run(run_id).info.artifact_uri)

    def model(self, run_id: str) -> str:
        made = self.client.create_logged_model(self.client.get_run(run_id).info.experiment_id, "net", run_id)
        self.fill(made.artifact_location)
        return str(made.model_id)

    def look(self, rules: CleanupRules = ALL, now_ms: int | None = None, **asked: Any) -> Survey:
        return survey(self.project, Asked(rules, **asked), now_ms=now_ms)


def going(found: Survey, kind: Kind = Kind.RUN) -> set[str]:
    return {item.id for item in found.plan.items if item.kind is kind}


def why_kept(found: Survey, thing: str) -> str:
    return next(kept.why for kept in found.plan.kept if kept.id == thing)


def opened(folder: Path, tracking_uri: str, artifact_root: str | None, **settings: Any) -> Project:
    (folder / "work" / ".git").mkdir(exist_ok=True)
    return open_project(tracking_uri=tracking_uri, artifact_root=artifact_root, delivery="direct", **settings)


def on_disk(folder: Path, tracking_uri: str) -> World:
    """Return a world with its files in a folder."""
    (folder / "art").mkdir()
    return World(opened(folder, tracking_uri, str(folder / "art")), folder)


def bucket_of(unique: str) -> str:
    """Return the name of a test's bucket."""
    return unique.replace("_", "-")[-40:].strip("-")


def worlds_in(server: S3Access, folder: Path, tracking_uri: str, unique: str) -> Make:
    """Return what makes worlds with their files in the bucket of a test."""
    bucket = bucket_of(unique)

    def make(**changes: Any) -> World:
        buckets, policy = changes.pop("buckets", [bucket]), changes.pop("policy", None)
        name = f"{unique}-{changes.pop('user', 'me')}"
        account = server.add_account(name, buckets, changes.pop("denied", ()), policy)
        keys = {"access_key_id": account.access_key_id, "secret_access_key": account.secret_access_key}
        settings = {"s3_endpoint_url": server.endpoint_url, "transfer_deadline": 60.0, **keys, **changes}
        uri = settings.pop("tracking_uri", tracking_uri)
        return World(opened(folder, uri, f"s3://{bucket}/root", **settings), folder)

    return make
