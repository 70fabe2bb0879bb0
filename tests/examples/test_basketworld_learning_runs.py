"""Whole trainings of BasketWorld: what a run holds, kills and signals, other resumers, outages."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient

from holdfast.errors import InvalidInputError, RunStateError
from holdfast.lifecycle import Terminated
from holdfast.server import ServerOptions
from holdfast.testing import FaultProxy, LocalMlflowServer
from holdfast.tracking import MLflowTracker
from holdfast.training.resume import owned
from holdfast_examples.basketworld.learning.alternations import Alternations
from holdfast_examples.basketworld.learning.session import Trained, train
from holdfast_examples.basketworld.play.policy_files import read_policy

# Four updates an alternation.
TINY: dict[str, Any] = {
    "alternations": 3,
    "n_envs": 16,
    "opponents": 4,
    "rollout": 8,
    "steps": 512,
    "batch": 64,
    "epochs": 2,
    "net_arch": (16,),
    "gif_every": 0,
    "save_every_s": 0,
}
CHILD = """
import os, signal, sys
from pathlib import Path
from holdfast.tracking import MLflowTracker
from holdfast_examples.basketworld.learning.alternations import Alternations
from holdfast_examples.basketworld.learning.session import train
update = Alternations._update
def update_or_die(self):
    if self.position.updates == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    update(self)
Alternations._update = update_or_die
tracker = MLflowTracker(tracking_uri=sys.argv[1], artifact_uri=sys.argv[2], experiment_name="basketworld")
train(tracker, eval(sys.argv[3]), Path("outputs"))
"""


def tracker_of(uri: str) -> MLflowTracker:
    return MLflowTracker(tracking_uri=uri, artifact_uri=str(Path("artifacts").resolve()), experiment_name="basketworld")


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Return everything that a policy's file has learnt: both networks, and the optimizer's moments."""
    with zipfile.ZipFile(path) as archive:
        policy = torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)
        optimizer = torch.load(io.BytesIO(archive.read("policy.optimizer.pth")), weights_only=True)
    moments = {f"{key}.{name}": value for key, one in optimizer["state"].items() for name, value in one.items()}
    return {**policy, **moments}


def check_same(made: Trained, whole: Trained) -> None:
    """Check that a training that was interrupted ended as one that was not, to the last bit."""
    for alternation in range(4):
        mine, theirs = weights(made.policy(alternation)), weights(whole.policy(alternation))
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    for name in [f"opponents/alternation_{n}.txt" for n in (1, 2, 3)] + ["shot_logs/alternation_3/episodes.csv"]:
        assert (made.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def history(client: MlflowClient, made: Trained, key: str) -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in client.get_metric_history(made.run_id, key)]


def check_metrics(uri: str, made: Trained, whole: Trained) -> None:
    """Check that each metric is there once a step, with the same values."""
    client = MlflowClient(uri)
    for key in client.get_run(whole.run_id).data.metrics:
        if key == "steps_per_s":
            continue
        mine, theirs = (
            [(m.step, m.value) for m in client.get_metric_history(one.run_id, key)] for one in (made, whole)
        )
        assert mine == theirs, key


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Path:
    """A folder with a database."""
    folder = tmp_path_factory.mktemp("basketworld")
    shutil.copyfile(sqlite_template, folder / "mlflow.db")
    return folder


