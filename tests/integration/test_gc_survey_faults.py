"""Surveys of stores that refuse, or die: what cannot be looked at is told, and kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from gc_survey_world import ALL, ORPHANS, Make, World, bucket_of, going, on_disk, opened, why_kept, worlds_in

from holdfast.artifacts.s3 import attempts
from holdfast.artifacts.transfer import Silent
from holdfast.errors import HoldfastError
from holdfast.maintenance.asking import Asked
from holdfast.maintenance.survey import survey
from holdfast.testing import FaultProxy, S3Access


@pytest.fixture
def local(sqlite_uri: str, tmp_path: Path) -> World:
    return on_disk(tmp_path, sqlite_uri)


@pytest.fixture
def bucket(unique: str) -> str:
    return bucket_of(unique)


@pytest.fixture
def in_s3(sqlite_uri: str, s3_server: S3Access, tmp_path: Path, unique: str) -> Make:
    return worlds_in(s3_server, tmp_path, sqlite_uri, unique)


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


def test_a_server_that_dies_in_the_middle(in_s3: Make, s3_server: S3Access, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is refused is not tried again; what is only slow has its time.
    monkeypatch.setattr(attempts, "_LONGEST_IN_DEADLINES", 0)
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


def test_a_disk_that_is_away_leaves_an_empty_folder(local: World) -> None:
    """Runs that have only metrics leave one too; a model has files."""
    gone, alive = local.run(), local.run(deleted=False)
    model = local.model(alive)
    root = Path(local.place(gone)).parents[1]
    root.rename(local.folder / "away")
    root.mkdir()
    for rules in (ALL, ORPHANS):
        found = local.look(rules)
        assert found.plan.items == ()
        assert [trouble.place for trouble in found.troubles] == [str(root)]
        assert "mount its disk" in found.troubles[0].hint
        assert "cannot be listed" in why_kept(found, gone)
    (root / "really gone").touch()
    assert going(local.look()) == {gone}
    (root / "really gone").unlink()
    local.client.delete_logged_model(model)
    assert going(local.look()) == {gone}


def test_an_experiment_that_was_never_used_and_has_no_folder(local: World) -> None:
    gone = local.run()
    local.experiment("elsewhere", "/no/such/disk/mlruns/0")
    found = local.look(ORPHANS)
    assert (found.troubles, going(found)) == ((), {gone})
    run = local.run("elsewhere", files=0, deleted=False)
    assert [trouble.place for trouble in local.look(ORPHANS).troubles] == ["/no/such/disk/mlruns"], run


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
