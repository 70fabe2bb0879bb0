"""`export_onnx`: a module as an ONNX file that answers as the module does."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from holdfast.training.export.facts import (
    TensorSchema,
    Timing,
    counts_of,
    opset_of,
    refuse_fixed_batch,
    schema_of,
    sha256_of,
    time_both,
    versions,
)
from holdfast.training.export.failure import ExportError
from holdfast.training.export.folder import check_folder
from holdfast.training.export.graph import OnnxSession, check_graph, check_opset, write_graph
from holdfast.training.export.inputs import Inputs, as_inputs
from holdfast.training.export.parity import ParityReport, compare, make_batches, refuse_if_apart
from holdfast.training.export.quantizing import QuantizedExport, quantize_model
from holdfast.training.export.reference import at_rest, run_module
from holdfast.training.export.rules import Arrays, ParityRule, QuantizeRule, quantize_rule

NAME = "model.onnx"
INT8_NAME = "model.int8.onnx"


@dataclass(frozen=True)
class OnnxExport:
    """An exported model that was checked, loaded and compared.

    Attributes:
        path: The file, `model.onnx`.
        data_paths: The files beside it with its weights, where they are more than 2 GB; else empty.
        opset: The version of ONNX's operators.
        inputs: Their schema.
        outputs: Their schema.
        parity: What was compared with PyTorch.
        timings: Per batch size, the smallest first.
        parameters: How many the module has.
        trainable_parameters: How many of them are trained.
        sha256: Of `path`.
        size_bytes: Of all files of the model together.
        module: The class of the module, as `package.module.Class`.
        versions: Of Python, torch, onnx, onnxruntime and onnxscript.
        example: The sample inputs, by name.
        example_outputs: What PyTorch answers to them, by name.
        int8: The quantised model, where one was asked for.
    """

    path: Path
    data_paths: tuple[Path, ...]
    opset: int
    inputs: tuple[TensorSchema, ...]
    outputs: tuple[TensorSchema, ...]
    parity: ParityReport
    timings: tuple[Timing, ...]
    parameters: int
    trainable_parameters: int
    sha256: str
    size_bytes: int
    module: str
    versions: dict[str, str]
    example: Arrays
    example_outputs: Arrays
    int8: QuantizedExport | None = None

    @property
    def metadata(self) -> dict[str, Any]:
        """All of it that can be written as JSON: what `metadata.json` holds, but for the run."""
        found: dict[str, Any] = {
            "file": self.path.name,
            "data_files": [path.name for path in self.data_paths],
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "opset": self.opset,
            "module": self.module,
            "parameters": self.parameters,
            "trainable_parameters": self.trainable_parameters,
            "inputs": [asdict(item) for item in self.inputs],
            "outputs": [asdict(item) for item in self.outputs],
            "parity": summary(self.parity),
            "timings": [asdict(item) for item in self.timings],
            "versions": self.versions,
        }
        return found if self.int8 is None else found | {"int8": int8_summary(self.int8)}


def summary(report: ParityReport) -> dict[str, Any]:
    """Return what a parity report comes to."""
    return {
        "passed": report.passed,
        "rtol": report.rtol,
        "atol": report.atol,
        "batches": len(report.batches),
        "batch_sizes": sorted({batch.batch_size for batch in report.batches}),
        "max_abs_error": report.max_abs_error,
        "max_rel_error": report.max_rel_error,
        "mean_error": report.mean_error,
    }


def int8_summary(found: QuantizedExport) -> dict[str, Any]:
    """Return what is known of a quantised model; that it is there says that it is within its tolerance."""
    parity = {name: value for name, value in summary(found.parity).items() if name not in ("passed", "rtol", "atol")}
    return {
        "file": found.path.name,
        "method": found.method,
        "sha256": found.sha256,
        "size_bytes": found.size_bytes,
        "parity": parity | {"worst_metric": found.worst_metric, "tolerance": found.tolerance},
    }


def export_onnx(
    module: nn.Module,
    sample_inputs: Any,
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset: int | None = None,
    dynamic_batch: bool = True,
    checks: ParityRule | None = None,
    check_inputs: Sequence[Any] = (),
    quantize: QuantizeRule | str | None = None,
    into: str | Path | None = None,
) -> OnnxExport:
    """Export a module as an ONNX file, and make sure that it answers as the module does.

    It is checked in full, loaded by onnxruntime, and compared with PyTorch in eval mode on the sample, `check_inputs`
    and random batches of several sizes. The module, its modes and its device are as before when this returns, and so
    are the random states; nothing is drawn from them.

    Args:
        module: Any `nn.Module`, a LightningModule too.
        sample_inputs: A tensor, a tuple of tensors, or a dictionary of them by `forward`'s parameters; the first
            dimension of each is the batch, of any size from 1. Values as they are in use: random batches are drawn in
            their likeness.
        input_names: Names of the inputs in the ONNX model; `input`, `input_1` … or the dictionary's keys if not given.
        output_names: Names of the outputs, in the order in which `forward` gives them; `output`, `output_1` … or the
            keys of the dictionary, or the fields of the named tuple, that it gives, if not given.
        opset: The version of ONNX's operators; the newest that the installed exporter, checker and onnxruntime take.
        dynamic_batch: Whether the batch size is free in the ONNX model, as the dimension `batch`.
        checks: What the comparison is like.
        check_inputs: Further batches to compare on, each of the kind of the sample.
        quantize: `"int8"`, or a rule, for a second file in 8-bit integers.
        into: The folder for the files; a new temporary one if not given. Files of an earlier export are replaced, once
            everything has passed.

    Raises:
        ExportError: A step failed; says which, and what differed. No file is left then, and those of an earlier export
            stay.
        InvalidInputError: Inputs, names, opset, a rule or the folder are not valid.
    """
    rule, int8 = checks or ParityRule(), quantize_rule(quantize)
    chosen = check_opset(opset)
    sample = as_inputs(sample_inputs, input_names)
    given = [as_inputs(one, sample.names, sample) for one in check_inputs]
    calibration = [as_inputs(one, sample.names, sample) for one in (int8.calibration if int8 else None) or ()]
    folder = Path(tempfile.mkdtemp(prefix="holdfast-onnx-")) if into is None else check_folder(Path(into))
    batches = make_batches(sample, given, rule, dynamic_batch)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as scratch, at_rest(module):
        path = Path(scratch) / NAME
        references = _references(module, batches, output_names)
        write_graph(module, sample, list(references[0]), chosen, dynamic_batch, path)
        if dynamic_batch:
            refuse_fixed_batch(schema_of(check_graph(path).graph.input))
        found = _measured(module, path, batches, references, rule)
        if int8 is not None:
            target = path.with_name(INT8_NAME)
            found["int8"] = quantize_model(path, target, int8, calibration, batches, references, rule)
        return _moved(OnnxExport(**found), folder)


def _references(
    module: nn.Module, batches: list[tuple[str, Inputs]], output_names: Sequence[str] | None
) -> list[Arrays]:
    """Return what PyTorch answers to each batch, and make sure that it would again.

    Raises:
        ExportError: It cannot run one, gives another answer the second time, or one that is not finite.
    """
    references = [run_module(module, batch, output_names) for _, batch in batches]
    for (source, batch), answers in zip(batches, references, strict=True):
        _refuse_infinite(module, source, batch, answers)
    # The largest, in which what is random has the least chance to come out the same.
    place = max(range(len(batches)), key=lambda number: batches[number][1].batch_size)
    again = run_module(module, batches[place][1], output_names)
    for name, value in references[place].items():
        if not np.array_equal(value, again[name]):
            raise ExportError(
                f"{type(module).__name__} answers the same batch differently the second time, in eval mode: output "
                f"{name} differs by up to {np.max(np.abs(value.astype(float) - again[name].astype(float))):.3g}.",
                "switch off in eval mode what is random or keeps a state (F.dropout(x, training=self.training))",
                step="run",
            )
    return references


def _refuse_infinite(module: nn.Module, source: str, batch: Inputs, answers: Arrays) -> None:
    """Make sure that PyTorch's own answers are numbers: what agrees with NaN says nothing of a model.

    Raises:
        ExportError: They are not all.
    """
    for name, value in answers.items():
        bad = int(np.count_nonzero(~np.isfinite(value))) if value.dtype.kind in "fc" else 0
        if bad:
            raise ExportError(
                f"{type(module).__name__} itself, in PyTorch, does not answer with finite numbers: {bad} of "
                f"{value.size} values of output {name} of a {source} batch of {batch.batch_size} are NaN or infinite.",
                "train it anew, or from an earlier checkpoint; or, where its weights are well, give sample_inputs with "
                "values as they are in use",
                step="run",
            )


def _measured(
    module: nn.Module, path: Path, batches: list[tuple[str, Inputs]], references: list[Arrays], rule: ParityRule
) -> dict[str, Any]:
    model = check_graph(path)
    session = OnnxSession(path)
    parity = compare(batches, references, session, rule)
    refuse_if_apart(parity)
    parameters, trained = counts_of(module)
    files = [file for file in path.parent.iterdir() if file.is_file()]
    return {
        "path": path,
        "data_paths": tuple(sorted(file for file in files if file != path)),
        "opset": opset_of(model),
        "inputs": schema_of(model.graph.input),
        "outputs": schema_of(model.graph.output),
        "parity": parity,
        "timings": time_both(module, session, [batch for _, batch in batches], rule.repeats),
        "parameters": parameters,
        "trainable_parameters": trained,
        "sha256": sha256_of(path),
        "size_bytes": sum(file.stat().st_size for file in files),
        "module": f"{type(module).__module__}.{type(module).__qualname__}",
        "versions": versions(),
        "example": batches[0][1].arrays(),
        "example_outputs": references[0],
    }


def _moved(found: OnnxExport, folder: Path) -> OnnxExport:
    """Bring the files to where they were wanted; one that an earlier export left and this has not is deleted."""
    wanted = [*found.data_paths, *([found.int8.path] if found.int8 else []), found.path]
    for stale in (NAME, f"{NAME}.data", INT8_NAME):
        if stale not in {path.name for path in wanted}:
            (folder / stale).unlink(missing_ok=True)
    for path in wanted:
        shutil.move(path, folder / path.name)
    moved_int8 = found.int8 and replace(found.int8, path=folder / found.int8.path.name)
    data_paths = tuple(folder / path.name for path in found.data_paths)
    return replace(found, path=folder / found.path.name, data_paths=data_paths, int8=moved_int8)