@pytest.fixture
def uri(base: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The database that the tests of this file share; they run in its folder."""
    monkeypatch.chdir(base)
    return f"sqlite:///{base / 'mlflow.db'}"


_whole: list[Trained] = []


@pytest.fixture
def whole(uri: str, base: Path) -> Trained:
    """A training that nobody interrupted."""
    if not _whole:
        _whole.append(train(tracker_of(uri), {**TINY, "gif_every": 3}, base / "whole"))
    return _whole[0]


@pytest.fixture
def at_update(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Do something before an update of a training, counted from its very beginning."""

    def plan(number: int, what: Callable[[], None]) -> None:
        update = Alternations._update

        def first(self: Alternations) -> None:
            if self.position.updates == number:
                what()
            update(self)

        monkeypatch.setattr(Alternations, "_update", first)

    return plan


def test_what_a_run_holds(uri: str, whole: Trained) -> None:
    client = MlflowClient(uri)
    run = client.get_run(whole.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["gamma"] == run.data.params["ppo/gamma"] == "1.0"
    assert {name.split()[0] for name in run.data.metrics if " ppp" in name} == {"Offense", "Defense"}
    for name in (
        "mean_reward",
        "length",
        "shot_share_2",
        "assist_share",
        "passes",
        "turnovers_clock",
        "ppp",
        "entropy",
    ):
        assert f"Offense {name}" in run.data.metrics, name
    found = {folder: {Path(one.path).name for one in client.list_artifacts(whole.run_id, folder)} for folder in
             ("models", "opponents", "shot_logs", "training_eval", "checkpoints")}  # fmt: skip
    assert found["models"] == {f"unified_policy_alt_{n}.zip" for n in range(4)}
    assert found["opponents"] == {f"alternation_{n}.txt" for n in (1, 2, 3)}
    assert found["shot_logs"] == {f"alternation_{n}" for n in (1, 2, 3)}
    assert found["training_eval"] == {"alternation_3.gif"}
    assert len(found["checkpoints"]) == 1
    table = pd.read_csv(whole.folder / "shot_logs/alternation_2/episodes.csv")
    assert set(table["role"]) == {"offense", "defense"}
    assert set(table["opponent"]) <= {0, 1}
    sides = np.where(table["role"] == "offense", 1, -1)
    worth = sides * table["chance"].fillna(0) * np.where(table["attempt"] == 3, 3, 2)
    assert table["reward"].tolist() == pytest.approx(worth.tolist(), abs=1e-4)
    assert read_policy(whole.policy(0)).rules.gamma == 1.0


def test_the_learner_differs_by_seed_alone(uri: str, whole: Trained, base: Path) -> None:
    again = train(tracker_of(uri), {**TINY, "gif_every": 3}, base / "again")
    check_same(again, whole)
    other = train(tracker_of(uri), {**TINY, "alternations": 1, "seed": 2}, base / "other")
    assert not np.array_equal(read_policy(other.policy(0)).layers[0][0], read_policy(whole.policy(0)).layers[0][0])


def test_a_killed_training_goes_on_to_the_same_weights(uri: str, whole: Trained, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", CHILD, uri, str(Path("artifacts").resolve()), repr(TINY)]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, env=child_environment(), check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    os.chdir(tmp_path)  # where the journal of the killed process lies
    made = train(tracker_of(uri), TINY, tmp_path / "outputs", resume="auto")
    assert made.is_resumed
    check_same(made, whole)
    check_metrics(uri, made, whole)


def child_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}


def test_a_signal_saves_the_state_amid_an_alternation(
    uri: str, whole: Trained, tmp_path: Path, at_update: Callable[[int, Callable[[], None]], None]
) -> None:
    at_update(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Terminated):
        train(tracker_of(uri), TINY, tmp_path)
    (folder,) = [one for one in tmp_path.iterdir() if one.is_dir() and (one / "models").exists()]
    assert MlflowClient(uri).get_run(folder.name).info.status == "KILLED"
    assert (folder / next(one.name for one in folder.glob("training-0000007-*.state"))).exists()
    at_update(-1, lambda: None)
    # Another process trains it now.
    with owned(folder, folder.name), pytest.raises(RunStateError, match="another process"):
        train(tracker_of(uri), TINY, tmp_path, resume=folder.name)
    # What cannot change is refused, and the run stays as it was.
    with pytest.raises(InvalidInputError, match="n_envs is 16 and not 32"):
        train(tracker_of(uri), {"n_envs": 32}, tmp_path, resume="auto")
    assert MlflowClient(uri).get_run(folder.name).info.status == "KILLED"
    # The folder is gone: state and opponents come from the artifact store.
    shutil.rmtree(folder)
    made = train(tracker_of(uri), {}, tmp_path, resume=folder.name)
    for alternation in (2, 3):
        mine, theirs = weights(made.policy(alternation)), weights(whole.policy(alternation))
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert MlflowClient(uri).get_run(folder.name).info.status == "FINISHED"
    check_metrics(uri, made, whole)


def test_a_finished_run_goes_on_with_more_alternations(uri: str, whole: Trained, base: Path, tmp_path: Path) -> None:
    made = train(tracker_of(uri), {**TINY, "alternations": 1}, tmp_path)
    more = train(tracker_of(uri), {"alternations": 2}, tmp_path, resume=made.run_id)
    assert more.policy(2).exists()
    run = MlflowClient(uri).get_run(made.run_id)
    assert run.data.tags["holdfast.training.changed_params"] == "alternations=2"
    assert run.data.metrics["learning_rate"] == pytest.approx(5e-5)
    with pytest.raises(InvalidInputError, match="2 alternations behind it, and is to end with alternation 1"):
        train(tracker_of(uri), {"alternations": 1}, tmp_path, resume=made.run_id)


def test_an_outage_costs_nothing(
    sqlite_uri: str, tmp_path: Path, at_update: Callable[[int, Callable[[], None]], None]
) -> None:
    options = ServerOptions(sqlite_uri, artifacts_destination=str(tmp_path / "served"), port=0)
    with LocalMlflowServer(options) as server, FaultProxy(server.url) as proxy:
        tracker = MLflowTracker(tracking_uri=proxy.url, experiment_name="basketworld")
        at_update(5, proxy.refuse)
        began_s = time.monotonic()
        made = train(tracker, {**TINY, "gif_every": 3}, tmp_path / "outputs")
        assert time.monotonic() - began_s < 60
        client = MlflowClient(server.url)
        assert client.get_run(made.run_id).info.status == "RUNNING"
        proxy.pass_on()
        tracker.flush(60)
        run = client.get_run(made.run_id)
        assert run.info.status == "FINISHED"
        assert [one.step for one in client.get_metric_history(made.run_id, "Defense ppp")] == [1, 2, 3]
        for alternation in range(4):
            got = Path(client.download_artifacts(made.run_id, f"models/unified_policy_alt_{alternation}.zip"))
            assert got.read_bytes() == made.policy(alternation).read_bytes()
        for name in ("training_eval/alternation_3.gif", "shot_logs/alternation_2/episodes.csv"):
            assert client.list_artifacts(made.run_id, name.split("/")[0])
            got = Path(client.download_artifacts(made.run_id, name))
            assert got.read_bytes() == (made.folder / name).read_bytes()
