"""What a pipeline takes, and what it refuses before, or after, a run is made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from small_training import Noisy, Small
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from holdfast import MLflowTracker, TrainingPipeline
from holdfast.errors import DataError, InvalidInputError
from holdfast.training.lightning.checks import check_options

CONFIG: dict[str, Any] = {
    "epochs": 1,
    "batch_size": 8,
    "num_workers": 0,
    "monitor": "train/loss",
    "early_stopping_patience": 0,
    "system_metrics_every_s": 0,
    "accelerator": "cpu",
}


class Nothing(IterableDataset[Any]):
    """Samples of unknown number, which is none."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())


@pytest.fixture
def tracker(sqlite_uri: str) -> MLflowTracker:
    return MLflowTracker(sqlite_uri, experiment_name="pipeline")


def runs(tracker: MLflowTracker) -> list[Any]:
    tracker.flush(60)
    return list(tracker.client.search_runs([tracker.experiment_id]))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"accumulate_grad_batches": 2}, "set accumulate in the training configuration instead of accumulate_grad"),
        ({"precision": "16-mixed", "logger": True}, "set precision .*; leave logger out"),
        ({"strategy": "ddp"}, "set strategy"),
        ({"callbacks": []}, r"TrainingPipeline\(callbacks=...\)"),
    ],
)
def test_options_of_the_configuration(tracker: MLflowTracker, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=f"trainer_options hold {', '.join(options)}, which") as caught:
        TrainingPipeline(tracker, None, CONFIG, trainer_options=options)
    caught.match(says)


def test_options_that_are_taken() -> None:
    check_options({"limit_val_batches": 1, "strategy": DDPStrategy()})


def test_strategy_that_is_an_object(tracker: MLflowTracker, tmp_path: Path) -> None:
    options = {"strategy": SingleDeviceStrategy(torch.device("cpu")), "limit_train_batches": 1}
    config = {key: value for key, value in CONFIG.items() if key != "accelerator"}
    pipeline = TrainingPipeline(tracker, None, config, tmp_path / "out", trainer_options=options)
    pipeline.train(Small(), DataLoader(Noisy(), batch_size=8))
    (run,) = runs(tracker)
    assert run.data.params["strategy"] == "SingleDeviceStrategy"


def test_one_loader_is_that_of_training(tracker: MLflowTracker, tmp_path: Path) -> None:
    pipeline = TrainingPipeline(tracker, None, CONFIG, tmp_path / "out")
    assert pipeline.train(Small(), DataLoader(Noisy(), batch_size=8)).global_step == 4


@pytest.mark.parametrize("how", ["drop_last", "no sample", "no length"])
def test_no_batch(tracker: MLflowTracker, tmp_path: Path, how: str) -> None:
    """A training that has trained nothing is none that has finished."""
    empty = TensorDataset(torch.zeros(0, 4), torch.zeros(0, 1))
    loader: DataLoader[Any] = {
        "drop_last": lambda: DataLoader(Noisy(), batch_size=64, drop_last=True),
        "no sample": lambda: DataLoader(empty, batch_size=8),
        "no length": lambda: DataLoader(Nothing(), batch_size=8),
    }[how]()
    with pytest.raises(DataError, match="The training data has no batch"):
        TrainingPipeline(tracker, None, CONFIG, tmp_path / "out").train(Small(), loader)
    (run,) = runs(tracker)
    assert run.info.status == "FAILED"


def test_loaders_are_no_dataset(tracker: MLflowTracker) -> None:
    loader = DataLoader(Noisy(), batch_size=8)
    pipeline = TrainingPipeline(tracker, None, CONFIG)
    for given in (loader, (loader, loader)):
        with pytest.raises(InvalidInputError, match="makes loaders of a dataset, and was given DataLoader"):
            pipeline.setup_data_loaders(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["a file", "below a file", "not writable"])
def test_folders_that_nothing_can_be_written_to(tracker: MLflowTracker, tmp_path: Path, how: str) -> None:
    folder = tmp_path / "out"
    if how == "not writable":
        folder.mkdir(mode=0o500)
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write anywhere")
    else:
        folder.write_text("")
    folder = folder / "more" if how == "below a file" else folder
    with pytest.raises(InvalidInputError, match=r"Files cannot be written to the output folder .*out"):
        TrainingPipeline(tracker, None, CONFIG, folder).train(Small(), DataLoader(Noisy(), batch_size=8))
    assert runs(tracker) == []


def test_inside_a_run_of_mlflows_own(tracker: MLflowTracker, tmp_path: Path) -> None:
    import mlflow

    pipeline = TrainingPipeline(tracker, None, CONFIG, tmp_path / "out")
    with tracker.run("outer") as run_id:
        assert pipeline.train(Small(), DataLoader(Noisy(), batch_size=8)).run_id == run_id
    with mlflow.start_run(), pytest.raises(Exception, match="is still open") as caught:
        pipeline.train(Small(), DataLoader(Noisy(), batch_size=8))
    assert "tracker.run()" in caught.value.hint  # type: ignore[attr-defined]
