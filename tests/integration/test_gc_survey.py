"""Surveys of real stores: what is in the plan, what stays and why, and what becomes of stores that refuse or die."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from histories import register, run_of

from holdfast import open_project
from holdfast.artifacts.transfer import Silent
from holdfast.backend.history import EXPERIMENT, HISTORY_TAG, INDEX_EXPERIMENT
from holdfast.core.cleanup.plan import Kind
from holdfast.core.cleanup.rules import CleanupRules
from holdfast.delivery.identity import RunAbout, save_about
from holdfast.errors import HoldfastError, InvalidInputError, NotFoundError
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import LOCAL_PREFIX
from holdfast.maintenance.asking import Asked
from holdfast.maintenance.survey import Survey, survey
from holdfast.project import Project
from holdfast.testing import FaultProxy, S3Access
from holdfast.testing.fixtures import RunningMlflow

pytestmark = pytest.mark.timeout(120)
ALL = CleanupRules(older_than_s=0, grace_s=0)
ORPHANS = replace(ALL, orphans=True)
DAY_MS = 86_400_000


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


@pytest.fixture
def local(sqlite_uri: str, tmp_path: Path) -> World:
    (tmp_path / "art").mkdir()
    return World(opened(tmp_path, sqlite_uri, str(tmp_path / "art")), tmp_path)


def opened(folder: Path, tracking_uri: str, artifact_root: str | None, **settings: Any) -> Project:
    (folder / "work" / ".git").mkdir(exist_ok=True)
    return open_project(tracking_uri=tracking_uri, artifact_root=artifact_root, delivery="direct", **settings)


@pytest.fixture
def bucket(unique: str) -> str:
    return unique.replace("_", "-")[-40:].strip("-")


Make = Callable[..., World]


@pytest.fixture
def in_s3(sqlite_uri: str, s3_server: S3Access, tmp_path: Path, unique: str, bucket: str) -> Make:
    """Makes worlds with their files in a bucket."""

    def make(**changes: Any) -> World:
        buckets, policy = changes.pop("buckets", [bucket]), changes.pop("policy", None)
        name = f"{unique}-{changes.pop('user', 'me')}"
        account = s3_server.add_account(name, buckets, changes.pop("denied", ()), policy)
        keys = {"access_key_id": account.access_key_id, "secret_access_key": account.secret_access_key}
        settings = {"s3_endpoint_url": s3_server.endpoint_url, "transfer_deadline": 1.0, **keys, **changes}
        uri = settings.pop("tracking_uri", sqlite_uri)
        return World(opened(tmp_path, uri, f"s3://{bucket}/root", **settings), tmp_path)

    return make


# -- what is garbage ------------------------------------------------------------------


def test_deleted_runs_of_a_folder(local: World) -> None:
    gone, empty, live = local.run(), local.run(files=0), local.run(deleted=False)
    found = local.look()
    assert going(found) == {gone, empty}
    assert found.plan.total.objects == 2
    assert found.listed == 2
    assert found.troubles == ()
    assert live not in {kept.id for kept in found.plan.kept}
    assert going(local.look(replace(ALL, older_than_s=60))) == set()


@pytest.mark.parametrize("status", ["", "Enabled"])
def test_deleted_runs_of_a_bucket(in_s3: Make, s3_server: S3Access, bucket: str, status: str) -> None:
    """Many of one experiment are found in one listing of its folder, few by listings of their own."""
    world = in_s3()
    if status:
        versioning = {"Status": status}
        s3_server.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration=versioning)
    few, many = {world.run("few") for _ in range(3)}, {world.run("many", files=1) for _ in range(12)}
    model = world.model(next(iter(few)))
    key = world.place(world.run("many", files=1, deleted=False)).split("/", 3)[3]
    s3_server.client().put_object(Bucket=bucket, Key=f"{key}/0.txt", Body=b"anew")
    found = world.look()
    assert going(found) == few | many
    assert going(found, Kind.MODEL) == {model}
    assert found.plan.total.objects == 3 * 2 + 2 + 12
    # The live run's file is seen in its experiment's folder, with its older version.
    assert found.listed == found.plan.total.objects + (2 if status else 1)


def test_experiments_by_name_id_and_glob(local: World) -> None:
    one, two, other = local.run("sweep-1"), local.run("sweep-2"), local.run("fine")
    assert going(local.look(experiments=("sweep-*",))) == {one, two}
    assert going(local.look(experiments=("sweep-1", local.experiment("fine")))) == {one, other}
    with pytest.raises(NotFoundError, match="no experiment 'sweeps'"):
        local.look(experiments=("sweeps",))
    number = local.experiment("fine")
    local.experiment(number)
    with pytest.raises(InvalidInputError, match="more than one"):
        local.look(experiments=(number,))


def test_retention_rules_of_the_settings(local: World, tmp_path: Path, sqlite_uri: str) -> None:
    gc = {"rules": [{"experiments": "sweep*", "keep-last": 1}, {"checkpoints": "*.txt", "keep-last": 1}]}
    runs = [local.run("sweep", deleted=False) for _ in range(3)]
    local.client.set_tag(runs[0], "holdfast.keep", "yes")
    kept = local.run("fine", files=3, deleted=False)
    world = World(opened(tmp_path, sqlite_uri, str(tmp_path / "art"), gc=gc), tmp_path)
    assert going(world.look()) == set()
    found = world.look(retention=True)
    assert len(going(found)) == 1
    assert going(found) < set(runs[1:])
    assert {Path(place).name for place in going(found, Kind.CHECKPOINT) if kept in place} == {"0.txt", "1.txt"}


# -- what protects --------------------------------------------------------------------


def test_versions_protect_however_they_are_registered(local: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    mlflow.set_tracking_uri(local.project.connection.tracking_uri)
    local.client.create_registered_model("net")
    runs = {how: local.run(deleted=False) for how in ("runs", "model", "path", "link", "none")}
    model = local.model(runs["model"])
    os.symlink(local.place(runs["link"]), local.folder / "link")
    sources = {
        "runs": f"runs:/{runs['runs']}/0.txt",
        "model": f"models:/{model}",
        "path": f"{local.place(runs['path'])}/0.txt",
        "link": f"file://{local.folder}/link/1.txt",
    }
    for source in sources.values():
        local.client.create_model_version("net", source)
    local.client.set_registered_model_alias("net", "champion", 1)
    for run_id in runs.values():
        local.client.delete_run(run_id)
    found = local.look(ORPHANS)
    assert going(found) == {runs["none"]}
    assert why_kept(found, runs["runs"]) == "net version 1 (alias champion) needs it"
    assert all("needs it" in why_kept(found, runs[how]) for how in sources)
    assert going(found, Kind.MODEL) == going(found, Kind.ORPHAN) == set()


def test_histories_protect(local: World) -> None:
    """Rollback targets, approvals, versions that went around Holdfast, and the histories themselves."""
    registry = register(local.project, "net", local.folder / "net", versions=3)
    of_net = local.client.get_model_version("net", "1").run_id
    for number in (1, 2):
        registry.promote("net", number, "Production", reason="better")
    registry.request("net", 3, "Production", reason="please")
    register(local.project, "gone", local.folder / "gone")
    around = local.client.get_model_version("gone", "1").run_id
    local.client.delete_model_version("gone", "1")
    local.client.delete_run(of_net)
    local.client.delete_run(around)
    for name in (EXPERIMENT, INDEX_EXPERIMENT):
        local.client.delete_experiment(local.experiment(name))
    found = local.look(ORPHANS)
    assert found.troubles == ()
    assert found.plan.items == ()
    reasons = {need.why for need in found.state.needs if need.run_id == of_net}
    assert {why.split(" of net")[0] for why in reasons} == {"the way back", "the open request for approval"}
    assert "still has version 1" in why_kept(found, around)
    assert "history of registered models" in why_kept(found, run_of(local.project, "net"))


def test_a_history_that_cannot_be_read(local: World) -> None:
    register(local.project, "net", local.folder / "net")
    run_id = local.client.get_model_version("net", "1").run_id
    other = local.run()
    local.client.set_registered_model_tag("net", HISTORY_TAG, "0" * 32)
    local.client.delete_run(run_id)
    found = local.look()
    assert going(found) == {other}
    assert [trouble.place for trouble in found.troubles] == ["history of net"]
    assert "cannot be read" in why_kept(found, run_id)


def test_copies_of_histories_outlive_their_experiment(local: World, sqlite_template: Path, tmp_path: Path) -> None:
    """In a database that was made anew, with the same artifact root."""
    register(local.project, "net", local.folder / "net")
    shutil.copyfile(sqlite_template, tmp_path / "new.db")
    new = World(opened(tmp_path, f"sqlite:///{tmp_path}/new.db", str(tmp_path / "art")), tmp_path)
    new.run(deleted=False)
    found = new.look(ORPHANS)
    assert len(going(found, Kind.ORPHAN)) == 1
    assert not any(EXPERIMENT in place for place in going(found, Kind.ORPHAN))


def test_what_waits_in_the_journal(local: World) -> None:
    """Records, and files of runs begun offline, on the server by now or not."""
    settings = local.project.settings.model_copy(update={"delivery": "journal", "shipper": "none"})
    project = open_project(settings, journaled=True)
    delivered, logged, offline = (local.run(name) for name in ("a", "b", "c"))
    project.connection.client.log_metric(logged, "loss", 1.0)
    assert project.delivery is not None
    paths = project.delivery.journal.paths
    for name, begun_in in ((f"{LOCAL_PREFIX}1", local.experiment("c")), (f"{LOCAL_PREFIX}2", local.experiment("d"))):
        save_about(OsFileSystem(), paths.run(name), RunAbout(name, experiment_id=begun_in))
        (paths.run(name).folder / "artifacts").mkdir()
        (paths.run(name).folder / "artifacts" / "net.pt").write_text("12345")
    known = {"run_id": offline, "experiment_id": local.experiment("c"), "artifact_uri": local.place(offline)}
    paths.run(f"{LOCAL_PREFIX}1").resolved.write_text(json.dumps(known))
    local.client.delete_experiment(local.experiment("d"))
    found = local.look()
    assert going(found) == {delivered}
    for thing in (logged, offline, local.experiment("d")):
        assert "waits in the journal" in why_kept(found, thing)
    assert going(found, Kind.EXPERIMENT) == set()


def test_a_migration_under_way(local: World) -> None:
    local.run(deleted=False)
    root = local.folder / "art"
    for name in ("moved", "done", "lost"):
        local.fill(str(root / "runs" / name), files=1)
    folder = Path(local.project.settings.project_root, ".holdfast", "migrations", "abc")
    folder.mkdir(parents=True)
    records: list[dict[str, Any]] = [
        *({"is": "place", "old": f"/old/{name}", "new": str(root / "runs" / name)} for name in ("moved", "done")),
        {"is": "rewriting", "at": "", "places": ["/old/done"]},
    ]
    lines = [json.dumps(record) for record in records]
    (folder / "ledger.jsonl").write_text("\n".join([*lines, '{"is": "pla']))
    found = local.look(ORPHANS)
    assert {Path(place).name for place in going(found, Kind.ORPHAN)} == {"done", "lost"}


# -- orphans --------------------------------------------------------------------------


def test_orphans_and_a_second_server_in_the_bucket(
    in_s3: Make, sqlite_template: Path, tmp_path: Path, bucket: str
) -> None:
    """A root in which a server knows nothing is another's; one that it knows is searched."""
    mine = in_s3()
    mine.run("mine", deleted=False)
    mine.fill(f"s3://{bucket}/root/mine/{'a' * 32}/artifacts")
    register(mine.project, "net", mine.folder / "net")
    found = mine.look(ORPHANS)
    assert going(found, Kind.ORPHAN) == {f"s3://{bucket}/root/mine/{'a' * 32}/artifacts"}
    shutil.copyfile(sqlite_template, tmp_path / "other.db")
    other = in_s3(user="other", tracking_uri=f"sqlite:///{tmp_path}/other.db")
    other.client.create_experiment("theirs", f"s3://{bucket}/theirs")
    assert other.look(ORPHANS).plan.items == ()
    told = " ".join(other.look(ORPHANS).plan.told)
    assert f"s3://{bucket}/root: nothing below it is known" in told
    whole = other.client.create_experiment("whole", f"s3://{bucket}")
    assert other.look(ORPHANS).plan.items == ()
    assert any("no orphans are looked for" in text for text in other.look(ORPHANS, experiments=(whole,)).plan.told)


