"""The doctor's checks of where an experiment's files really go, and whether client and server agree on that."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from relaying import assert_found, relaying, result_of

from holdfast.backend.rest_sender import RestSender
from holdfast.core.uris import sqlite_path
from holdfast.doctor.check import Result, Status
from holdfast.server.ports import free_port
from holdfast.testing.fixtures import RunningMlflow
from holdfast.testing.s3 import S3Access

OK, WARNING, FAILED, SKIPPED = Status.OK, Status.WARNING, Status.FAILED, Status.SKIPPED


def uri(address: str, **settings: str) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": address, **settings}


# -- where files go -------------------------------------------------------------------------


def make(server: RunningMlflow, name: str, location: str) -> dict[str, str]:
    """Make an experiment; return the settings for it."""
    RestSender(server.url).create_experiment(name, location, {})
    return uri(server.url, MLFLOW_EXPERIMENT_NAME=name)


def test_an_experiment_with_another_root(mlflow_server: RunningMlflow, unique: str) -> None:
    settings = make(mlflow_server, unique, "s3://old-bucket/runs") | {"MLFLOW_ARTIFACT_ROOT": "s3://old/runs"}
    result = result_of("config.experiment", settings)
    command = f"`holdfast s3 migrate --from s3://old-bucket --to s3://old/runs --experiment {unique}`, with MLFLOW_BACK"
    assert_found(result, WARNING, "go to s3://old-bucket/runs, where it was created", command)
    result = result_of("config.experiment", settings | {"MLFLOW_ARTIFACT_ROOT": "s3://old-bucket/run"})
    assert result.finding.status is WARNING, "the border of a path counts"
    for root in ("s3://old-bucket", "s3://old-bucket/runs/"):
        assert_found(
            result_of("config.experiment", settings | {"MLFLOW_ARTIFACT_ROOT": root}), OK, "go to s3://old-b", ""
        )


def test_an_experiment_with_another_root_in_a_database(sqlite_uri: str, tmp_path: Path) -> None:
    old, new = tmp_path / "old root", tmp_path / "new"
    fill(sqlite_uri, {"my exp": f"{old.as_uri()}/1"}, {})
    settings = uri(sqlite_uri, MLFLOW_EXPERIMENT_NAME="my exp", MLFLOW_ARTIFACT_ROOT=str(new))
    command = f"`holdfast s3 migrate --from '{old}' --to {new} --experiment 'my exp'`"
    assert_found(result_of("config.experiment", settings), WARNING, f"go to {old.as_uri()}/1", command)
    settings["MLFLOW_ARTIFACT_ROOT"] = str(old)
    assert_found(result_of("config.experiment", settings), OK, f"go to {old.as_uri()}/1", "")


def test_files_that_only_the_server_could_move(mlflow_server: RunningMlflow, unique: str) -> None:
    settings = make(mlflow_server, unique, "mlflow-artifacts:/x") | {"MLFLOW_ARTIFACT_ROOT": "s3://new/runs"}
    result = result_of("config.experiment", settings)
    assert_found(result, WARNING, "go to mlflow-artifacts:/x, where it was created", "MLFLOW_EXPERIMENT_NAME")
    assert "migrate" not in result.finding.remedy


@pytest.mark.parametrize(("location", "remedy"), [("s3a://b/x", "=s3://b/x"), ("nosuch://b/x", "the package that")])
def test_an_experiment_in_a_store_that_mlflow_does_not_know(sqlite_uri: str, location: str, remedy: str) -> None:
    fill(sqlite_uri, {"far": location}, {})
    result = result_of("config.experiment", uri(sqlite_uri, MLFLOW_EXPERIMENT_NAME="far"))
    assert_found(result, FAILED, location, remedy)


def test_a_folder_that_cannot_be_written(mlflow_server: RunningMlflow, sqlite_uri: str, unique: str) -> None:
    settings = make(mlflow_server, unique, "/proc/nothere/x")
    for check in ("config.experiment", "config.agreement"):
        result = result_of(check, settings)
        assert_found(result, FAILED, "this client cannot write to /proc", "set another MLFLOW_EXPERIMENT_NAME")
    fill(sqlite_uri, {"far": "/proc/nothere/x"}, {})
    result = result_of("config.experiment", uri(sqlite_uri, MLFLOW_EXPERIMENT_NAME="far"))
    assert_found(result, FAILED, "this client cannot write to /proc", "make /proc writable")


def test_a_deleted_experiment(mlflow_server: RunningMlflow, unique: str) -> None:
    from holdfast.backend.run_probe import ProbeSender

    settings = make(mlflow_server, unique, "mlflow-artifacts:/x")
    sender = ProbeSender(mlflow_server.url)
    found = sender.find_experiment(unique)
    assert found is not None
    sender.delete_experiment(found.experiment_id)
    remedy = f"mlflow experiments restore --experiment-id {found.experiment_id}"
    assert_found(result_of("config.experiment", settings), FAILED, f"experiment '{unique}' is deleted", remedy)


def own_address() -> str:
    """Return an address of this machine that is not the loopback, or skip the test."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
            address: str = probe.getsockname()[0]
        except OSError:
            address = "127.0.0.1"
    if address.startswith("127."):
        pytest.skip("this machine has no address but the loopback")
    return address


