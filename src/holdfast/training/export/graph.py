"""From a module to a checked ONNX file: the graph, its opset, and what onnxruntime says of it."""

from __future__ import annotations

import contextlib
import functools
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch import nn

from holdfast.errors import InvalidInputError
from holdfast.training.export.failure import ExportError, in_short
from holdfast.training.export.inputs import Inputs
from holdfast.training.export.rules import Arrays

# A protobuf file ends at 2 GiB; the graph itself needs a part of it.
_ONE_FILE_BYTES = 1_900_000_000
# Of torch's exporter itself. It reaches higher ones by converters that are not of the same maturity.
_LEAST_OPSET = 18


@functools.cache
def newest_opset() -> int:
    """Return the newest opset that the installed exporter, checker and onnxruntime all take.

    Raises:
        ExportError: There is none.
    """
    from torch.onnx import _constants

    newest = min(int(_constants.ONNX_MAX_OPSET), int(onnx.defs.onnx_opset_version()))
    taken = next((opset for opset in range(newest, _LEAST_OPSET - 1, -1) if _is_taken(opset)), None)
    if taken is None:
        raise ExportError(
            f"onnx {onnx.__version__} and onnxruntime {onnxruntime.__version__} have no opset from {_LEAST_OPSET} to "
            f"{newest} in common with torch {torch.__version__}.",
            "pip install --upgrade 'holdfast[onnx]'",
            step="check",
        )
    return taken


def _is_taken(opset: int) -> bool:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in ("a", "b")]
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "probe", value[:1], value[1:])
    opsets = [helper.make_opsetid("", opset)]
    # Not the newest form of the file either, which onnx writes before onnxruntime reads it.
    model = helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))
    try:
        onnx.checker.check_model(model, full_check=True)
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:  # whatever they say, it is not taken
        return False
    return True


def check_opset(opset: int | None) -> int:
    """Return the opset to export with.

    Raises:
        InvalidInputError: It is not taken.
    """
    newest = newest_opset()
    if opset is None:
        return newest
    if not _LEAST_OPSET <= opset <= newest:
        raise InvalidInputError(f"Opset {opset} cannot be exported here.", f"use one of {_LEAST_OPSET} to {newest}")
    return opset


def write_graph(
    module: nn.Module, sample: Inputs, output_names: Sequence[str], opset: int, is_dynamic: bool, path: Path
) -> None:
    """Export a module to a file; its weights lie beside it (`.data`) where they are more than a file can hold.

    Raises:
        ExportError: torch cannot export it.
    """
    traced = sample.resized(max(sample.batch_size, 2)) if is_dynamic else sample  # a batch of 1 would be taken as fixed
    size = sum(tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers()))
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                traced.args,
                kwargs=traced.kwargs or None,
                input_names=list(sample.names),
                output_names=list(output_names),
                opset_version=opset,
                dynamo=True,
                dynamic_shapes=_dynamic_shapes(traced) if is_dynamic else None,
                verbose=False,
            )
            if program is None:
                raise ExportError("torch.onnx.export gave nothing back.", step="export")
            program.save(str(path), external_data=size > _ONE_FILE_BYTES)
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"{type(module).__name__} cannot be exported with opset {opset}: {in_short(_root(error), 600)}.",
            "write the part of forward that depends on the values, or on the size of the batch, with tensor operations "
            "(torch.where, torch.cond)",
            step="export",
        ) from error


def _dynamic_shapes(inputs: Inputs) -> Any:
    batch = torch.export.Dim("batch")
    each: list[dict[int, Any]] = [{0: batch} for _ in inputs.tensors]
    return tuple(each) if inputs.keys is None else dict(zip(inputs.keys, each, strict=True))


def _root(error: BaseException) -> BaseException:
    """Return what torch wraps in reports of many lines."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's own notes off the screen, such as that torchvision is not there."""
    logger = logging.getLogger("torch.onnx")
    inner = [item for name, item in logging.root.manager.loggerDict.items() if name.startswith("torch.onnx")]
    loggers = [logger, *(item for item in inner if isinstance(item, logging.Logger))]
    levels = [(item, item.level) for item in loggers]
    for item in loggers:
        item.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for item, level in levels:
            item.setLevel(level)


def check_graph(path: Path) -> onnx.ModelProto:
    """Check a file in full, types and shapes of every node included; return its graph without external weights.

    Raises:
        ExportError: It is not valid.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
        # By file, since a model with external weights may be too large to be held as one message.
        onnx.shape_inference.infer_shapes_path(str(path), str(path) + ".shapes", check_type=True, strict_mode=True)
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise ExportError(
            f"The exported file is not valid: {in_short(error)}.", "try another opset", step="check"
        ) from error
    finally:
        Path(str(path) + ".shapes").unlink(missing_ok=True)


class OnnxSession:
    """An ONNX file in onnxruntime, on the CPU, with as many threads as PyTorch has.

    Raises:
        ExportError: onnxruntime cannot load it.
    """

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self.raw = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ExportError(
                f"onnxruntime {onnxruntime.__version__} cannot load {path.name}: {in_short(error)}.",
                "try an older opset",
                step="load",
            ) from error
        self.output_names = [item.name for item in self.raw.get_outputs()]

    def __call__(self, inputs: Inputs) -> Arrays:
        """Return the outputs for a batch.

        Raises:
            ExportError: onnxruntime cannot run it.
        """
        return self.run(inputs.arrays(), inputs.batch_size)

    def run(self, feed: Arrays, batch_size: int) -> Arrays:
        """As a call, of arrays by name."""
        try:
            return dict(zip(self.output_names, self.raw.run(self.output_names, feed), strict=True))
        except Exception as error:
            raise ExportError(
                f"onnxruntime cannot run the exported model on a batch of {batch_size}: {in_short(error)}.",
                "have no size of the batch written into forward; or give dynamic_batch=False",
                step="parity",
            ) from error