# -- what refuses, and what dies ------------------------------------------------------


def test_a_bucket_that_refuses_and_one_that_is_gone(in_s3: Make, s3_server: S3Access, bucket: str) -> None:
    others = [f"{bucket[-30:]}-{name}" for name in ("denied", "gone")]
    maker = in_s3(buckets=[bucket, *others])
    runs = {name: {maker.run(name, place=f"s3://{name}/x") for _ in range(2)} for name in others}
    fine = maker.run()
    world = in_s3(user="reader", buckets=[bucket, others[1]])
    keys = s3_server.client().list_objects_v2(Bucket=others[1])["Contents"]
    s3_server.client().delete_objects(Bucket=others[1], Delete={"Objects": [{"Key": one["Key"]} for one in keys]})
    s3_server.client().delete_bucket(Bucket=others[1])
    for rules in (ALL, ORPHANS):
        found = world.look(rules)
        assert going(found) == {fine}
        assert {trouble.code for trouble in found.troubles} == {"AccessDenied", "NoSuchBucket"}
        assert {trouble.place.split("/")[2] for trouble in found.troubles} == set(others)
        assert len(found.troubles) == 2
        assert not any(trouble.retryable for trouble in found.troubles)
        for run_id in (run_id for name in others for run_id in runs[name]):
            assert "cannot be listed" in why_kept(found, run_id)


