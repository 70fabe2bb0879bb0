"""Ray Train as the launcher of a training: `--launcher ray --devices 4`.

Ray places the workers and makes one group of their processes; Lightning trains in them; rank 0 owns the MLflow run.

Neither keys nor settings go through Ray's object store or into the arguments of its tasks: each worker reads the
project's settings itself, from the project's folder and its own environment. Workers that Ray starts on this machine
have this process's environment. On a cluster that runs already, the folder has to be there on every machine, with its
`.env`, or the cluster be started with the environment.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.delivery.sync import Sync
from holdfast.delivery.target import target_of
from holdfast.errors import HoldfastError, InvalidInputError
from holdfast.journal.layout import JournalPaths
from holdfast.project import open_project
from holdfast.training.config import TrainingConfig
from holdfast.training.extras import need
from holdfast.training.ray_cluster import ray_cluster
from holdfast.training.result import TrainingResult

if TYPE_CHECKING:
    from holdfast.training.command import Script

_Answer = TypeVar("_Answer")
_DELIVER_S = 60.0
_LIBRARIES = ("ray", "torch", "lightning")


class LaunchError(HoldfastError):
    """A worker of Ray failed, or the workers could not be started."""


def launch(
    train: Callable[[dict[str, Any]], _Answer],
    config: Mapping[str, Any] | None = None,
    *,
    num_workers: int,
    use_gpu: bool = False,
    resources: Mapping[str, float] | None = None,
    storage: str | Path | None = None,
    folder: Path | None = None,
) -> _Answer:
    """Have a function done by several workers of Ray, as one distributed training.

    The cluster is the one that this process is connected to or that RAY_ADDRESS names, else one on this machine that is
    ended with the training. In the function, `lightning_parts` gives what a `Trainer` needs.

    Args:
        train: Called with `config` in each worker. It has to be picklable; a function of a module is, and one of the
            script that is run.
        config: Plain values; no secrets.
        num_workers: How many processes.
        use_gpu: Whether each has a GPU.
        resources: What each needs, in Ray's words: `{"CPU": 2}`; one processor core if not given.
        storage: Where Ray keeps its own files. On several machines it has to be seen by all; a temporary folder of this
            one if not given.
        folder: The project's folder, where workers go first; the working directory if not given.

    Returns:
        What rank 0's function returned; what was logged is on the server, or is told to be in the journal.

    Raises:
        InvalidInputError: There are no workers.
        MissingDependencyError: Ray, PyTorch or Lightning is not installed.
        HoldfastError: A worker failed: its own error where that is one of Holdfast, else a `LaunchError`.
    """
    if num_workers < 1:
        raise InvalidInputError(f"There are {num_workers} workers.", "give one or more: --devices 2")
    need(_LIBRARIES, "a training on Ray", "ray")
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    work: Any = functools.partial(_work, train, dict(config or {}), str(folder or Path.cwd()))
    with ray_cluster(), tempfile.TemporaryDirectory(prefix="holdfast-ray-") as scratch:
        trainer = TorchTrainer(
            work,
            scaling_config=ScalingConfig(
                num_workers=num_workers, use_gpu=use_gpu, resources_per_worker=dict(resources) if resources else None
            ),
            run_config=RunConfig(storage_path=str(storage or scratch)),
        )
        try:
            return _fit(trainer)  # type: ignore[no-any-return]
        finally:
            _deliver_left()


def _fit(trainer: Any) -> Any:
    from ray.train import ControllerError, WorkerGroupError

    try:
        return trainer.fit().return_value
    except WorkerGroupError as error:
        rank, cause = min(error.worker_failures.items())
        raise _told(rank, cause) from None
    except ControllerError as error:
        raise LaunchError(
            f"Ray Train could not do the training: {type(error.controller_failure).__name__}.",
            "see the output of its controller; are there as many processors or GPUs as workers? (ray status)",
        ) from None


def _deliver_left() -> None:
    """Deliver what the workers left in the journal, and end as FAILED the run of one that was killed.

    Ray kills a worker with all that it has started, the shipper too. What cannot be delivered now stays in the journal.
    """
    with contextlib.suppress(HoldfastError):  # what the training raised matters more
        project = open_project()
        target = target_of(project.settings)
        folder = JournalPaths(target.root).runs
        if folder.exists():
            work = Sync(target, project.artifacts.upload_folder, timeout_s=_DELIVER_S, store=project.artifacts)
            work.run([path.name for path in folder.iterdir()])


def _told(rank: int, cause: BaseException) -> HoldfastError:
    """Return what a worker raised as an error of ours."""
    inner = getattr(cause, "_base_exc", None) or getattr(cause, "cause", None) or cause
    if isinstance(inner, HoldfastError):
        return inner
    text = open_project().redact(f"{type(inner).__name__}: {inner}".strip().splitlines()[0][:500])
    return LaunchError(f"The worker of rank {rank} failed: {text}.", "its traceback stands in the output above")


# -- in a worker ----------------------------------------------------------------------


def _work(train: Callable[[dict[str, Any]], _Answer], config: dict[str, Any], folder: str) -> _Answer:
    """Do the function in the project's folder; what it logged is delivered before Ray kills this process."""
    with contextlib.suppress(FileNotFoundError):  # another machine: its environment may say enough
        os.chdir(folder)
    try:
        return train(config)
    finally:
        with contextlib.suppress(HoldfastError):  # it is in the journal, and the shipper goes on with it
            open_project(journaled=True).settle()


