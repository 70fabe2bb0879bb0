"""What is known of an exported file: schema, size, checksum, times, versions."""

from __future__ import annotations

import hashlib
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from holdfast.training.export.failure import ExportError
from holdfast.training.export.graph import OnnxSession
from holdfast.training.export.inputs import Inputs

_PACKAGES = ("torch", "onnx", "onnxruntime", "onnxscript")
_WARM_UP = 3


@dataclass(frozen=True)
class TensorSchema:
    """An input or output: its name, its type as numpy names it, and its dimensions, a name where one is free."""

    name: str
    dtype: str
    dims: tuple[int | str, ...]


@dataclass(frozen=True)
class Timing:
    """How long one batch takes, in milliseconds; the median of several calls on this machine, without warm-up."""

    batch_size: int
    torch_ms: float
    onnx_ms: float


def schema_of(values: Any) -> tuple[TensorSchema, ...]:
    """Return the schema of a graph's inputs or outputs."""
    return tuple(
        TensorSchema(
            value.name,
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
            tuple(dim.dim_param or int(dim.dim_value) for dim in value.type.tensor_type.shape.dim),
        )
        for value in values
    )


def refuse_fixed_batch(inputs: tuple[TensorSchema, ...]) -> None:
    """Make sure that the batch size of every input is free: torch fixes it, and says nothing, where forward does.

    Raises:
        ExportError: It is not.
    """
    fixed = [f"{item.name} {list(item.dims)}" for item in inputs if not item.dims or isinstance(item.dims[0], int)]
    if fixed:
        raise ExportError(
            f"The batch size is fixed in the exported model: {', '.join(fixed)}.",
            "have forward not depend on the size of the batch, or give dynamic_batch=False",
            step="export",
        )


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that a model uses."""
    return next(int(item.version) for item in model.opset_import if item.domain in ("", "ai.onnx"))


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def counts_of(module: nn.Module) -> tuple[int, int]:
    """Return how many parameters a module has, and how many of them are trained."""
    sizes = [(item.numel(), item.requires_grad) for item in module.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, is_trained in sizes if is_trained)


def versions() -> dict[str, str]:
    """Return the versions of what took part."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def time_both(module: nn.Module, session: OnnxSession, batches: list[Inputs], repeats: int) -> tuple[Timing, ...]:
    """Time PyTorch and onnxruntime in turn on one batch of each size.

    Args:
        module: In eval mode.
        session: The exported model.
        batches: The batches; the first of each size is used.
        repeats: How often.
    """
    found = []
    for batch in {batch.batch_size: batch for batch in reversed(batches)}.values() if repeats else ():
        feed = batch.arrays()
        eager, exported = [], []
        for _ in range(_WARM_UP + repeats):
            # In turn, so that what else the machine does hits both.
            eager.append(_took_ms(lambda batch=batch: module(*batch.args, **batch.kwargs)))  # type: ignore[misc]
            exported.append(_took_ms(lambda feed=feed: session.raw.run(None, feed)))  # type: ignore[misc]
        medians = statistics.median(eager[_WARM_UP:]), statistics.median(exported[_WARM_UP:])
        found.append(Timing(batch.batch_size, *medians))
    return tuple(sorted(found, key=lambda item: item.batch_size))


def _took_ms(call: Callable[[], object]) -> float:
    started = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - started) / 1e6
