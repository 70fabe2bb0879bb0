"""`holdfast gc log` and `undo`: what became of clean-ups, and taking them back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gc_calls import ALL, EVERYTHING, add_run, code, gc, run_ids, store_in, use
from mlflow import MlflowClient

from holdfast.errors import CredentialsError, InvalidInputError
from holdfast.testing import S3Access


@pytest.fixture
def client(sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return store_in(tmp_path, sqlite_uri, monkeypatch)


@pytest.fixture
def versioned(
    client: MlflowClient, s3_server: S3Access, unique: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, str]:
    """A bucket that keeps versions, in which the experiment `kept` has its files."""
    bucket = f"gc-{unique[-8:]}"
    use(s3_server, unique, monkeypatch, EVERYTHING)
    admin = s3_server.client()
    admin.create_bucket(Bucket=bucket)
    admin.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.create_experiment("kept", artifact_location=f"s3://{bucket}/kept")
    return admin, bucket


def visible(versioned: tuple[Any, str]) -> list[str]:
    admin, bucket = versioned
    return [found["Key"] for found in admin.list_objects_v2(Bucket=bucket).get("Contents", ())]


def add_stored(client: MlflowClient, versioned: tuple[Any, str], count: int = 2) -> str:
    admin, bucket = versioned
    run_id = client.create_run(client.get_experiment_by_name("kept").experiment_id).info.run_id  # type: ignore[union-attr]
    for number in range(count):
        admin.put_object(Bucket=bucket, Key=f"kept/{run_id}/artifacts/{number}", Body=b"content")
    client.set_terminated(run_id)
    client.delete_run(run_id)
    return str(run_id)


def test_trash_undo_and_the_log(client: MlflowClient, versioned: tuple[Any, str]) -> None:
    run_id = add_stored(client, versioned)
    before = visible(versioned)
    refused = gc("undo")
    assert code(refused) == 2
    assert "There is nothing in the trash of this project, and no run" in str(refused.exception)
    assert "There was no clean-up" in gc("log").stdout
    done = gc(*ALL, "--trash", "--apply", "--yes")
    assert done.exit_code == 0, done.output
    assert "Done: 1 run\nPut in the trash: 2 objects\n" in done.stdout
    assert "Reclaimed" not in done.stdout
    assert visible(versioned) == []
    assert run_ids(client) == {run_id}
    (told,) = json.loads(gc("log", "--json").stdout)
    assert (told["hidden"], told["undone"], told["counts"]["done"]) == (2, False, 1)
    assert told["gc_id"] in done.stderr
    shown = gc("log", told["gc_id"]).stdout
    assert "Hidden: 2 objects" in shown
    assert "Deleted" not in shown
    keys = gc("log", told["gc_id"], "--keys").stdout.splitlines()
    assert sorted(line.split("\t")[1].partition("/kept/")[2] for line in keys) == [key[5:] for key in before]
    assert {line.split("\t")[0] for line in keys} == {"hidden"}
    back = gc("undo", told["gc_id"])
    assert back.exit_code == 0, back.output
    assert "2 objects that it hid can be seen" in back.stdout
    assert visible(versioned) == before
    assert json.loads(gc("log", "--json").stdout)[0]["undone"] is True
    assert "undone" in gc("log").stdout
    assert code(gc("undo")) == 2  # there is nothing more


def test_what_was_written_again_since_is_told(client: MlflowClient, versioned: tuple[Any, str]) -> None:
    admin, bucket = versioned
    add_stored(client, versioned)
    first, _ = visible(versioned)
    assert json.loads(gc(*ALL, "--trash", "--apply", "--yes", "--json").stdout)["outcome"]["hidden"] == 2
    admin.put_object(Bucket=bucket, Key=first, Body=b"new")
    for uri in ("sqlite:///elsewhere.db", "http://127.0.0.1:9"):  # neither is opened
        with pytest.raises(InvalidInputError, match=r"Clean-up \S+ was made for another tracking store"):
            raise gc("undo", "--tracking-uri", uri).exception or AssertionError("it was not refused")
    assert not Path("elsewhere.db").exists()
    told = gc("undo", "--json")
    assert told.exit_code == 1
    document = json.loads(told.stdout)
    assert (document["objects"], document["hidden"]) == (1, 2)
    assert "1 of 2 objects that it hid can be seen" in gc("undo").stdout
    assert [failure["code"] for failure in document["failures"]] == ["WrittenAgain"]
    assert admin.get_object(Bucket=bucket, Key=first)["Body"].read() == b"new"


def test_the_log_of_what_is_gone(client: MlflowClient, versioned: tuple[Any, str]) -> None:
    run_id = add_stored(client, versioned)
    (gc_id,) = json.loads(gc(*ALL, "--apply", "--yes", "--json").stdout)["outcome"]["gc_id"].split()
    shown = gc("log", gc_id)
    assert shown.exit_code == 0
    assert run_id in shown.stdout
    assert "Deleted: 2 keys" in shown.stdout
    told = json.loads(gc("log", gc_id, "--keys", "--json").stdout)
    assert [(item["id"], item["how"]) for item in told["items"]] == [(run_id, "done")]
    assert {key["what"] for key in told["keys"]} == {"deleted"}
    assert all(key["version_id"] for key in told["keys"])
    assert told["rows"]["runs"] == 1
    assert code(gc("undo", gc_id)) == 2
    assert code(gc("log", "20200101-000000-0000")) == 2


def test_every_refused_key_is_named(
    client: MlflowClient, versioned: tuple[Any, str], s3_server: S3Access, unique: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    _, bucket = versioned
    run_id = add_stored(client, versioned, 25)
    deny = {"Effect": "Deny", "Action": "s3:DeleteObjectVersion", "Resource": f"arn:aws:s3:::{bucket}/*"}
    use(s3_server, f"{unique}-2", monkeypatch, EVERYTHING, deny)
    done = gc(*ALL, "--apply", "--yes")
    assert done.exit_code == 1, done.output
    assert "25 refusals of 1 item" in done.stderr
    assert "and 5 more" in done.stdout
    assert "AccessDenied" in done.stdout
    assert run_ids(client) == {run_id}
    assert len(visible(versioned)) == 25
    told = json.loads(gc(*ALL, "--apply", "--yes", "--json").stdout)["outcome"]
    assert len(told["refused"][0]["failures"]) == 25
    lines = gc("log", told["gc_id"], "--keys").stdout.splitlines()
    assert len([line for line in lines if line.startswith("refused\t")]) >= 25


def test_keys_that_are_none(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_AWS_ACCESS_KEY_ID", "half")
    assert isinstance(gc(*ALL).exception, CredentialsError)


def test_another_clean_up_is_under_way(client: MlflowClient) -> None:
    from holdfast.maintenance.ledger import taken

    gone = add_run(client)
    with taken(Path(".holdfast/gc").resolve()):
        done = gc(*ALL, "--apply", "--yes")
        assert done.exit_code == 3
        assert "under way" in done.stderr
        assert gc(*ALL).exit_code == 0  # looking is always allowed
    assert run_ids(client) == {gone}
