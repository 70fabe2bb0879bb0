"""Requests and approvals, on SQLite, on PostgreSQL and on a real MLflow server alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import ModelRegistry, open_project
from holdfast.core.history import Kind
from holdfast.core.policy import PromotionPolicy, parse_policy
from holdfast.core.stages import Stage
from holdfast.errors import InvalidInputError, NotFoundError, PromotionRefusedError, RegistryError
from holdfast.project import Project
from holdfast.registry.history.audit import audit

# Behind "http" is PostgreSQL.
pytestmark = pytest.mark.backends("sqlite", "http")

TWO = parse_policy({"approvals": {"Production": 2}})


class World:
    """One model with a version, and the people who speak of it, each with settings of their own."""

    def __init__(self, tracking_uri: str, root: str | None, unique: str, folder: Path) -> None:
        self._given = {"tracking_uri": tracking_uri, "artifact_root": root, "experiment_name": unique}
        self.name = f"{unique}-model"
        self.project = self.project_of("ada")
        folder.mkdir()
        (folder / "MLmodel").write_text("flavors: {}\n")
        run = self.project.connection.client.create_run(self.project.experiment().experiment_id)
        self.place = f"{run.info.artifact_uri}/model"
        self.project.artifacts.upload_folder(folder, self.place)
        self.folder = folder
        self.of("ada").register(self.name, f"runs:/{run.info.run_id}/model")

    def project_of(self, user: str) -> Project:
        return open_project(**self._given, user=user, delivery="direct")

    def of(self, user: str, policy: PromotionPolicy = TWO) -> ModelRegistry:
        return ModelRegistry(self.project_of(user), policy)

    def change_files(self, text: str) -> None:
        (self.folder / "weights.txt").write_text(text)
        self.project.artifacts.upload_file(self.folder / "weights.txt", self.place)


@pytest.fixture
def world(tracking_uri: str, unique: str, tmp_path: Path) -> World:
    root = None if tracking_uri.startswith("http") else str(tmp_path / "artifacts")
    return World(tracking_uri, root, unique, tmp_path / "model")


def test_asked_approved_by_two_and_promoted(world: World) -> None:
    name, ada, bob, eve = world.name, world.of("ada"), world.of("bob"), world.of("eve")
    with pytest.raises(PromotionRefusedError, match="nobody has asked"):
        ada.promote(name, 1, "Production")
    asked = ada.request(name, 1, "Production", reason="better")
    assert (asked.by, asked.needed, asked.approved, asked.is_enough) == ("ada", 2, (), False)
    with pytest.raises(PromotionRefusedError, match="0 of 2"):
        ada.promote(name, 1, "Production", override="it is urgent")  # one person's word is not enough
    for own in ("ada", " ADA", "Ada "):
        with pytest.raises(PromotionRefusedError, match="one's own"):
            world.of(own).approve(name, 1)
    assert bob.approve(name, "latest", "production", reason="checked").approved == ("bob",)
    again = world.of("BOB").approve(name, 1)
    assert (again.event, again.approved) == (None, ("bob",))  # one approval each
    with pytest.raises(PromotionRefusedError, match="1 of 2: bob"):
        ada.promote(name, 1, "Production")
    assert eve.approve(name, 1).is_enough
    listed = ada.requests(name)
    assert [(item.version, item.stage, item.by, item.approved) for item in listed] == [
        (1, Stage.PRODUCTION, "ada", ("bob", "eve")),
    ]
    done = ada.promote(name, 1, "Production")
    assert [answer.reason for answer in done.answers] == ["2 of 2: bob, eve"]
    assert ada.requests(name) == []  # answered
    kinds = [event.kind for event in ada.history(name)]
    assert kinds == [Kind.ADOPTED, Kind.REGISTERED, Kind.REQUESTED, Kind.APPROVED, Kind.APPROVED, Kind.MOVED]
    assert audit(world.project, name, all_files=True).is_clean


def test_an_approval_is_of_the_files_as_they_were(world: World) -> None:
    name, ada, bob = world.name, world.of("ada"), world.of("bob")
    world.change_files("first")
    ada.request(name, 1)
    bob.approve(name, 1)
    world.change_files("second")
    with pytest.raises(PromotionRefusedError, match=r"weights\.txt has changed"):
        world.of("eve").approve(name, 1)
    with pytest.raises(PromotionRefusedError, match="the files have changed since bob approved"):
        world.of("ada", parse_policy({"approvals": {"Production": 1}})).promote(name, 1, "Production")
    asked = ada.request(name, 1)  # again: of the new files, and nobody has approved those
    assert asked.approved == ()
    bob.approve(name, 1)
    assert world.of("eve").approve(name, 1).approved == ("bob", "eve")
    assert ada.promote(name, 1, "Production").version.stage is Stage.PRODUCTION


def test_rejected_and_asked_again(world: World) -> None:
    name, ada, bob = world.name, world.of("ada"), world.of("bob")
    with pytest.raises(RegistryError, match="Nobody has asked"):
        bob.approve(name, 1)
    ada.request(name, 1)
    with pytest.raises(InvalidInputError, match="reason"):
        bob.reject(name, 1, reason="  ")
    rejected = bob.reject(name, 1, reason="a leaked column")
    assert (rejected.is_open, rejected.is_enough) == (False, False)
    assert ada.history(name)[-1].draft.reason == "a leaked column"
    with pytest.raises(RegistryError, match="Nobody has asked"):
        bob.approve(name, 1)
    assert ada.request(name, 1).is_open
    assert ada.reject(name, 1, reason="withdrawn").is_open is False  # one's own
    with pytest.raises(PromotionRefusedError, match="nobody has asked"):
        ada.promote(name, 1, "Production")


def test_what_cannot_be_asked(world: World) -> None:
    name = world.name
    policy = parse_policy({"transitions": "step-by-step", "approvals": {"Production": 1, "Staging": 1}})
    ada = world.of("ada", policy)
    with pytest.raises(PromotionRefusedError, match="may not go from None to Production"):
        ada.request(name, 1)
    with pytest.raises(NotFoundError):
        ada.request(name, 7, "Staging")
    with pytest.raises(NotFoundError):
        ada.approve(name, 7)
    ada.request(name, 1, "Staging")
    world.of("bob", policy).approve(name, 1)
    ada.promote(name, 1, "Staging")
    with pytest.raises(RegistryError, match="in Staging already"):
        ada.request(name, 1, "Staging")


def test_without_approvals_in_the_policy_words_are_kept_all_the_same(world: World) -> None:
    nothing = PromotionPolicy()
    asked = world.of("ada", nothing).request(world.name, 1, "Staging")
    assert (asked.needed, asked.is_enough) == (0, True)
    world.of("ada", nothing).request(world.name, 1, "Production")
    bob = world.of("bob", nothing)
    with pytest.raises(InvalidInputError, match="Staging and Production"):
        bob.approve(world.name, 1)
    assert bob.approve(world.name, 1, "Staging").approved == ("bob",)
    assert world.of("ada", nothing).promote(world.name, 1, "Production").answers == ()
