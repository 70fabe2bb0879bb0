"""`holdfast files`, and what the tracker does about one file while another is stuck."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holdfast import MLflowTracker
from holdfast.artifacts.store import check_path, folder_sources
from holdfast.cli.app import app
from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.testing import Account, FaultProxy, S3Access


@pytest.fixture
def bucket(unique: str) -> str:
    return unique.replace("_", "-")[-40:].strip("-")


@pytest.fixture
def account(s3_server: S3Access, unique: str, bucket: str) -> Account:
    return s3_server.add_account(unique, [bucket])


def settings(endpoint: str, account: Account, bucket: str, tracking_uri: str = "") -> None:
    Path(".env").write_text(
        f"MLFLOW_AWS_ACCESS_KEY_ID={account.access_key_id}\nMLFLOW_AWS_SECRET_ACCESS_KEY={account.secret_access_key}\n"
        f"MLFLOW_S3_ENDPOINT_URL={endpoint}\nMLFLOW_ARTIFACT_ROOT=s3://{bucket}/root\n"
        + (f"MLFLOW_TRACKING_URI={tracking_uri}\n" if tracking_uri else "")
    )


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["files", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_files_of_a_run_are_put_listed_and_fetched(
    s3_server: S3Access, account: Account, bucket: str, sqlite_uri: str, tmp_path: Path
) -> None:
    settings(s3_server.endpoint_url, account, bucket, sqlite_uri)
    folder = tmp_path / "plots"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "deep" / "b.txt").write_text("bb")
    with MLflowTracker(experiment_name="cli").run() as run_id:
        pass
    assert json.loads(run("put", run_id, str(folder), "--to", "plots", "--json")) == {
        "files": 2,
        "sent_bytes": 3,
        "unchanged": 0,
    }
    assert "2 of them unchanged" in run("put", run_id, str(folder), "--to", "plots")
    assert json.loads(run("list", run_id, "plots", "--json")) == [
        {"path": "plots/a.txt", "is_dir": False, "size_bytes": 1},
        {"path": "plots/deep", "is_dir": True, "size_bytes": None},
    ]
    assert "plots/deep/" in run("list", run_id, "plots")
    run("get", run_id, "plots", "--into", str(tmp_path / "back"))
    assert (tmp_path / "back" / "plots" / "deep" / "b.txt").read_text() == "bb"
    with pytest.raises(NotFoundError, match="no folder elsewhere"):
        run("list", run_id, "elsewhere")


def test_an_address_needs_no_tracking_store(s3_server: S3Access, account: Account, bucket: str, tmp_path: Path) -> None:
    settings(s3_server.endpoint_url, account, bucket)
    (tmp_path / "f.txt").write_text("x")
    run("put", f"s3://{bucket}/anywhere", str(tmp_path / "f.txt"))
    assert "f.txt" in run("list", f"s3://{bucket}/anywhere")
    run("get", f"s3://{bucket}/anywhere", "f.txt", "--into", str(tmp_path / "back"))
    assert (tmp_path / "back" / "f.txt").read_text() == "x"
    assert not Path("mlflow.db").exists()


def test_one_stuck_file_holds_up_no_other_one(
    s3_server: S3Access,
    account: Account,
    bucket: str,
    sqlite_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOLDFAST_SHIPPER", "none")  # what is handed over stays where it is
    monkeypatch.setenv("HOLDFAST_READ_WAIT", "0.2")
    settings(s3_server.endpoint_url, account, bucket, sqlite_uri)
    (tmp_path / "stuck").write_text("1")
    (tmp_path / "good").write_text("2")
    tracker = MLflowTracker(experiment_name="stuck")
    with tracker.run() as run_id:
        tracker.log_artifact(tmp_path / "stuck", wait=False)
        tracker.log_artifact(tmp_path / "good", wait=True)
        assert "good" in run("list", run_id, "artifacts")
        with pytest.raises(Exception, match="An earlier artifacts/stuck"):
            tracker.log_artifact(tmp_path / "stuck", wait=True)


def test_registering_waits_for_the_files_of_a_process_that_is_gone(
    s3_server: S3Access, account: Account, bucket: str, sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast import ModelRegistry, open_project
    from holdfast.delivery.delivery import close_deliveries
    from holdfast.errors import DeliveryError

    model = tmp_path / "model"
    model.mkdir()
    (model / "MLmodel").write_text("flavors: {}\n")
    monkeypatch.setenv("HOLDFAST_TRANSFER_DEADLINE", "1")
    with FaultProxy(s3_server.endpoint_url) as proxy:
        settings(proxy.url, account, bucket, sqlite_uri)
        tracker = MLflowTracker(experiment_name="model")
        with tracker.run() as run_id:
            proxy.refuse()
            tracker.log_artifacts_dir(model, "model", wait=False)
        close_deliveries()  # as at the end of the process that trained
        registry = ModelRegistry(open_project())
        monkeypatch.setenv("HOLDFAST_READ_WAIT", "0.5")
        with pytest.raises(DeliveryError, match=run_id):
            ModelRegistry(open_project()).register("m", f"runs:/{run_id}/model")
        proxy.pass_on()
        assert registry.register("m", f"runs:/{run_id}/model").version == 1


@pytest.mark.parametrize("path", ["n/colon:.txt", "colon:.txt", "..txt", "...", "a\\b", "C:"])
def test_a_letter_is_a_letter(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize("path", ["/etc/passwd", "..", "../x", "a/../../x", "s3://bucket/x", "file:///etc"])
def test_what_leads_out_is_refused(path: str) -> None:
    with pytest.raises(InvalidInputError):
        check_path(path)


def test_links_to_folders_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    assert folder_sources(tmp_path / "in") == []
    assert "not followed" in caplog.text
