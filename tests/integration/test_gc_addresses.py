"""Addresses on a disk that MLflow reads in another way than they are written: what it finds there is never garbage."""

from __future__ import annotations

from pathlib import Path

import pytest
from gc_calls import ALL, add_run, gc, run_ids, store_in
from mlflow import MlflowClient


@pytest.fixture
def client(sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return store_in(tmp_path, sqlite_uri, monkeypatch)


@pytest.mark.parametrize("location", ["{}/my%20exp", "file://{}/x#y", "file://{}/x?y=1", "{}/old/../up"])
def test_what_lives_there_stays_and_the_rest_goes(client: MlflowClient, tmp_path: Path, location: str) -> None:
    client.create_experiment("odd", artifact_location=location.format(tmp_path / "files"))
    (tmp_path / "files" / "old").mkdir(parents=True)
    gone, alive = add_run(client), add_run(client, "alive", "odd", is_deleted=False)
    deleted = add_run(client, "deleted", "odd")
    done = gc(*ALL, "--orphans", "--apply", "--yes")
    assert done.exit_code == 0
    assert "can be read in several ways" in done.stdout
    assert run_ids(client) == {alive, deleted}
    assert [file.path for file in client.list_artifacts(alive)] == ["a.txt"]
    assert [file.path for file in client.list_artifacts(deleted)] == ["a.txt"]
    assert not list((tmp_path / "files").rglob(f"{gone}/**/a.txt"))


def test_a_version_without_a_run_whose_source_is_escaped(client: MlflowClient, tmp_path: Path) -> None:
    client.create_experiment("spaced", artifact_location=f"file://{tmp_path}/files/a%20b")
    run_id = add_run(client, "champion", "spaced", is_deleted=False)
    client.create_registered_model("fraud")
    client.create_model_version("fraud", f"{tmp_path}/files/a%20b/{run_id}/artifacts")
    client.delete_run(run_id)
    done = gc(*ALL, "--apply", "--yes")
    assert "fraud version 1" in done.stdout
    assert run_ids(client) == {run_id}
    assert (tmp_path / "files" / "a b" / run_id / "artifacts" / "a.txt").exists()
