"""`HoldfastLogger` in a plain Trainer, where Lightning's `MLFlowLogger` would be."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader, TensorDataset

from holdfast import MLflowTracker
from holdfast.errors import NotFoundError, RunStateError
from holdfast.lifecycle import Terminated
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow
from holdfast.training.lightning.hyperparams import param_texts
from holdfast.training.lightning.logger import HoldfastLogger
from holdfast.training.watching import SystemMetricsCallback


class Falling(LightningModule):
    """Its validation loss is what `losses` says, epoch by epoch."""

    def __init__(self, losses: tuple[float, ...] = (3.0, 2.0, 1.0), **more: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer, self.losses = torch.nn.Linear(2, 1), losses

    def training_step(self, batch: list[torch.Tensor], number: int) -> torch.Tensor:
        loss = torch.square(self.layer(batch[0])).mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], number: int) -> None:
        self.log("val/loss", self.losses[self.current_epoch])

    def test_step(self, batch: list[torch.Tensor], number: int) -> None:
        self.log("test/loss", 0.5)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


class Ending(Callback):
    """Does something in a step."""

    def __init__(self, end: Any, step: int = 1) -> None:
        self.end, self.step = end, step

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            self.end()


def data() -> Any:
    return DataLoader(TensorDataset(torch.ones(4, 2)), 2)


def trainer(logger: Any, *callbacks: Callback, **options: Any) -> Trainer:
    plain: dict[str, Any] = {
        "max_epochs": 3,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    has_checkpoints = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    plain |= {"enable_checkpointing": has_checkpoints, "num_sanity_val_steps": 0}
    return Trainer(accelerator="cpu", logger=logger, callbacks=list(callbacks), **(plain | options))


def fit(logger: Any, *callbacks: Callback, module: LightningModule | None = None, **options: Any) -> Trainer:
    made = trainer(logger, *callbacks, **options)
    made.fit(module or Falling(), data(), data())
    return made


def runs_of(logger: HoldfastLogger) -> list[Any]:
    logger.tracker.flush(60)
    return list(logger.tracker.client.search_runs([logger.experiment_id]))


def the_run(logger: HoldfastLogger) -> Any:
    (run,) = runs_of(logger)
    return run


def steps(logger: HoldfastLogger, name: str) -> list[tuple[int, float]]:
    logger.tracker.flush(60)
    found = logger.tracker.client.get_metric_history(logger.run_id, name)
    return sorted((point.step, point.value) for point in found)


def stored(logger: HoldfastLogger, folder: str = "checkpoints") -> set[str]:
    logger.tracker.flush(60)
    return {Path(file.path).name for file in logger.tracker.client.list_artifacts(logger.run_id, folder)}


@pytest.fixture
def place(sqlite_uri: str) -> dict[str, Any]:
    return {"experiment_name": "logger", "tracking_uri": sqlite_uri}


# -- one run ----------------------------------------------------------------------------


def test_it_takes_all_that_lightnings_takes() -> None:
    theirs = inspect.signature(MLFlowLogger.__init__).parameters
    ours = inspect.signature(HoldfastLogger.__init__).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    public = {name for name in dir(MLFlowLogger) if not name.startswith("_")}
    assert public <= set(dir(HoldfastLogger))


def test_one_run_for_fits_and_tests(place: dict[str, Any], tmp_path: Path) -> None:
    logger = HoldfastLogger(**place, run_name="me", tags={"team": "a"}, synchronous=False)
    made = fit(logger, max_epochs=2)
    made.test(made.lightning_module, data(), verbose=False)
    fit(logger, max_epochs=1)
    run = the_run(logger)
    assert (run.info.run_id, run.info.run_name, run.info.status) == (logger.run_id, "me", "FINISHED")
    assert run.data.tags["team"] == "a"
    assert [step for step, _ in steps(logger, "train/loss")] == [0, 0, 1, 1, 2, 3]
    assert steps(logger, "val/loss") == [(1, 3.0), (1, 3.0), (3, 2.0)]
    assert [value for _, value in steps(logger, "epoch")] == [0, 0, 0, 0, 1, 1, 2]
    assert steps(logger, "test/loss") == [(4, 0.5)]
    assert (logger.name, logger.version) == (logger.experiment_id, logger.run_id)


def test_what_comes_after_the_end_leaves_it_ended(place: dict[str, Any], tmp_path: Path) -> None:
    logger = HoldfastLogger(**place)
    fit(logger, max_epochs=1)
    (tmp_path / "report.txt").write_text("good")
    logger.experiment.log_artifact(logger.run_id, str(tmp_path / "report.txt"))
    logger.experiment.set_tag(logger.run_id, "seen", "yes")
    logger.log_metrics({"later": 1.0}, step=9)
    logger.log_hyperparams({"later": {"still": True}, "db_password": "hunter2"})
    run = the_run(logger)
    assert (run.info.status, logger.tracker.run_id) == ("FINISHED", None)
    assert run.data.tags["seen"] == "yes"
    assert run.data.params["later/still"] == "True"
    assert run.data.params["db_password"] == "****"
    assert steps(logger, "later") == [(9, 1.0)]
    assert stored(logger, "") == {"report.txt"}


def test_goes_on_with_a_run(place: dict[str, Any]) -> None:
    first = HoldfastLogger(**place)
    fit(first, module=Falling(note="one"), max_epochs=1)
    second = HoldfastLogger(**place, run_id=first.run_id)
    fit(second, module=Falling(note="two", stages=[1]), max_epochs=1)
    run = the_run(second)
    assert (run.info.run_id, run.info.status) == (first.run_id, "FINISHED")
    assert (run.data.params["note"], run.data.params["stages"]) == ("one", "[1]")
    with pytest.raises(NotFoundError):
        fit(HoldfastLogger(**place, run_id="0" * 32))


def test_an_open_run_is_used_and_left_open(place: dict[str, Any]) -> None:
    tracker = MLflowTracker(**place)
    logger = HoldfastLogger(tracker=tracker)
    with tracker.run() as run_id:
        tracker.log_params({"note": "mine"})
        fit(logger, module=Falling(note="the module's"), max_epochs=1)
        assert tracker.run_id == logger.run_id == run_id
        tracker.log_metrics({"after": 1.0})
    assert the_run(logger).info.status == "FINISHED"
    assert the_run(logger).data.params["note"] == "mine"
    with tracker.run(), pytest.raises(RunStateError, match="still open"):
        fit(logger, max_epochs=1)


def _raise() -> None:
    raise ZeroDivisionError


def _ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _sigterm_of_lightning() -> None:
    raise SIGTERMException


@pytest.mark.parametrize(
    ("end", "raised", "status"),
    [
        (_raise, ZeroDivisionError, "FAILED"),
        (_ctrl_c, SystemExit, "KILLED"),
        (_sigterm, Terminated, "KILLED"),
        (_sigterm_of_lightning, SIGTERMException, "KILLED"),
    ],
)
def test_how_a_run_ends(place: dict[str, Any], end: Any, raised: type[BaseException], status: str) -> None:
    logger = HoldfastLogger(**place)
    before = signal.getsignal(signal.SIGINT)
    try:
        for max_epochs in (1, 2):  # a second training in the run that had ended, too
            with pytest.raises(raised):
                fit(logger, Ending(end), max_epochs=max_epochs)
            assert the_run(logger).info.status == status
            signal.signal(signal.SIGINT, before)  # Lightning leaves it ignored
    finally:
        signal.signal(signal.SIGINT, before)
    fit(logger, max_epochs=1)
    assert the_run(logger).info.status == "FINISHED"


def test_it_stays_where_it_is(place: dict[str, Any]) -> None:
    logger = HoldfastLogger(**place)
    for way in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="Make one in each process"):
            way(logger)


# -- what is logged ---------------------------------------------------------------------


def test_params_of_all_forms(place: dict[str, Any]) -> None:
    odd: dict[str, Any] = {"recall@5": None, "a//b": 1}
    module = Falling(
        optimizer={"lr": 0.1, "betas": [0.9, 0.99], "db_password": "hunter2"},
        stages=[{"depth": 2}],
        weights=torch.ones(3000),
        table=np.zeros((300, 300)),
        text="x" * 7000 + "\0",
        **odd,
    )
    logger = HoldfastLogger(**place)
    fit(logger, module=module, max_epochs=1)
    params = the_run(logger).data.params
    assert params["optimizer/lr"] == "0.1"
    assert params["optimizer/betas"] == "[0.9, 0.99]"
    assert params["optimizer/db_password"] == "****"
    assert (params["stages/0/depth"], params["recall_at_5"], params["a/b"]) == ("2", "None", "1")
    assert params["weights"] == "tensor([1., 1., 1.,  ..., 1., 1., 1.])"
    assert (len(params["text"]), params["text"][-1]) == (6000, "…")
    assert "..." in params["table"]


def test_params_that_no_store_takes() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert param_texts({"endless": endless, "half": "\ud800", 3: 10**5000}) == {
        "endless": "<list>",
        "half": "?",
        "3": "<int>",
    }


def test_names_that_mlflow_refuses(place: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    logger = HoldfastLogger(**place)
    given: dict[str, Any] = {"recall@5": 1.0, "a//b": 2.0, "f(x)": 3.0, "f[x]": 4.0, "": 5.0, "x" * 300: 6.0}
    for _ in range(2):
        logger.log_metrics(given | {"text": "no"})
    logger.finalize("success")
    metrics = the_run(logger).data.metrics
    assert metrics == {"recall_at_5": 1, "a/b": 2, "f_x_": 3, "f_x__": 4, "unnamed": 5, "x" * 250: 6}
    assert sum("not taken by MLflow" in record.getMessage() for record in caplog.records) == 6


def test_a_prefix(place: dict[str, Any]) -> None:
    logger = HoldfastLogger(**place, prefix="fold1")
    fit(logger, max_epochs=1)
    assert set(the_run(logger).data.metrics) == {"fold1-train/loss", "fold1-val/loss", "fold1-epoch"}


def test_what_a_resumed_run_has_is_left_out(place: dict[str, Any]) -> None:
    first = HoldfastLogger(**place)
    fit(first, SystemMetricsCallback(60), max_epochs=2)
    memory = "system/system_memory_usage_megabytes"
    assert [step for step, _ in steps(first, memory)] == [4]
    again = HoldfastLogger(**place, run_id=first.run_id)
    again.skip(again.tracker.logged_steps(str(first.run_id)), {})
    fit(again, SystemMetricsCallback(60), max_epochs=2)  # as far as before: all of it is there already
    assert [step for step, _ in steps(again, memory)] == [4]
    assert [step for step, _ in steps(again, "train/loss")] == [0, 1, 2, 3]
    fit(again, SystemMetricsCallback(60), max_epochs=3)
    assert [step for step, _ in steps(again, memory)] == [4, 6]
    assert [step for step, _ in steps(again, "train/loss")] == [0, 1, 2, 3, 4, 5]


def test_other_ranks(place: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    owner = HoldfastLogger(**place)
    owner.log_metrics({"loss": 1.0}, step=1)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    silent, telling = HoldfastLogger(**place), HoldfastLogger(**place, log_ranks=True)
    assert (silent.run_id, silent.experiment_id) == (None, None)
    silent.log_metrics({"loss": 2.0}, step=1)
    with pytest.raises(RunStateError, match="not told"):
        telling.log_metrics({"loss": 2.0}, step=1)
    telling.attach(str(owner.run_id))
    telling.skip({"rank1/loss": 1, "system/node1/a": 1}, {})
    for step in (1, 2):
        telling.log_metrics({"loss": 2.0}, step=step)
        telling.append({"system/node1/a": 3.0}, step)
        telling.save()
    telling.log_hyperparams({"a": 1})
    telling.finalize("success")
    assert telling.tracker.run_id is None
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    owner.finalize("success")
    run = the_run(owner)
    assert run.data.metrics == {"loss": 1.0, "rank1/loss": 2.0, "system/node1/a": 3.0}
    assert (run.data.params, run.info.status) == ({}, "FINISHED")
    assert steps(owner, "rank1/loss") == [(2, 2.0)]


# -- checkpoints ------------------------------------------------------------------------


def top_k(**options: Any) -> ModelCheckpoint:
    plain: dict[str, Any] = {"monitor": "val/loss", "filename": "{epoch}-{val/loss:.1f}", "save_top_k": 2}
    return ModelCheckpoint(**(plain | options))


def test_the_store_keeps_what_the_callback_keeps(place: dict[str, Any], tmp_path: Path) -> None:
    logger = HoldfastLogger(**place, log_model=True, save_dir=str(tmp_path / "here"))
    keeper = top_k(save_last=True)
    fit(logger, keeper, module=Falling((3.0, 1.0, 2.0, 5.0)), max_epochs=4)
    assert stored(logger) == {"epoch_1-val_loss_1.0.ckpt", "epoch_2-val_loss_2.0.ckpt", "last.ckpt"}
    assert Path(keeper.best_model_path).is_relative_to(tmp_path / "here")
    got = logger.tracker.client.download_artifacts(logger.run_id, "checkpoints/epoch_1-val_loss_1.0.ckpt")
    assert Path(got).read_bytes() == Path(keeper.best_model_path).read_bytes()
    got = logger.tracker.client.download_artifacts(logger.run_id, "checkpoints/last.ckpt")
    assert Path(got).read_bytes() == Path(keeper.last_model_path).read_bytes()


@pytest.mark.parametrize("options", [{"save_top_k": -1}, {"save_top_k": -1, "monitor": None, "filename": "{epoch}"}])
def test_all_are_kept_where_none_is_deleted(place: dict[str, Any], options: dict[str, Any]) -> None:
    logger = HoldfastLogger(**place, log_model="all")
    keeper = top_k(**options)
    fit(logger, keeper)
    assert stored(logger) == {name.replace("=", "_") for name in _names_below(Path(str(keeper.dirpath)))}
    assert len(stored(logger)) == 3


def _names_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix().replace("/", "_") for path in folder.rglob("*.ckpt")}


def test_a_link_to_the_last_one(place: dict[str, Any]) -> None:
    logger = HoldfastLogger(**place, log_model=True)
    fit(logger, top_k(save_last="link", save_top_k=1, filename="best"))
    assert stored(logger) == {"best.ckpt", "last.ckpt"}
    got = logger.tracker.client.download_artifacts(logger.run_id, "checkpoints/last.ckpt")
    assert torch.load(got, weights_only=True)["epoch"] == 2


def test_two_callbacks_with_the_same_names(place: dict[str, Any], tmp_path: Path) -> None:
    logger = HoldfastLogger(**place, log_model=True)
    first = top_k(dirpath=tmp_path / "a", save_last=True, filename="best", save_top_k=1)
    second = top_k(dirpath=tmp_path / "b", save_last=True, filename="best", save_top_k=1, mode="max")
    fit(logger, first, second)
    assert stored(logger) == stored(logger, "checkpoints-2") == {"best.ckpt", "last.ckpt"}
    for folder, epoch in (("checkpoints", 2), ("checkpoints-2", 0)):
        got = logger.tracker.client.download_artifacts(logger.run_id, f"{folder}/best.ckpt")
        assert torch.load(got, weights_only=True)["epoch"] == epoch


def test_a_second_training_takes_nothing_from_the_first(place: dict[str, Any]) -> None:
    logger = HoldfastLogger(**place, log_model=True)
    keeper = top_k(save_top_k=1, filename="first-{epoch}")
    fit(logger, keeper, max_epochs=1)
    assert stored(logger) == {"first-epoch_0.ckpt"}
    fit(logger, keeper, module=Falling((0.5,)), max_epochs=1)  # goes on to keep the best one
    assert len(stored(logger)) == 1
    fit(logger, top_k(save_top_k=1, filename="second"), max_epochs=1)
    assert len(stored(logger)) == 1
    assert stored(logger, "checkpoints-2") == {"second.ckpt"}


def test_what_an_exception_leaves(place: dict[str, Any]) -> None:
    logger = HoldfastLogger(**place, log_model=True)
    with pytest.raises(ZeroDivisionError):
        fit(logger, Ending(_raise, 3), top_k(save_on_exception=True))
    assert len(stored(logger)) == 2  # that of the first epoch, and that of the exception
    assert the_run(logger).info.status == "FAILED"


def test_none_are_stored_unasked(place: dict[str, Any]) -> None:
    logger = HoldfastLogger(**place)
    fit(logger, top_k())
    assert stored(logger) == set()


# -- without a server -------------------------------------------------------------------


def test_no_server_until_later(mlflow_server: RunningMlflow, unique: str) -> None:
    with FaultProxy(mlflow_server.url) as proxy:
        proxy.refuse()
        logger = HoldfastLogger(unique, tracking_uri=proxy.url, log_model=True)
        made = fit(logger, top_k(), module=Falling(note="offline"))
        made.test(made.lightning_module, data(), verbose=False)
        logger.log_metrics({"later": 1.0})
        assert str(logger.run_id).startswith("local-")
        proxy.pass_on()
        logger.tracker.flush(60)
        client = logger.tracker.client
        (run,) = client.search_runs([client.get_experiment_by_name(unique).experiment_id])
        assert (run.info.status, run.data.params["note"]) == ("FINISHED", "offline")
        assert run.data.metrics.keys() >= {"train/loss", "val/loss", "test/loss", "later"}
        assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 6
        kept = {Path(file.path).name for file in client.list_artifacts(run.info.run_id, "checkpoints")}
        assert kept == {"epoch_1-val_loss_2.0.ckpt", "epoch_2-val_loss_1.0.ckpt"}
