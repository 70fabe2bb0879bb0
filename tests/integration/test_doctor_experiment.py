"""The doctor's checks of where an experiment's files really go, and whether client and server agree on that."""

from __future__ import annotations

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
    assert_found(
        result, WARNING, "go to s3://old-bucket/runs, where it was created", "holdfast s3 migrate --to s3://old/runs"
    )
    result = result_of("config.experiment", settings | {"MLFLOW_ARTIFACT_ROOT": "s3://old-bucket/run"})
    assert result.finding.status is WARNING, "the border of a path counts"
    for root in ("s3://old-bucket", "s3://old-bucket/runs/"):
        assert_found(
            result_of("config.experiment", settings | {"MLFLOW_ARTIFACT_ROOT": root}), OK, "go to s3://old-b", ""
        )


def test_an_experiment_with_another_root_in_a_database(sqlite_uri: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(sqlite_path(sqlite_uri) or "")) as database:
        database.execute(
            "INSERT INTO experiments (name, artifact_location, lifecycle_stage) VALUES ('a', 'file:///old', 'active')"
        )
        database.commit()
    settings = uri(sqlite_uri, MLFLOW_EXPERIMENT_NAME="a", MLFLOW_ARTIFACT_ROOT=str(tmp_path / "new"))
    assert_found(result_of("config.experiment", settings), WARNING, "go to file:///old", "MLFLOW_EXPERIMENT_NAME")
    settings["MLFLOW_ARTIFACT_ROOT"] = "/old"
    assert_found(result_of("config.experiment", settings), OK, "go to file:///old", "")


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
        result = result_of("config.experiment", uri(url, MLFLOW_EXPERIMENT_NAME=unique))
        assert_found(result, FAILED, "which is not there on this one", "start the MLflow server with --serve-artifacts")
        result = result_of("config.experiment", uri(url, MLFLOW_EXPERIMENT_NAME=f"{unique}-here"))
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
