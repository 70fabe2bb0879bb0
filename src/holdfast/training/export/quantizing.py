"""The same model in 8-bit integers, and what that costs."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from holdfast.training.export.facts import sha256_of
from holdfast.training.export.failure import ExportError, in_short
from holdfast.training.export.graph import OnnxSession
from holdfast.training.export.inputs import Inputs
from holdfast.training.export.parity import ParityReport, compare
from holdfast.training.export.rules import Arrays, ParityRule, QuantizeRule


@dataclass(frozen=True)
class QuantizedExport:
    """A quantised model.

    Attributes:
        path: Its file, `model.int8.onnx`.
        method: `dynamic` or `static`.
        sha256: Of the file.
        size_bytes: Of the file.
        parity: How far it is from PyTorch; measured, and judged by `mean_error` or by the metric alone.
        worst_metric: The greatest value of the rule's metric over the batches; None where it has none.
        tolerance: What the mean error, or the metric, was allowed to be.
    """

    path: Path
    method: str
    sha256: str
    size_bytes: int
    parity: ParityReport
    worst_metric: float | None
    tolerance: float


class _Reader(CalibrationDataReader):  # type: ignore[misc,unused-ignore]
    """Hands out the calibration batches."""

    def __init__(self, batches: Sequence[Inputs]) -> None:
        self._left = iter([batch.arrays() for batch in batches])

    def get_next(self) -> Arrays | None:
        """Return the next batch, or None after the last."""
        return next(self._left, None)


def quantize_model(
    source: Path,
    target: Path,
    rule: QuantizeRule,
    calibration: Sequence[Inputs],
    batches: Sequence[tuple[str, Inputs]],
    references: Sequence[Arrays],
    checks: ParityRule,
) -> QuantizedExport:
    """Quantise a model and measure what it answers then.

    Args:
        source: The checked float model.
        target: Where the quantised one goes.
        rule: How, and what it may cost.
        calibration: Batches by which activations are quantised; empty for dynamic quantisation.
        batches: As of `compare`.
        references: As of `compare`.
        checks: The tolerances that are shown in the report.

    Raises:
        ExportError: onnxruntime cannot quantise it, nothing in it can be, or it costs more than the rule allows.
    """
    try:
        with _quiet():
            _write(source, target, calibration)
            onnx.checker.check_model(str(target))
    except Exception as error:
        raise ExportError(
            f"The model cannot be quantised to int8: {in_short(error)}.", "leave quantize out", step="int8"
        ) from error
    _refuse_unchanged(target)
    session = OnnxSession(target)
    report = compare(batches, references, session, checks)
    worst = _worst_metric(session, rule, batches, references)
    tolerance = rule.max_mean_error if rule.max_metric is None else rule.max_metric
    method = "static" if calibration else "dynamic"
    _judge(report, worst, tolerance, method)
    return QuantizedExport(target, method, sha256_of(target), target.stat().st_size, report, worst, tolerance)


def _write(source: Path, target: Path, calibration: Sequence[Inputs]) -> None:
    prepared = target.with_suffix(".prepared")
    try:
        # Folds batch norms and names shapes, without which quantisation leaves out what it does not understand.
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        kinds = _forget_shapes(prepared)
        if calibration:
            quantize_static(
                str(prepared),
                str(target),
                _Reader(calibration),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
            )
            return
        # onnxruntime's integer convolution on the CPU knows unsigned weights only.
        quantize_dynamic(
            str(prepared), str(target), weight_type=QuantType.QUInt8 if "Conv" in kinds else QuantType.QInt8
        )
    finally:
        prepared.unlink(missing_ok=True)


def _forget_shapes(path: Path) -> set[str]:
    """Delete the shapes of a model's inner values, and return the kinds of its nodes.

    onnxruntime transposes the weights of a linear layer and keeps the shape that they had, which it refuses then.
    """
    model = onnx.load(str(path))
    del model.graph.value_info[:]
    onnx.save(model, str(path))
    return {node.op_type for node in model.graph.node}


def _refuse_unchanged(path: Path) -> None:
    kinds = {node.op_type for node in onnx.load(str(path), load_external_data=False).graph.node}
    if not any("Integer" in kind or "QuantizeLinear" in kind or kind.startswith("QLinear") for kind in kinds):
        raise ExportError(
            "There is nothing in the model that can be quantised to int8.", "leave quantize out", step="int8"
        )


def _worst_metric(
    session: OnnxSession, rule: QuantizeRule, batches: Sequence[tuple[str, Inputs]], references: Sequence[Arrays]
) -> float | None:
    if rule.metric is None:
        return None
    values = [
        float(rule.metric(expected, session(batch))) for (_, batch), expected in zip(batches, references, strict=True)
    ]
    # NaN is not within any tolerance, and `max` would lose it.
    return next((value for value in values if math.isnan(value)), max(values))


def _judge(report: ParityReport, worst: float | None, tolerance: float, method: str) -> None:
    """Refuse what costs too much.

    Raises:
        ExportError: It does.
    """
    batch, item = report.worst(lambda output: (bool(output.problem), output.mean_error))
    value = item.mean_error if worst is None else worst
    if value <= tolerance and not item.problem:
        return
    what = f"its mean error is {value:.3g} of the output" if worst is None else f"its metric is {value:.4g}"
    raise ExportError(
        f"The model quantised to int8 ({method}) is not good enough, though the float model is: "
        f"{item.problem or f'{what}, and {tolerance:g} is allowed'} (output {item.output}, a {batch.source} batch of "
        f"{batch.batch_size}; greatest difference {item.max_abs_error:.3g}).",
        "leave quantize out, calibrate it with real batches (QuantizeRule(calibration=…)), or allow more",
        step="int8",
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime advises a step that has been done; it says so on the root logger."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)