def test_a_prefix_that_refuses(in_s3: Make, bucket: str) -> None:
    maker = in_s3()
    hidden, shown = maker.run("hidden"), maker.run("shown")
    deny = {"Effect": "Deny", "Action": ["s3:ListBucket"], "Resource": f"arn:aws:s3:::{bucket}"}
    deny["Condition"] = {"StringLike": {"s3:prefix": "root/hidden*"}}  # type: ignore[assignment]
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": resources}
    world = in_s3(user="part", policy={"Version": "2012-10-17", "Statement": [allow, deny]})
    found = world.look()
    assert going(found) == {shown}
    assert [(trouble.code, hidden in trouble.place) for trouble in found.troubles] == [("AccessDenied", True)]
    assert "s3:ListBucket" in found.troubles[0].hint


def test_a_server_that_dies_in_the_middle(in_s3: Make, s3_server: S3Access) -> None:
    with FaultProxy(s3_server.endpoint_url) as proxy:
        world = in_s3(s3_endpoint_url=proxy.url)
        runs = {world.run(f"e{number}") for number in range(12)}

        class Killer(Silent):
            def file_done(self) -> None:
                proxy.refuse()

        found = survey(world.project, Asked(ALL), Killer())
        assert going(found) < runs
        assert {kept.id for kept in found.plan.kept} == runs - going(found)
        assert found.troubles
        assert all(trouble.retryable for trouble in found.troubles)
        proxy.pass_on()
        assert going(world.look()) == runs


