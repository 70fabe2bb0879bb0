"""Surveys of real stores: what is in the plan."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from gc_survey_world import ALL, ORPHANS, Make, World, bucket_of, going, on_disk, opened, why_kept, worlds_in
from histories import register

from holdfast.core.cleanup.plan import Kind
from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.testing import S3Access
from holdfast.testing.fixtures import RunningMlflow

DAY_MS = 86_400_000


@pytest.fixture
def local(sqlite_uri: str, tmp_path: Path) -> World:
    return on_disk(tmp_path, sqlite_uri)


@pytest.fixture
def bucket(unique: str) -> str:
    return bucket_of(unique)


@pytest.fixture
def in_s3(sqlite_uri: str, s3_server: S3Access, tmp_path: Path, unique: str) -> Make:
    return worlds_in(s3_server, tmp_path, sqlite_uri, unique)


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
