"""What Stable-Baselines3 trains, logged by its callback and its logger, with a real algorithm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import CallbackList, ConvertCallback
from stable_baselines3.common.logger import Figure, HParam, Image, Video

from holdfast import MLflowTracker
from holdfast.errors import InvalidInputError
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow
from holdfast.training.integrations.stable_baselines3 import (
    HoldfastCallback,
    KeptCheckpoints,
    MLflowOutputFormat,
    configure_logger,
)


@pytest.fixture
def tracker(sqlite_uri: str) -> MLflowTracker:
    return MLflowTracker(sqlite_uri, experiment_name="reinforcement")


def algorithm(**options: Any) -> A2C:
    kept = {"policy_kwargs": {"net_arch": [4]}, "n_steps": 8, "device": "cpu", "seed": 0, "verbose": 0}
    return A2C("MlpPolicy", "CartPole-v1", **(kept | options))


def steps(tracker: MLflowTracker, run_id: str, name: str) -> list[int]:
    tracker.flush(60)
    return [point.step for point in tracker.client.get_metric_history(run_id, name)]


def names(tracker: MLflowTracker, run_id: str, folder: str) -> set[str]:
    tracker.flush(60)
    return {item.path.rpartition("/")[2] for item in tracker.client.list_artifacts(run_id, folder)}


def test_a_training(tracker: MLflowTracker) -> None:
    model = algorithm(learning_rate=lambda left: 0.001 * left)
    with tracker.run() as run_id:
        model.learn(96, HoldfastCallback(tracker, checkpoint_every=16, keep_last=2), log_interval=4)
    assert steps(tracker, run_id, "train/value_loss") == [32, 64, 96]
    found = tracker.get_run_info(run_id)
    assert found["params"] | {"algorithm": "A2C", "n_steps": "8", "gamma": "0.99"} == found["params"]
    assert found["params"]["learning_rate"] == "0.001 to 0"
    assert json.loads(found["params"]["policy_kwargs"])["net_arch"] == [4]
    best = found["tags"]["holdfast.checkpoint.best"]
    assert names(tracker, run_id, "checkpoints") == {"model-000000080.zip", "model-000000096.zip", best}
    loaded = A2C.load(Path(tracker.client.download_artifacts(run_id, "model/model.zip")), device="cpu")
    at = np.array([0.1, 0.2, 0.0, -0.1], dtype=np.float32)
    np.testing.assert_array_equal(
        loaded.policy.predict_values(torch.tensor(at[None])).detach(),
        model.policy.predict_values(torch.tensor(at[None])).detach(),
    )


def test_it_goes_on_in_a_run_of_its_own(tracker: MLflowTracker) -> None:
    model = algorithm()
    callback = HoldfastCallback(tracker, log_model=False)
    model.learn(16, callback, log_interval=1)
    model.learn(16, callback, log_interval=1, reset_num_timesteps=False)
    assert tracker.run_id is None
    tracker.flush(60)
    second, first = tracker.client.search_runs([tracker.experiment_id])
    assert steps(tracker, first.info.run_id, "time/fps") == [8, 16]
    assert steps(tracker, second.info.run_id, "time/fps") == [24, 32]
    assert {first.info.status, second.info.status} == {"FINISHED"}


def test_a_training_that_breaks(tracker: MLflowTracker) -> None:
    """Its run is FAILED when the same model learns again, in a run of its own."""

    def breaks(known: dict[str, Any], _: dict[str, Any]) -> bool:
        return bool(known["self"].num_timesteps / (known["self"].num_timesteps != 4))

    model, ours = algorithm(), HoldfastCallback(tracker, log_model=False)
    with pytest.raises(ZeroDivisionError):
        model.learn(8, CallbackList([ours, ConvertCallback(breaks)]))
    model.learn(8, ours)
    assert tracker.run_id is None
    tracker.flush(60)
    found = [run.info.status for run in tracker.client.search_runs([tracker.experiment_id])]
    assert found == ["FINISHED", "FAILED"]


def test_what_is_no_number(tracker: MLflowTracker, caplog: pytest.LogCaptureFixture) -> None:
    import matplotlib.figure

    with tracker.run() as run_id:
        logger = configure_logger(tracker, format_strings=())
        for step in (1, 2):
            logger.record("text", "hello")
            logger.record("a/video", Video(torch.zeros(1, 1, 3, 4, 4), 4))
            logger.record("a/image", Image(np.zeros((4, 4, 3)), "HWC"))
            logger.record("a/figure", Figure(matplotlib.figure.Figure(), close=True))
            logger.record("specs", HParam({"depth": 2}, {"score": 1.0}))
            logger.record("hidden", 1.0, exclude="mlflow")
            logger.record("shown@5", torch.tensor([2.0]), exclude=("stdout", "csv"))
            logger.record("none", float("nan"))
            logger.record_mean("whole", 3)
            logger.dump(step)
    metrics = tracker.get_run_info(run_id)["metrics"]
    assert set(metrics) == {"shown_at_5", "none", "whole"}
    assert (metrics["shown_at_5"], metrics["whole"]) == (2.0, 3.0)
    assert tracker.get_run_info(run_id)["params"] == {"depth": "2"}
    assert names(tracker, run_id, "figures") == {"a_figure-1.png", "a_figure-2.png"}
    assert [caplog.text.count(f"key={key} ") for key in ("text", "a/video", "a/image")] == [1, 1, 1]


def test_a_logger_of_its_own_is_not_doubled(tracker: MLflowTracker, tmp_path: Path) -> None:
    model = algorithm()
    with tracker.run() as run_id:
        model.set_logger(configure_logger(tracker, str(tmp_path), ("csv",)))
        model.learn(8, HoldfastCallback(tracker, log_model=False), log_interval=1)
    assert sum(isinstance(known, MLflowOutputFormat) for known in model.logger.output_formats) == 1
    assert steps(tracker, run_id, "time/fps") == [8]
    assert "time/fps" in (tmp_path / "progress.csv").read_text()


def test_which_checkpoints_stay() -> None:
    kept = KeptCheckpoints(1)
    assert [kept.add(*given) for given in (("a", None), ("b", 1.0), ("c", 3.0), ("d", 2.0), ("e", 3.0))] == [
        [],
        ["a"],
        ["b"],
        [],
        ["c", "d"],
    ]
    assert kept.best == "e"


def test_bad_arguments(tracker: MLflowTracker) -> None:
    with pytest.raises(InvalidInputError, match="cannot be kept"):
        HoldfastCallback(tracker, checkpoint_every=-1)
    with pytest.raises(InvalidInputError, match="csv need a folder"):
        configure_logger(tracker, format_strings=("stdout", "csv"))


def test_server_away(mlflow_server: RunningMlflow, unique: str) -> None:
    with FaultProxy(mlflow_server.url) as proxy:
        proxy.refuse()
        tracker = MLflowTracker(proxy.url, experiment_name=unique)
        with tracker.run():
            algorithm().learn(32, HoldfastCallback(tracker, checkpoint_every=8, keep_last=1), log_interval=1)
        proxy.pass_on()
        tracker.flush(60)
        (run,) = tracker.client.search_runs([tracker.client.get_experiment_by_name(unique).experiment_id])
        assert steps(tracker, run.info.run_id, "time/fps") == [8, 16, 24, 32]
        best = run.data.tags.get("holdfast.checkpoint.best", "model-000000032.zip")
        assert names(tracker, run.info.run_id, "checkpoints") == {"model-000000032.zip", best}
        assert names(tracker, run.info.run_id, "model") == {"model.zip"}