def test_a_disk_that_is_not_there(local: World) -> None:
    missing, fine = local.run("far", files=0, place=str(local.folder / "disk" / "far")), local.run()
    shutil.rmtree(local.folder / "disk", ignore_errors=True)
    found = local.look()
    assert going(found) == {fine}
    assert [trouble.place for trouble in found.troubles] == [str(local.folder / "disk")]
    assert "cannot be listed" in why_kept(found, missing)


def test_a_disk_that_is_not_there_below_a_root(local: World) -> None:
    """An empty mount point: all that runs had looks as if it were deleted already."""
    gone = local.run()
    local.project.artifacts.delete(local.place(gone))
    shutil.rmtree(local.folder / "art")
    for rules in (ALL, ORPHANS):
        found = local.look(rules)
        assert found.plan.items == ()
        assert [trouble.code for trouble in found.troubles] == ["ENOENT"]


def test_what_a_server_keeps_that_nobody_names(local: World) -> None:
    there, fine = local.run("far", files=0, place="mlflow-artifacts:/far"), local.run()
    found = local.look()
    assert going(found) == {fine}
    assert "MLFLOW_ARTIFACTS_DESTINATION" in found.troubles[0].hint
    assert "cannot be listed" in why_kept(found, there)
    kept = local.folder / "kept"
    kept.mkdir()
    assert going(local.look(artifacts_destination=str(kept))) == {there, fine}


