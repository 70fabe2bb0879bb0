"""What an export is measured by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import InvalidInputError

Arrays = dict[str, NDArray[Any]]
Metric = Callable[[Mapping[str, NDArray[Any]], Mapping[str, NDArray[Any]]], float]


@dataclass(frozen=True)
class ParityRule:
    """How the exported model is compared with PyTorch.

    A value `a` of onnxruntime agrees with `b` of PyTorch where |a - b| <= atol + rtol |b|, as with `numpy.allclose`;
    PyTorch's values must be finite, and shapes and types the same.

    Attributes:
        batches: How many random batches, besides the sample inputs and those that are given.
        batch_sizes: Their sizes, in turn; where the batch size is fixed, all have that one.
        rtol: Relative tolerance.
        atol: Absolute tolerance, in the unit of the output.
        seed: Of the random batches: floating inputs are drawn normally with the mean and spread of the sample, integers
            evenly from its range.
        repeats: How often each batch size is timed; the median counts. 0 for no timing.
    """

    batches: int = 5
    batch_sizes: tuple[int, ...] = (1, 2, 7, 16, 3)
    rtol: float = 1e-3
    atol: float = 1e-4
    seed: int = 0
    repeats: int = 20

    def __post_init__(self) -> None:
        wrong = {
            "batches is less than 1": self.batches < 1,
            "batch_sizes is empty, or holds one less than 1": not self.batch_sizes or min(self.batch_sizes) < 1,
            "rtol is negative or no number": not _is_tolerance(self.rtol),
            "atol is negative or no number": not _is_tolerance(self.atol),
            "repeats is negative": self.repeats < 0,
        }
        _refuse("The parity rule", [what for what, is_so in wrong.items() if is_so])


@dataclass(frozen=True)
class QuantizeRule:
    """How the weights are quantised, and what that may cost.

    Attributes:
        kind: `int8`.
        calibration: Batches, of the kind of the sample inputs, by which activations are quantised too (static
            quantisation); without, the scale of the activations is found at each call (dynamic quantisation).
        max_mean_error: The most that the mean of |a - b|, over the mean of |b|, may be in any output; a share.
        metric: Measures the outputs of one batch, PyTorch's first: `metric(reference, quantised)`. Decides instead of
            `max_mean_error` where it is given.
        max_metric: The most that it may be, in each batch.
    """

    kind: Literal["int8"] = "int8"
    calibration: Sequence[Any] | None = None
    max_mean_error: float = 0.05
    metric: Metric | None = None
    max_metric: float | None = None

    def __post_init__(self) -> None:
        wrong = {
            f"kind is {self.kind!r}, and not 'int8'": self.kind != "int8",
            "calibration is empty": self.calibration is not None and len(self.calibration) == 0,
            "max_mean_error is negative or no number": not _is_tolerance(self.max_mean_error),
            "metric and max_metric belong together": (self.metric is None) != (self.max_metric is None),
            "max_metric is no number": self.max_metric is not None and not math.isfinite(self.max_metric),
        }
        _refuse("The rule of quantisation", [what for what, is_so in wrong.items() if is_so])


def quantize_rule(given: QuantizeRule | str | None) -> QuantizeRule | None:
    """Return the rule for `"int8"`, for a rule, or None for None.

    Raises:
        InvalidInputError: It is another word.
    """
    return QuantizeRule(kind=given) if isinstance(given, str) else given  # type: ignore[arg-type]


def _is_tolerance(value: float) -> bool:
    return bool(np.isfinite(value)) and value >= 0


def _refuse(what: str, problems: list[str]) -> None:
    if problems:
        raise InvalidInputError(
            f"{what} is not valid: {'; '.join(problems)}.", "see the attributes of ParityRule and QuantizeRule"
        )
