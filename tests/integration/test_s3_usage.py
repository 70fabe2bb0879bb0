"""What is stored where, counted on real servers, and what it costs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from migrating import World, keys_of
from typer.testing import CliRunner

from holdfast.bucket import inventory
from holdfast.bucket.usage import usage_of
from holdfast.cli.app import app
from holdfast.errors import ArtifactError
from holdfast.testing import S3Access as Server
from holdfast.testing.rclone import RcloneAccess
from holdfast.testing.swift import SwiftAccess

pytestmark = pytest.mark.timeout(120)
DAY_S = 86400


@pytest.fixture
def world(sqlite_uri: str, tmp_path: Path, s3_server: Server, unique: str) -> World:
    """A project with a bucket."""
    name = f"u-{unique[-8:]}"
    keys = keys_of(s3_server.add_account(unique, [name]), s3_server.endpoint_url)
    return World(tmp_path / "project", sqlite_uri, f"s3://{name}/team", keys)


def bucket_of(world: World) -> str:
    return world.root.split("/")[2]


def test_by_experiment_class_and_what_is_not_current(
    world: World, s3_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listings come in many pages; names are odd; a neighbour's prefix begins like ours and is not counted."""
    monkeypatch.setattr(inventory, "_PAGE", 7)
    bucket, client = bucket_of(world), s3_server.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    world.run("one", {f"a b/ü{number}%+.txt": b"x" * number for number in range(20)})
    world.run("two", {"y": b"y" * 1000})
    for key, size in (("team/stranger/x", 10), ("team/loose", 5), ("teams/other", 999), ("team/one-more/z", 7)):
        client.put_object(Bucket=bucket, Key=key, Body=b"z" * size)
    client.put_object(Bucket=bucket, Key="team/stranger/cold", Body=b"c" * 50, StorageClass="STANDARD_IA")
    for _ in range(9):  # older versions
        client.put_object(Bucket=bucket, Key="team/loose", Body=b"12345")
    client.delete_object(Bucket=bucket, Key="team/one-more/z")
    begun = client.create_multipart_upload(Bucket=bucket, Key="team/one/big")
    client.upload_part(
        Bucket=bucket, Key="team/one/big", UploadId=begun["UploadId"], PartNumber=1, Body=b"p" * (5 << 20)
    )
    found = usage_of(world.project())
    assert {(group.name, group.is_experiment): group.total.size_bytes for group in found.groups} == {
        ("two", True): 1000,
        ("one", True): sum(range(20)),
        ("stranger", False): 60,
        ("(files at the top)", False): 5,
    }
    assert {name: (tally.objects, tally.size_bytes) for name, tally in found.by_class().items()} == {
        "STANDARD": (23, 1000 + 190 + 10 + 5),
        "STANDARD_IA": (1, 50),
    }
    assert found.old_versions is not None
    old = found.old_versions["STANDARD"]
    assert (old.objects, old.size_bytes) == (10, 9 * 5 + 7)
    assert found.uploads is not None
    assert (found.uploads["STANDARD"].objects, found.uploads["STANDARD"].size_bytes) == (1, 5 << 20)
    assert (list(found.by_age()), found.notes) == (["0-7 d"], [])


def test_what_the_key_may_not_list(world: World, s3_server: Server, unique: str) -> None:
    bucket = bucket_of(world)
    s3_server.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    denied = ("s3:ListBucketVersions", "s3:ListBucketMultipartUploads", "s3:GetBucketVersioning")
    account = s3_server.add_account(f"{unique}-less", [bucket], denied)
    world.more = keys_of(account, s3_server.endpoint_url)
    world.run("one", {"x": b"1"})
    found = usage_of(world.project())
    assert (found.total.objects, found.old_versions, found.uploads) == (1, None, None)
    assert "s3:ListBucketVersions" in found.notes[0]
    assert "s3:ListBucketMultipartUploads" in found.notes[1]