def test_a_registry_that_is_gone(local: World, tmp_path: Path) -> None:
    broken = World(opened(tmp_path, "http://127.0.0.1:9", str(tmp_path / "art")), tmp_path)
    with pytest.raises(HoldfastError) as caught:
        broken.look()
    assert caught.value.retryable


# -- through a server -----------------------------------------------------------------


def test_files_that_a_server_keeps(
    mlflow_server: RunningMlflow, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ages are counted from when they were seen; what a live run took in stays; its own disk is the same place."""
    world = World(opened(tmp_path, mlflow_server.url, None), tmp_path)
    gone, evaluated = world.run(unique), world.run(unique, deleted=False)
    model = world.model(evaluated)
    live = world.run(unique, deleted=False)
    from mlflow.entities import LoggedModelInput

    world.client.log_inputs(live, models=[LoggedModelInput(model)])
    world.client.delete_run(evaluated)
    asked = {"experiments": (unique,)}
    month = replace(ALL, older_than_s=30 * 86_400)
    now_ms = 4_000_000_000_000
    assert going(world.look(month, now_ms, **asked)) == set()
    assert going(world.look(month, now_ms + 29 * DAY_MS, **asked)) == set()
    found = world.look(month, now_ms + 30 * DAY_MS, **asked)
    assert going(found) == {gone}
    assert "which uses it" in why_kept(found, model)
    assert found.plan.total.objects == 2
    direct = world.look(month, now_ms + 30 * DAY_MS, artifacts_destination=mlflow_server.artifacts, **asked)
    assert going(direct) == {gone}
    places = [place for item in direct.plan.items for place in item.places]
    assert all(place.startswith(mlflow_server.artifacts) for place in places)
    exp = Path(mlflow_server.artifacts, world.experiment(unique))
    for folder in ("traces/tr-1/artifacts", "models/m-1/artifacts", "1234/artifacts"):
        (exp / folder).mkdir(parents=True)
        (exp / folder / "x").write_text("x")
    orphans = world.look(ORPHANS, artifacts_destination=mlflow_server.artifacts, **asked)
    assert going(orphans, Kind.ORPHAN) == {f"{exp}/1234/artifacts"}
    assert any("--backend-store-uri" in told for told in orphans.plan.told)
    world.client.restore_run(gone)
    world.look(month, now_ms + 31 * DAY_MS, **asked)
    world.client.delete_run(gone)
    assert going(world.look(month, now_ms + 60 * DAY_MS, **asked)) == set()
