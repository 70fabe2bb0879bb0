"""Lifecycle rules of a real server: planned, set, read back, and safe for registered models."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import mlflow
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.bucket import changing
from holdfast.bucket.arns import Place
from holdfast.bucket.changing import set_lifecycle
from holdfast.bucket.in_use import find_use
from holdfast.bucket.lifecycle import read_rule
from holdfast.bucket.lifecycle_plan import Wish, plan_rules
from holdfast.bucket.posture import Lifecycle, ask_whole_lifecycle
from holdfast.cli.app import app
from holdfast.errors import ArtifactError, HoldfastError, RegistryError
from holdfast.project import open_project
from holdfast.settings import Credentials
from holdfast.testing import Account
from holdfast.testing import S3Access as Server

THEIRS = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 1}}


@pytest.fixture
def bucket(unique: str) -> str:
    return f"b-{unique[-8:]}"


@pytest.fixture
def account(s3_server: Server, unique: str, bucket: str) -> Account:
    return s3_server.add_account(unique, [bucket])


@pytest.fixture(autouse=True)
def _project(
    s3_server: Server, account: Account, bucket: str, sqlite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "MLFLOW_AWS_ACCESS_KEY_ID": account.access_key_id,
        "MLFLOW_AWS_SECRET_ACCESS_KEY": account.secret_access_key,
        "MLFLOW_S3_ENDPOINT_URL": s3_server.endpoint_url,
        "MLFLOW_ARTIFACT_ROOT": f"s3://{bucket}/team",
        "MLFLOW_TRACKING_URI": sqlite_uri,
    }.items():
        monkeypatch.setenv(name, value)


def connect(server: Server, account: Account) -> S3Connection:
    secret = SecretStr(account.secret_access_key)
    credentials = Credentials("project", "test", account.access_key_id, secret, region="us-east-1")
    return S3Connection(S3Access(credentials, endpoint_url=server.endpoint_url, deadline_s=3.0))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["s3", "lifecycle", *arguments])


def document(*arguments: str) -> dict[str, Any]:
    done = run(*arguments, "--json")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def set_rules(server: Server, bucket: str, *rules: dict[str, Any]) -> None:
    server.client().put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": list(rules)})


def rules_of(server: Server, bucket: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.client().get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    return found


def test_what_is_wanted_is_applied_once(s3_server: Server, bucket: str) -> None:
    set_rules(s3_server, bucket, THEIRS)
    planned = document("apply", "--dry-run")
    assert (len(planned["changes"]), planned["applied"]) == (2, False)
    assert rules_of(s3_server, bucket) == [THEIRS]
    refused = run("apply")
    assert isinstance(refused.exception, HoldfastError)
    assert "--yes" in refused.exception.hint
    assert document("apply", "--yes")["applied"] is True
    there = rules_of(s3_server, bucket)
    assert there[0] == THEIRS
    assert [item["ID"] for item in there[1:]] == ["holdfast-abort-uploads:team/", "holdfast-old-versions:team/"]
    again = document("apply", "--yes")
    assert (again["changes"], again["applied"]) == ([], False)
    assert rules_of(s3_server, bucket) == there
    assert "as wanted already" in run("apply").stdout  # and nobody is asked
    changed = document("apply", "--yes", "--abort-days", "3")
    assert [text.split()[0] for text in changed["changes"]] == ["change"]


def test_rules_are_shown_as_people_read_them(s3_server: Server, bucket: str) -> None:
    assert "no lifecycle rules" in run("show").stdout
    deadly = {"ID": "all", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 90}}
    set_rules(s3_server, bucket, THEIRS, deadly)
    shown = document("show")
    assert [(rule["id"], rule["touches"]) for rule in shown["rules"]] == [("theirs", False), ("all", True)]
    assert shown["rules"][1]["does"] == ["deletes objects after 90 days"]
    assert any("rule all deletes files below team/" in text for text in shown["warnings"])
    table = run("show")
    assert "deletes objects after 90 days" in table.stdout
    assert "in force" in table.stdout
    assert "registered models too" in table.stderr


def test_files_of_registered_versions_stay_where_they_are(s3_server: Server, bucket: str) -> None:
    project = open_project()
    root = f"s3://{bucket}/team"
    for name in ("free", "by-address", "by-run", "by-model", "elsewhere"):
        location = f"{root}/{name}" if name != "elsewhere" else f"s3://{bucket}/other/{name}"
        project.runs.get_or_create_experiment(name, location)
    ids = {item.name: item.experiment_id for item in project.runs.experiments()}
    client = project.connection.client
    project.models.ensure_model("model")
    project.models.create_version("model", f"{root}/by-address/run/artifacts/model", await_s=0)
    run_id = client.create_run(ids["by-run"]).info.run_id
    project.models.create_version("model", f"{project.runs.get_run(run_id).artifact_uri}/model", run_id, await_s=0)
    mlflow.set_tracking_uri(project.settings.tracking_uri)  # where MLflow's registry looks for logged models
    logged = client.create_logged_model(ids["by-model"], "logged")
    client.finalize_logged_model(logged.model_id, "READY")
    project.models.create_version("model", f"models:/{logged.model_id}", model_id=logged.model_id, await_s=0)
    project.models.create_version("model", "models:/model/2", await_s=0)
    assert find_use(project, Place(bucket, "team")).unused == ("team/free/",)

    done = document("apply", "--yes", "--transition", "STANDARD_IA:30,GLACIER_IR:90")
    assert len(done["changes"]) == 3
    moved = [rule for rule in rules_of(s3_server, bucket) if "Transitions" in rule]
    assert [read_rule(rule).prefix for rule in moved] == ["team/free/"]
    assert {(move["StorageClass"], move["Days"]) for move in moved[0]["Transitions"]} == {
        *(("STANDARD_IA", 30), ("GLACIER_IR", 90))
    }
    assert document("apply", "--yes", "--transition", "GLACIER_IR:90,STANDARD_IA:30")["changes"] == []
    assert document("apply", "--yes")["changes"] == []  # a move that nobody takes back stays

    assert not any("registered since" in text for text in document("show")["warnings"])
    project.models.create_version("model", f"{root}/free/run/artifacts/model", await_s=0)
    shown = run("show")
    assert shown.exit_code == 0
    assert "rule holdfast-move:team/free/ moves files below team/free/ to STANDARD_IA after 30 days" in shown.stderr
    assert "registered since it was made: model version 5" in shown.stderr
    after = document("apply", "--yes")
    assert [text.split()[:2] for text in after["changes"]] == [["remove", "holdfast-move:team/free/:"]]


def test_where_a_version_lies_nobody_can_tell_nothing_moves(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    project = open_project()
    project.runs.get_or_create_experiment("free", f"s3://{bucket}/team/free")
    project.models.ensure_model("proxied")
    project.models.create_version("proxied", "mlflow-artifacts:/1/run/artifacts/model", await_s=0)
    with pytest.raises(RegistryError, match="proxied version 1"):
        document("apply", "--yes", "--transition", "STANDARD_IA:30")
    assert document("apply", "--yes")["applied"] is True  # what moves nothing needs not know
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", f"s3://{bucket}/team/free")
    assert find_use(open_project(), Place(bucket, "team")).in_use == ("team/free/1/run/artifacts/model",)


def test_what_goes_for_all_rules_stays(s3_server: Server, account: Account, bucket: str) -> None:
    s3_server.client().put_bucket_lifecycle_configuration(
        Bucket=bucket,
        LifecycleConfiguration={"Rules": [THEIRS]},
        TransitionDefaultMinimumObjectSize="varies_by_storage_class",
    )
    connection = connect(s3_server, account)
    seen: dict[str, str] = {}

    def note(params: dict[str, Any], **_: Any) -> None:
        seen.update(params["headers"])

    connection.client(bucket).meta.events.register_last("before-call.s3.PutBucketLifecycleConfiguration", note)
    before = ask_whole_lifecycle(connection, bucket).value or Lifecycle()
    # This server forgets it; AWS says it with every answer.
    before = replace(before, least_size="varies_by_storage_class")
    set_lifecycle(connection, bucket, plan_rules(before.rules, Wish("team/")), before)
    assert seen["x-amz-transition-default-minimum-object-size"] == "varies_by_storage_class"
    assert "Content-MD5" in seen


def test_a_server_that_keeps_something_else_is_told_of(
    s3_server: Server, account: Account, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changing, "_SETTLES_S", 0.3)
    # This server knows no number of old versions to keep, and takes the rule all the same.
    with pytest.raises(ArtifactError, match="has another one") as caught:
        document("apply", "--yes", "--keep-versions", "3")
    assert caught.value.code == "NotVerified"
    connection = connect(s3_server, s3_server.add_account(f"{account.name}-less", [bucket], ["s3:PutLifecycle*"]))
    plan = plan_rules((), Wish("other/"))
    with pytest.raises(ArtifactError, match="s3:PutLifecycleConfiguration"):
        set_lifecycle(connection, bucket, plan, Lifecycle())
