"""Does onnxruntime answer as PyTorch does? On batches of several sizes, output by output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from holdfast.training.export.failure import ExportError
from holdfast.training.export.inputs import Inputs
from holdfast.training.export.rules import Arrays, ParityRule

Answer = Callable[[Inputs], Arrays]


@dataclass(frozen=True)
class OutputParity:
    """How far one output of one batch is from PyTorch's.

    Attributes:
        output: Its name.
        max_abs_error: The greatest |a - b|, in the unit of the output; infinite where NaN or infinities do not agree.
        max_rel_error: The greatest |a - b| / |b| where |b| > atol.
        mean_error: The mean of |a - b| over the mean of |b|.
        where: The index at which the rule is missed by most, the batch first; else that of the greatest error.
        outside: How many values miss the rule.
        problem: What else is wrong, such as another shape; empty where nothing is.
    """

    output: str
    max_abs_error: float
    max_rel_error: float
    mean_error: float
    where: tuple[int, ...] = ()
    outside: int = 0
    problem: str = ""


@dataclass(frozen=True)
class BatchParity:
    """One batch: where it comes from (`sample`, `random`, `given`), how many samples, and its outputs."""

    source: str
    batch_size: int
    outputs: tuple[OutputParity, ...]


@dataclass(frozen=True)
class ParityReport:
    """All that was compared.

    Attributes:
        rtol: The relative tolerance.
        atol: The absolute one.
        batches: What was found for each batch.
    """

    rtol: float
    atol: float
    batches: tuple[BatchParity, ...]

    @property
    def passed(self) -> bool:
        """Whether every value is within the tolerance."""
        return not any(item.outside or item.problem for batch in self.batches for item in batch.outputs)

    @property
    def max_abs_error(self) -> float:
        """The greatest |a - b| of all."""
        return max(item.max_abs_error for batch in self.batches for item in batch.outputs)

    @property
    def max_rel_error(self) -> float:
        """The greatest |a - b| / |b| of all."""
        return max(item.max_rel_error for batch in self.batches for item in batch.outputs)

    @property
    def mean_error(self) -> float:
        """The greatest mean error of an output of a batch."""
        return max(item.mean_error for batch in self.batches for item in batch.outputs)

    def worst(self, by: Callable[[OutputParity], Any] | None = None) -> tuple[BatchParity, OutputParity]:
        """Return the output that misses the rule by most, and its batch."""
        rank = by or (lambda item: (bool(item.problem), item.outside > 0, item.max_abs_error))
        pairs = [(batch, item) for batch in self.batches for item in batch.outputs]
        return max(pairs, key=lambda pair: rank(pair[1]))


def make_batches(
    sample: Inputs, given: Sequence[Inputs], rule: ParityRule, is_dynamic: bool
) -> list[tuple[str, Inputs]]:
    """Return the batches to compare on: the sample, those given, and random ones, each with where it comes from."""
    generator = torch.Generator().manual_seed(rule.seed)
    sizes = rule.batch_sizes if is_dynamic else (sample.batch_size,)
    drawn = [("random", sample.drawn(sizes[place % len(sizes)], generator)) for place in range(rule.batches)]
    return [("sample", sample), *(("given", batch) for batch in given), *drawn]


def compare(
    batches: Sequence[tuple[str, Inputs]], references: Sequence[Arrays], answer: Answer, rule: ParityRule
) -> ParityReport:
    """Compare on every batch.

    Args:
        batches: As of `make_batches`.
        references: What PyTorch answers to each.
        answer: Has onnxruntime answer one.
        rule: The tolerances.
    """
    found = []
    for (source, batch), expected in zip(batches, references, strict=True):
        got = answer(batch)
        outputs = tuple(_measure(name, got[name], value, rule) for name, value in expected.items())
        found.append(BatchParity(source, batch.batch_size, outputs))
    return ParityReport(rule.rtol, rule.atol, tuple(found))


def refuse_if_apart(report: ParityReport) -> None:
    """Make sure that a report passed.

    Raises:
        ExportError: It did not; says how far the worst output is off, and in which batch.
    """
    if report.passed:
        return
    batch, item = report.worst()
    missed = f"{item.outside} values are outside of rtol {report.rtol:g}, atol {report.atol:g}"
    worst = f"the greatest difference is {item.max_abs_error:.3g} at {list(item.where)}"
    raise ExportError(
        f"The exported model does not answer as PyTorch does: output {item.output} of a {batch.source} batch of "
        f"{batch.batch_size}: {item.problem or f'{worst}; {missed}'}.",
        "make forward depend on its inputs alone, the same in eval mode and in export; or, where the difference is one "
        "of rounding, allow more: ParityRule(rtol=…, atol=…), or --rtol and --atol",
        step="parity",
    )


def _measure(name: str, got: NDArray[Any], expected: NDArray[Any], rule: ParityRule) -> OutputParity:
    if got.shape != expected.shape or got.dtype != expected.dtype:
        what = f"it is {got.dtype} {list(got.shape)}, PyTorch's {expected.dtype} {list(expected.shape)}"
        return OutputParity(name, np.inf, np.inf, np.inf, problem=what)
    if not expected.size:
        return OutputParity(name, 0.0, 0.0, 0.0)
    a, b = got.astype(np.float64), expected.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        error = np.where(same, 0.0, np.abs(a - b))
        error = np.where(np.isfinite(error), error, np.inf)
        size = np.where(np.isfinite(b), np.abs(b), 0.0)
        allowed = rule.atol + rule.rtol * size
        relative = np.where(size > rule.atol, error / size, 0.0)
        mean_size = float(size.mean())
        mean = float(error.mean()) / mean_size if mean_size else float(error.max() > 0) * np.inf if error.any() else 0.0
    place = np.unravel_index(int(np.argmax(error - allowed)), error.shape)
    outside = int(np.count_nonzero(error > allowed))
    where = tuple(int(at) for at in place)
    return OutputParity(name, float(error.max()), float(relative.max()), float(mean), where, outside)