def test_files_in_a_folder_of_the_servers_machine(mlflow_server: RunningMlflow, unique: str, tmp_path: Path) -> None:
    make(mlflow_server, unique, "/srv/of-the-server/artifacts")
    make(mlflow_server, f"{unique}-here", tmp_path.as_uri())
    with relaying(mlflow_server.url, lambda *_: None, own_address()) as url:
        for check in ("config.experiment", "config.agreement"):
            result = result_of(check, uri(url, MLFLOW_EXPERIMENT_NAME=unique))
            assert_found(result, FAILED, "which is not there on this one", "start the MLflow server with --serve-art")
            result = result_of(check, uri(url, MLFLOW_EXPERIMENT_NAME=f"{unique}-here"))
            assert_found(result, WARNING, "must be the same here and on the server's machine", "findmnt -T")


def test_client_and_server_that_mean_different_stores(mlflow_server: RunningMlflow, unique: str) -> None:
    settings = make(mlflow_server, unique, "mlflow-artifacts:/here") | {"MLFLOW_ARTIFACT_ROOT": "s3://bucket/x"}
    result = result_of("config.agreement", settings)
    assert_found(result, WARNING, "files go through the server", "set another MLFLOW_EXPERIMENT_NAME")


def test_a_bucket_that_this_client_has_no_keys_for(
    mlflow_server: RunningMlflow, s3_server: S3Access, unique: str, canary: str
) -> None:
    settings = make(mlflow_server, unique, "s3://of-the-server/x") | {"MLFLOW_S3_ENDPOINT_URL": s3_server.endpoint_url}
    result = result_of("config.agreement", settings)
    assert_found(result, FAILED, "straight from this client, whose keys do not get there", "MLFLOW_AWS_ACCESS_KEY_ID")
    keys = {"MLFLOW_AWS_ACCESS_KEY_ID": "AKIAUNKNOWN123456", "MLFLOW_AWS_SECRET_ACCESS_KEY": canary}
    result = result_of("config.agreement", settings | keys)
    assert_found(result, FAILED, "s3://of-the-server/x", "--artifacts-destination")
    assert canary not in str(result)


def test_a_registry_of_its_own(mlflow_server: RunningMlflow, sqlite_uri: str) -> None:
    settings = uri(mlflow_server.url, MLFLOW_REGISTRY_URI=sqlite_uri)
    assert_found(
        result_of("config.agreement", settings), WARNING, "models are registered at", "unset MLFLOW_REGISTRY_URI"
    )
    gone = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    result: Result = result_of("config.agreement", uri(mlflow_server.url, MLFLOW_REGISTRY_URI=gone))
    assert_found(result, FAILED, f"Nobody listens at {gone}", "correct host and port in MLFLOW_REGISTRY_URI")


# -- all experiments and versions -----------------------------------------------------------


def keys(server: S3Access, unique: str, buckets: list[str]) -> dict[str, str]:
    account = server.add_account(unique, buckets)
    return {
        "MLFLOW_S3_ENDPOINT_URL": server.endpoint_url,
        "MLFLOW_AWS_ACCESS_KEY_ID": account.access_key_id,
        "MLFLOW_AWS_SECRET_ACCESS_KEY": account.secret_access_key,
        "MLFLOW_AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_ARTIFACT_ROOT": f"s3://{buckets[0]}/root",
    }