def test_what_cannot_be_counted(world: World, s3_server: Server, unique: str, tmp_path: Path) -> None:
    account = s3_server.add_account(f"{unique}-blind", [bucket_of(world)], ("s3:ListBucket",))
    world.more = keys_of(account, s3_server.endpoint_url)
    with pytest.raises(ArtifactError) as caught:
        usage_of(world.project())
    assert "counting takes s3:ListBucket" in caught.value.hint
    assert f"`holdfast s3 policy --role reader {world.root}`" in caught.value.hint
    with pytest.raises(ArtifactError, match="There is no folder"):
        usage_of(world.project(), str(tmp_path / "nowhere"))
    world.root = str(tmp_path / "not yet")
    assert f"there is no folder {world.root} yet" in usage_of(world.project()).notes[0]


def test_on_other_servers(
    sqlite_uri: str, tmp_path: Path, swift_server: SwiftAccess, rclone_server: RcloneAccess, unique: str
) -> None:
    name = f"u-{unique[-8:]}"
    swift = keys_of(swift_server.add_account(unique, [name]), swift_server.endpoint_url)
    rclone_server.client().create_bucket(Bucket=name)
    rclone = keys_of(rclone_server.account, rclone_server.endpoint_url)
    for keys in (swift, rclone):
        world = World(tmp_path / "project", sqlite_uri, f"s3://{name}/team", keys)
        world.run("one", {"ü %+/x": b"12", "y": b"345"})
        found = usage_of(world.project())
        assert [(group.name, group.total.objects, group.total.size_bytes) for group in found.groups] == [("one", 2, 5)]
        assert list(found.by_age()) == ["0-7 d"]
    assert found.notes == ["unfinished uploads are not counted: the server lacks the call"]  # rclone's


def test_a_folder(sqlite_uri: str, tmp_path: Path) -> None:
    world = World(tmp_path / "project", sqlite_uri, str(tmp_path / "root"))
    run = world.run("one", {"young": b"1", "old/older": b"22", "oldest": b"333"})
    for name, days in (("old/older", 40), ("oldest", 400)):
        when = time.time() - days * DAY_S
        os.utime(f"{run.artifact_uri}/{name}", (when, when))
    (Path(world.root) / "link").symlink_to(run.artifact_uri)
    found = usage_of(world.project(), world.root)
    assert {age: tally.size_bytes for age, tally in found.by_age().items()} == {"0-7 d": 1, "31-90 d": 2, "older": 3}
    assert [(group.name, group.total.objects) for group in found.groups] == [("one", 3)]
    assert found.as_document()["by_class"] is None


def test_the_commands(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = world.run("one", {"x": b"1" * 1000})
    world.run("two", {"x": b"1" * 10})
    world.register("model", run.artifact_uri)
    monkeypatch.chdir(world.folder)
    environ = {"MLFLOW_TRACKING_URI": world.tracking_uri, "MLFLOW_ARTIFACT_ROOT": world.root, **world.more}
    (world.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in environ.items()))
    runner = CliRunner()
    counted = runner.invoke(app, ["s3", "usage", "--json"])
    assert counted.exit_code == 0, counted.output
    assert [entry["name"] for entry in json.loads(counted.stdout)["by_experiment"]] == ["one", "two"]
    shown = runner.invoke(app, ["s3", "usage", world.root])
    assert ("2 objects, 1.0 kB" in shown.stdout, "STANDARD" in shown.stdout) == (True, True)
    table = tmp_path / "prices.json"
    region = {"storage": {"STANDARD": [[None, 1.0]], "STANDARD_IA": [[None, 0.5]]}, "egress": [[None, 0.1]]}
    table.write_text(json.dumps({"as_of": "2026-01", "gb_bytes": 1, "regions": {"us-east-1": region}}))
    cost = runner.invoke(app, ["s3", "cost", "--prices", str(table), "--egress-gb", "10", "--json"])
    assert cost.exit_code == 0, cost.output
    found = json.loads(cost.stdout)
    assert (found["per_month"], found["prices_as_of"]) == (1010 + 1, "2026-01")
    assert (found["fetching_everything_once"], found["by_experiment"]) == (101.0, {"one": 1000.0, "two": 10.0})
    told = runner.invoke(app, ["s3", "cost", "--prices", str(table), "--region", "nowhere"])
    assert "$1,010.00 a month (us-east-1, prices of 2026-01" in told.stdout
    assert "no prices for nowhere" in told.stderr
