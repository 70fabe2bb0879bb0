"""`holdfast models drift` and `lineage`: what a person and a program see, and the exit codes."""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner, Result

from holdfast import MLflowTracker, open_project
from holdfast.cli import models_drift, models_lineage
from holdfast.cli.whole_file import write_whole
from holdfast.errors import ArtifactError, DataError, InvalidInputError, NotFoundError
from holdfast.testing import S3Access
from holdfast.tracking import git_state

APP = typer.Typer()
models_drift.add_to(APP)
models_lineage.add_to(APP)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(APP, list(arguments))


@pytest.fixture
def version(sqlite_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Version 1 of model `m`, whose run logged what it came from; its id."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri)
    for command in (
        ["init", "--quiet", "--initial-branch=trunk"],
        ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--quiet", "--allow-empty", "--message=first"],
    ):
        subprocess.run(["git", *command], check=True)
    Path("train.py").write_text("rate = 1\n")
    subprocess.run(["git", "add", "train.py"], check=True)
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=500), "<b>": rng.choice(["a", "b"], 500)})
    table.to_csv("same.csv", index=False)
    table.assign(x=table["x"] + 3).to_csv("moved.csv", index=False)
    tracker = MLflowTracker(experiment_name="evidence")
    with tracker.run() as run_id:
        tracker.log_reference(table)
        tracker.log_lineage(["same.csv"])
    register(run_id)
    yield run_id
    git_state._known.clear()


def register(run_id: str) -> None:
    project = open_project()
    project.models.ensure_model("m")
    project.models.create_version("m", project.runs.get_run(run_id).artifact_uri, run_id)


def test_drift_for_a_program(version: str) -> None:
    done = run("drift", "m", "1", "--current", "same.csv", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["passed"], found["drifted"], found["rows_reference"]) == (True, [], 500)
    done = run("drift", "m", "latest", "--current", "moved.csv", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["passed"], found["drifted"]) == (False, ["x"])
    assert found["columns"][0]["psi"] > 0.1
    assert run("drift", "m", "1", "--current", "moved.csv", "--max-drifted", "1").exit_code == 0
    assert run("drift", "m", "1", "--current", "moved.csv", "--column", "<b>").exit_code == 0


def test_drift_for_a_person(version: str) -> None:
    done = run("drift", "m", "1", "--current", "moved.csv", "--html", "report.html")
    assert done.exit_code == 1
    assert "1 column has drifted of 2 (500 new rows against 500" in done.stdout
    page = Path("report.html").read_text()
    assert "Drift of m version 1" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_drift_that_cannot_be_measured(version: str) -> None:
    for arguments, error, said in (
        (["1", "--current", "missing.csv"], DataError, "missing.csv cannot be read"),
        (["2", "--current", "same.csv"], NotFoundError, "2"),
        (["1", "--current", "same.csv", "--reference", "other.csv"], NotFoundError, "tracker.log_reference("),
        (["1", "--current", "same.csv", "--html", "no/such/folder.html"], InvalidInputError, "no folder no/such"),
        (["1", "--current", "same.csv", "--alpha", "2"], DataError, "alpha is 2"),
    ):
        done = run("drift", "m", *arguments)
        assert isinstance(done.exception, error), done.output
        assert said in str(done.exception)


def test_lineage_for_a_program_and_a_person(version: str) -> None:
    done = run("lineage", "m", "1", "--json", "--diff")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["run_id"], found["branch"], found["is_dirty"]) == (version, "trunk", True)
    assert found["data"]["same.csv"].startswith("sha256:")
    assert "+rate = 1" in found["diff"]
    assert found["missing"] == []
    shown = run("lineage", "m", "1").stdout
    for text in (version, found["commit"], "(trunk)", "see --diff", "data same.csv", "lineage/environment.txt"):
        assert text in shown
    assert "+rate = 1" in run("lineage", "m", "1", "--diff").stdout


def test_lineage_of_a_run_that_says_nothing(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    monkeypatch.chdir(bare)
    monkeypatch.setenv("MLFLOW_ARTIFACT_ROOT", str(tmp_path / "files"))
    with MLflowTracker(experiment_name="bare").run() as run_id:
        pass
    register(run_id)
    done = run("lineage", "m", "2")
    assert done.exit_code == 0
    assert "no commit: train inside a git repository" in done.stderr
    assert "no fingerprint of the data" in done.stderr
    assert isinstance(run("lineage", "m", "2", "--diff").exception, NotFoundError)


def test_lineage_of_a_run_in_a_repository_without_a_commit(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "new"
    bare.mkdir()
    monkeypatch.chdir(bare)
    subprocess.run(["git", "init", "--quiet", "--initial-branch=trunk"], check=True)
    monkeypatch.setenv("MLFLOW_ARTIFACT_ROOT", str(tmp_path / "files"))
    with MLflowTracker(experiment_name="bare").run() as run_id:
        pass
    register(run_id)
    done = run("lineage", "m", "2")
    assert done.exit_code == 0, done.output
    assert "no commit: the git repository had none yet; commit first" in done.stderr


def test_a_page_that_does_not_fit_leaves_the_one_before(version: str) -> None:
    Path("report.html").write_text("the one before")
    full = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, full[1]))
    try:
        with pytest.raises(ArtifactError, match=r"Cannot write report\.html: File too large"):
            write_whole(Path("report.html"), b"x" * 1000, "--html")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, full)
    assert Path("report.html").read_text() == "the one before"
    assert not list(Path().glob(".artifact*"))


def test_evidence_reaches_the_projects_bucket(
    s3_server: S3Access, sqlite_uri: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = unique.replace("_", "-")[-40:].strip("-")
    account = s3_server.add_account(unique, [bucket])
    for name, value in {
        "MLFLOW_TRACKING_URI": sqlite_uri,
        "MLFLOW_ARTIFACT_ROOT": f"s3://{bucket}/files",
        "MLFLOW_S3_ENDPOINT_URL": s3_server.endpoint_url,
        "MLFLOW_AWS_ACCESS_KEY_ID": account.access_key_id,
        "MLFLOW_AWS_SECRET_ACCESS_KEY": account.secret_access_key,
    }.items():
        monkeypatch.setenv(name, value)
    tracker = MLflowTracker(experiment_name="evidence")
    with tracker.run():
        tracker.log_scores("test/loss", [0.5] * 40)
        tracker.log_reference(pd.DataFrame({"x": [1.0]}))
        tracker.log_lineage()
    tracker.flush(60)
    keys = [item["Key"] for item in s3_server.client().list_objects_v2(Bucket=bucket)["Contents"]]
    names = {key.partition("/artifacts/")[2] for key in keys}
    assert names == {"scores/test-loss.csv", "reference.csv", "lineage/environment.txt"}
