"""What the processes of a distributed training agree on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Trainer

from holdfast.errors import HoldfastError, InvalidInputError

# How the processes that Lightning starts on this machine hear of what the first one has decided.
_VARIABLE = "HOLDFAST_TRAINING_AGREED"


def highest(trainer: Trainer, *numbers: int) -> tuple[int, ...]:
    """Return, of each of some numbers, the highest that any rank has; all ranks have to ask."""
    if trainer.world_size == 1:
        return numbers
    values = torch.tensor(numbers, dtype=torch.int64, device=trainer.strategy.root_device)
    torch.distributed.all_reduce(values, op=torch.distributed.ReduceOp.MAX)
    return tuple(int(value) for value in values.tolist())


@contextmanager
def agreed(trainer: Trainer, decide: Callable[[], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Have rank 0 decide something before the training begins, and give the answer to every rank.

    Args:
        trainer: Made, not yet begun.
        decide: Called on rank 0; returns what JSON can hold.

    Raises:
        InvalidInputError: Processes that Lightning starts itself on several machines cannot talk yet.
        HoldfastError: Rank 0 could not decide; the same on each rank.
    """
    if trainer.world_size == 1:
        yield decide()
    elif _is_child():
        yield json.loads(os.environ[_VARIABLE])
    elif trainer.strategy.cluster_environment.creates_processes_externally:  # type: ignore[attr-defined]
        yield _told(trainer, decide)
    else:
        yield from _tell_children(trainer, decide)


def _is_child() -> bool:
    return _VARIABLE in os.environ and os.environ.get("LOCAL_RANK", "0") != "0"


def _told(trainer: Trainer, decide: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Each process was started by torchrun, SLURM or Ray: begin their group now, which Lightning then finds begun."""
    trainer.strategy.setup_environment()
    answer: dict[str, Any] = {}
    failed: HoldfastError | None = None
    if trainer.global_rank == 0:
        try:
            answer = {"decided": decide()}
        except HoldfastError as error:
            failed = error
            answer = {"message": error.message, "hint": error.hint}
    said = trainer.strategy.broadcast(answer)
    if failed is not None:
        raise failed
    if "message" in said:
        raise HoldfastError(said["message"], said["hint"])
    return dict(said["decided"])


def _tell_children(trainer: Trainer, decide: Callable[[], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Lightning starts the other processes with this one's environment, once the training begins."""
    if trainer.num_nodes > 1:
        raise InvalidInputError(
            "Lightning cannot start a training on several machines by itself.",
            "start it with torchrun or srun on each of them",
        )
    decided = decide()
    os.environ[_VARIABLE] = json.dumps(decided)
    try:
        yield decided
    finally:
        os.environ.pop(_VARIABLE, None)
