"""A training of BasketWorld whose files go to S3, a store that is away, and a disk that takes no more."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from holdfast.errors import HoldfastError, InvalidInputError
from holdfast.testing import FaultProxy, S3Access
from holdfast.tracking import MLflowTracker
from holdfast_examples.basketworld.learning import alternations, session
from holdfast_examples.basketworld.learning.alternations import Alternations
from holdfast_examples.basketworld.learning.session import train
from holdfast_examples.basketworld.play.checkpoints import list_policies
from holdfast_examples.basketworld.play.policy_files import read_policy

TINY: dict[str, Any] = {
    "alternations": 2,
    "n_envs": 8,
    "opponents": 4,
    "rollout": 8,
    "steps": 256,
    "batch": 64,
    "epochs": 1,
    "net_arch": (8,),
    "gif_every": 0,
    "save_every_s": 0,
}


@pytest.mark.timeout(120)
def test_a_store_that_is_away_costs_nothing(
    s3_server: S3Access, sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    account = s3_server.add_account("basketworld", ["basketworld-bucket"])
    with FaultProxy(s3_server.endpoint_url) as proxy:
        tracker = MLflowTracker(
            tracking_uri=sqlite_uri,
            artifact_uri="s3://basketworld-bucket/runs",
            s3_endpoint_url=proxy.url,
            s3_access_key_id=account.access_key_id,
            s3_secret_access_key=account.secret_access_key,
            experiment_name="basketworld-s3",
        )
        update = Alternations._update

        def fail(self: Alternations) -> None:
            if self.position.updates == 3:
                proxy.refuse()
            update(self)

        monkeypatch.setattr(Alternations, "_update", fail)
        made = train(tracker, TINY, tmp_path / "outputs")
        assert [(made.folder / f"models/unified_policy_alt_{n}.zip").exists() for n in range(3)] == [True] * 3
        proxy.pass_on()
        tracker.flush(60)
        policies = list_policies(tracker.settings, made.run_id)
        assert [one.alternation for one in policies] == [0, 1, 2]
        # On another machine: the state and the opponents come from the bucket.
        shutil.rmtree(tmp_path / "outputs")
        more = train(tracker, {"alternations": 3}, tmp_path / "outputs", resume=made.run_id)
        assert read_policy(more.policy(3)).alternation == 3
        assert (more.folder / "opponents/alternation_3.txt").exists()
    secret = account.secret_access_key.encode()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if secret in path.read_bytes()] == []


def test_a_full_disk_is_told_and_costs_what_came_after_the_last_state(
    sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = MLflowTracker(tracking_uri=sqlite_uri, artifact_uri=str(tmp_path / "store"), experiment_name="full")
    whole = alternations.save_state

    def save(folder: Path, updates: int, state: Any) -> Path:
        if updates > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(folder, updates, state)

    monkeypatch.setattr(alternations, "save_state", save)
    with pytest.raises(HoldfastError, match="No space left on device") as found:
        train(tracker, TINY, tmp_path / "outputs")
    assert "--resume last" in found.value.hint
    (run,) = MlflowClient(sqlite_uri).search_runs([tracker.experiment_id])
    assert run.info.status == "FAILED"
    monkeypatch.setattr(alternations, "save_state", whole)
    with monkeypatch.context() as patch:
        patch.setattr(session, "FORMAT", 99)
        with pytest.raises(InvalidInputError, match="another version"):
            train(tracker, {}, tmp_path / "outputs", resume="auto")
    made = train(tracker, {}, tmp_path / "outputs", resume="auto")
    assert (made.run_id, made.is_resumed) == (run.info.run_id, True)
    assert MlflowClient(sqlite_uri).get_run(made.run_id).info.status == "FINISHED"


def test_a_run_without_a_state_begins_anew_by_its_own_values_alone(
    sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = MLflowTracker(tracking_uri=sqlite_uri, artifact_uri=str(tmp_path / "store"), experiment_name="anew")

    def end(self: Alternations) -> None:
        raise RuntimeError("before the first state")

    begin = Alternations.begin
    monkeypatch.setattr(Alternations, "begin", end)
    with pytest.raises(RuntimeError):
        train(tracker, TINY, tmp_path / "outputs")
    monkeypatch.setattr(Alternations, "begin", begin)
    with pytest.raises(InvalidInputError, match=r"net_arch was \[8\] and not"):
        train(tracker, {}, tmp_path / "outputs", resume="auto")
    made = train(tracker, {**TINY}, tmp_path / "outputs", resume="auto")
    assert made.is_resumed
    assert made.policy(2).exists()
    with tracker.run("another") as other:
        tracker.log_params({"episodes": 64})
    with pytest.raises(InvalidInputError, match="no training of BasketWorld"):
        train(tracker, TINY, tmp_path / "outputs", resume=other)


def test_a_training_in_which_no_episode_ends(sqlite_uri: str, tmp_path: Path) -> None:
    tracker = MLflowTracker(tracking_uri=sqlite_uri, artifact_uri=str(tmp_path / "store"), experiment_name="short")
    keys = {**TINY, "alternations": 1, "n_envs": 2, "opponents": 1, "rollout": 2, "steps": 4, "batch": 2, "seed": 1}
    made = train(tracker, keys, tmp_path / "outputs")
    table = pd.read_csv(made.folder / "shot_logs/alternation_1/episodes.csv")
    metrics = MlflowClient(sqlite_uri).get_run(made.run_id).data.metrics
    assert list(table["role"]).count("offense") == metrics["Offense episodes"]
    assert {"role", "opponent", "ending", "points", "game", "length"} <= set(table.columns)
    assert metrics["Offense episodes"] == 0