def fill(sqlite_uri: str, experiments: dict[str, str], versions: dict[str, str]) -> None:
    """Write experiments and registered versions with their locations into a database."""
    with closing(sqlite3.connect(sqlite_path(sqlite_uri) or "")) as database:
        for name, location in experiments.items():
            row = "INSERT INTO experiments (name, artifact_location, lifecycle_stage) VALUES (?, ?, 'active')"
            database.execute(row, (name, location))
        for name, source in versions.items():
            database.execute("INSERT INTO registered_models (name) VALUES (?)", (name,))
            database.execute("INSERT INTO model_versions (name, version, source) VALUES (?, 1, ?)", (name, source))
        database.commit()


def test_places_that_the_projects_keys_do_not_reach(
    sqlite_uri: str, s3_server: S3Access, unique: str, tmp_path: Path
) -> None:
    own, other = f"own-{unique[-8:]}", f"other-{unique[-8:]}"
    settings = uri(sqlite_uri, **keys(s3_server, unique, [own]))
    s3_server.add_account(f"{unique}-other", [other])
    (tmp_path / "made").mkdir()
    fill(
        sqlite_uri,
        {"here": f"s3://{own}/else/here", "made": str(tmp_path / "made"), "not yet": str(tmp_path / "not yet")},
        {"by id": "models:/m-1234", "own": f"s3://{own}/root/x", "local": (tmp_path / "made").as_uri()},
    )
    result = result_of("config.locations", settings)
    assert_found(result, OK, "3 experiments, 2 registered versions: none of their places is out of reach", "")
    assert "1 experiment ('not yet') in folders that are not there, or not yet" in result.finding.found
    fill(
        sqlite_uri,
        {"moved": f"s3://{other}/a/moved", "also": f"s3://{other}/b"},
        {"digits": f"s3://{other}/a/moved/model", "lost": str(tmp_path / "gone" / "model")},
    )
    result = result_of("config.locations", settings)
    said = f"2 experiments and 1 registered version ('digits version 1', 'also', 'moved') in s3://{other}, which this"
    assert_found(result, WARNING, said, f"holdfast s3 policy --role reader s3://{other}/b")
    assert_found(result, WARNING, "AccessDenied", "the keys and the endpoint of")
    assert_found(result, WARNING, "1 registered version ('lost version 1') in folders that are not", "delete_model_ver")
    assert settings["MLFLOW_AWS_SECRET_ACCESS_KEY"] not in str(result)
    registry = settings | {"MLFLOW_REGISTRY_URI": f"sqlite:///{tmp_path}/registry.db"}
    shutil.copy(sqlite_path(sqlite_uri) or "", tmp_path / "registry.db")
    with closing(sqlite3.connect(tmp_path / "registry.db")) as database:
        database.execute("DELETE FROM model_versions WHERE name != 'lost'")
        database.commit()
    result = result_of("config.locations", registry)
    assert result.finding.details["versions"] == 1, result.finding


def test_a_shared_store_holds_other_projects_places(
    mlflow_server: RunningMlflow, s3_server: S3Access, unique: str, tmp_path: Path
) -> None:
    own, other = f"own-{unique[-8:]}", f"other-{unique[-8:]}"
    settings = make(mlflow_server, unique, f"s3://{own}/root/x") | keys(s3_server, unique, [own])
    s3_server.add_account(f"{unique}-other", [other])
    make(mlflow_server, f"{unique}-theirs", f"s3://{other}/root/x")
    project = tmp_path / "project"
    (project / ".holdfast" / "migrations" / "one").mkdir(parents=True)
    (project / "pyproject.toml").touch()
    result = result_of("config.locations", settings, project)
    assert_found(result, OK, f"in s3://{other}, which these keys do not reach, perhaps of another project", "")
    ledger = project / ".holdfast" / "migrations" / "one" / "ledger.jsonl"
    ledger.write_text(json.dumps({"is": "migration", "to": f"s3://{other}/root"}) + "\n")
    result = result_of("config.locations", settings, project)
    assert_found(result, WARNING, f"('{unique}-theirs') in s3://{other}", "of its --to-env")


def test_servers_that_do_not_answer_are_not_blamed(sqlite_uri: str, unique: str) -> None:
    fill(sqlite_uri, {"away": f"s3://away-{unique[-8:]}/x"}, {})
    nobody = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    settings = uri(sqlite_uri, MLFLOW_S3_ENDPOINT_URL=nobody, MLFLOW_AWS_ACCESS_KEY_ID="AKIAUNKNOWN123456")
    settings["MLFLOW_AWS_SECRET_ACCESS_KEY"] = "no-secret-at-all-here"
    assert_found(result_of("config.locations", settings), SKIPPED, "gives no answer", "")
