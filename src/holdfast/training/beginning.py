"""How a training begins on rank 0: which run it is, what that has already, and from where it goes on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from pydantic import BaseModel

from holdfast.backend.entities import Run
from holdfast.errors import HoldfastError, RunStateError
from holdfast.logs import get_logger
from holdfast.project import Project
from holdfast.tracking import MLflowTracker
from holdfast.tracking.values import to_params
from holdfast.training.config import TrainingConfig
from holdfast.training.lightning.checkpoint_file import Saved
from holdfast.training.resume import MODULE_TAG, find_checkpoint, find_run, owned, point_to
from holdfast.training.watching import log_environment

_log = get_logger(__name__)
_RESUMES_TAG = "holdfast.training.resumes"
_CHANGED_TAG = "holdfast.training.changed_params"


@dataclass(frozen=True)
class Plan:
    """What rank 0 has decided; every rank gets it.

    Attributes:
        run_id: The run.
        is_resumed: Whether it was there before.
        checkpoint: What the training goes on from; None for the beginning.
        logged: Of each metric of the run, the last step that it has.
        params: The params of the run.
    """

    run_id: str
    is_resumed: bool
    checkpoint: Saved | None
    logged: Mapping[str, int]
    params: Mapping[str, str]

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Plan:
        """Return what `to_plain` gave."""
        saved = plain["checkpoint"]
        return cls(**{**plain, "checkpoint": None if saved is None else Saved(**saved)})


@dataclass(frozen=True)
class Request:
    """What a training is asked to be.

    Attributes:
        tracker: Where to log.
        project: Where that is.
        output_dir: The folder of all runs' files.
        params: The params of the training and of its model.
        module: The class of its module, `package.module:Class`.
        resume: A run's id, `last`, `auto`, or None.
        run_name: The run's name.
        tags: More tags.
    """

    tracker: MLflowTracker
    project: Project
    output_dir: Path
    params: Mapping[str, Any]
    module: str
    resume: str | None
    run_name: str | None
    tags: Mapping[str, Any]


def begin(request: Request, stack: contextlib.ExitStack) -> Plan:
    """Begin the run, or go on with one, and log what it is.

    Args:
        request: What it is to be.
        stack: Ends the run, with the status that fits, and lets go of its folder.

    Raises:
        NotFoundError: There is no run to go on with.
        RunStateError: Another process trains it, or the tracker has another run open.
        DeliveryError: What was logged to it before is not on the server yet.
    """
    run_id = find_run(request.project, request.tracker.experiment_id, request.output_dir, request.resume)
    plan = _begin_new(request, stack) if run_id is None else _go_on(request, run_id, stack)
    log_environment(request.tracker)
    return plan


def _begin_new(request: Request, stack: contextlib.ExitStack) -> Plan:
    tracker = request.tracker
    run_id = tracker.run_id or stack.enter_context(tracker.run(request.run_name))
    stack.enter_context(owned(request.output_dir / run_id, run_id))
    point_to(request.output_dir, run_id, "RUNNING")  # at once: a kill in the next moment leaves a run to go on with
    tracker.set_tags({**request.tags, MODULE_TAG: request.module})
    tracker.log_params(request.params)
    return Plan(run_id, False, None, {}, to_params(request.params))


def _go_on(request: Request, run_id: str, stack: contextlib.ExitStack) -> Plan:
    tracker = request.tracker
    if tracker.run_id not in (None, run_id):
        raise RunStateError(
            f"Run {tracker.run_id} is open, and run {run_id} is to be gone on with.", "end the open one"
        )
    folder = request.output_dir / run_id
    stack.enter_context(owned(folder, run_id))
    logged = tracker.logged_steps(run_id)
    run = request.project.runs.get_run(run_id)
    checkpoint = find_checkpoint(request.project, run, folder)
    if tracker.run_id is None:
        stack.enter_context(tracker.run(run_id=run_id))
    resumes = int(run.tags.get(_RESUMES_TAG, "0")) + 1
    tracker.set_tags({**request.tags, MODULE_TAG: request.module, _RESUMES_TAG: resumes})
    params = _with_new_params(tracker, run, to_params(request.params))
    if checkpoint is None:
        _log.warning("the run has no checkpoint yet: the training begins anew, in the same run", run=run_id)
    else:
        _log.info("the training goes on", run=run_id, epoch=checkpoint.epoch, step=checkpoint.step)
    return Plan(run_id, True, checkpoint, logged, params)


def _with_new_params(tracker: MLflowTracker, run: Run, params: Mapping[str, str]) -> dict[str, str]:
    """Log the params that the run has not; those that it has with another value keep it, and are named."""
    changed = sorted(name for name, text in params.items() if run.params.get(name, text) != text)
    if changed:
        said = ", ".join(f"{name}={params[name]}" for name in changed)
        _log.warning("these params are other than the run's first ones", params=said)
        tracker.set_tags({_CHANGED_TAG: said[:5000]})
    tracker.log_params({name: text for name, text in params.items() if name not in run.params})
    return {**params, **run.params}


# -- what is logged of it ---------------------------------------------------------------


def params_of(config: TrainingConfig, model_config: Any) -> dict[str, Any]:
    """Return the params of a training: the configuration's keys, and those of the model under `model/`."""
    return config.model_dump() | {f"model/{key}": value for key, value in _plain(model_config).items()}


def _plain(model_config: Any) -> dict[str, Any]:
    if model_config is None:
        return {}
    if isinstance(model_config, BaseModel):
        return model_config.model_dump()
    if isinstance(model_config, Mapping):
        return {str(key): value for key, value in model_config.items()}
    return {"config": repr(model_config)} if isinstance(model_config, str) else dict(vars(model_config))


def module_name(module: LightningModule) -> str:
    """Return the class of a module as `package.module:Class`, so that another process can import it."""
    kind = type(module)
    home = kind.__module__
    if home == "__main__":
        main = sys.modules["__main__"]
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        home = spec.name if spec is not None else Path(file).stem if file else home
    return f"{home}:{kind.__qualname__}"


def say_preempted(tracker: MLflowTracker, name: str) -> None:
    """Note on the run that the machine was taken away; that it cannot be noted must not keep the process."""
    if tracker.run_id is None:
        return
    try:
        tracker.set_tags({"holdfast.training.preempted": name})
    except HoldfastError as error:
        _log.warning("the run does not say that it was pre-empted", reason=error.message)