def lightning_parts(strategy: str = "auto") -> dict[str, Any]:
    """Return what Lightning's `Trainer` needs in a worker of Ray: `strategy`, `plugins`, `devices` and `num_nodes`.

    Args:
        strategy: `auto` or `ddp`, `fsdp`, or `deepspeed`.

    Raises:
        InvalidInputError: Ray has no such strategy.
    """
    from ray.train import lightning

    parts: Any = lightning
    known = {
        "auto": parts.RayDDPStrategy,
        "ddp": parts.RayDDPStrategy,
        "fsdp": parts.RayFSDPStrategy,
        "deepspeed": parts.RayDeepSpeedStrategy,
    }
    if strategy not in known:
        raise InvalidInputError(f"Ray Train has no strategy {strategy!r}.", f"give one of {', '.join(known)}")
    return {
        "strategy": known[strategy](),
        "plugins": [parts.RayLightningEnvironment()],
        "devices": "auto",
        "num_nodes": 1,  # Ray says how many processes there are
    }


# -- a training script ----------------------------------------------------------------


def launch_script(script: Script, options: argparse.Namespace, config: TrainingConfig) -> TrainingResult:
    """Train as a script's command line says, in `--devices` times `--num-nodes` workers of Ray; one run, rank 0's.

    Args:
        script: The script.
        options: What its `parse` returned.
        config: Of the training.

    Raises:
        InvalidInputError: Ray has no such strategy.
        HoldfastError: As of `launch`.
    """
    need(_LIBRARIES, "a training on Ray", "ray")
    import torch

    gpus = torch.cuda.device_count() if config.accelerator in ("auto", "gpu", "cuda") else 0
    devices = (gpus or 1) if config.devices == "auto" else config.devices
    lightning_parts(config.strategy)  # refused here, before any process is started
    return launch(
        functools.partial(_train_script, script),
        vars(options),
        num_workers=devices * config.num_nodes,
        use_gpu=gpus > 0,
    )


def _train_script(script: Script, options: dict[str, Any]) -> TrainingResult:
    from ray.train.lightning import prepare_trainer

    given = argparse.Namespace(**options)
    model_config, training_config = script.configure(given)
    return script.train_here(
        model_config,
        training_config,
        given,
        trainer_options=lightning_parts(training_config.strategy),
        prepare=prepare_trainer,
    )
