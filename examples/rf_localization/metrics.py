"""What is measured of predictions, right over a whole epoch: medians of all errors, not means of batches' medians."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from .calibration import LEVELS, coverage, distance2
from .geometry import haversine_km, to_latlon
from .network import Prediction


class Collected(NamedTuple):
    """What was predicted in an epoch.

    Attributes:
        errors: (N, 2) km east and north: truth less prediction.
        sigmas: (N, 2) km: the standard deviations that the network gave.
        distances: (N,) km on the great circle.
    """

    errors: Tensor
    sigmas: Tensor
    distances: Tensor


class EpochPredictions(Metric):
    """Collects an epoch's predictions, of all processes of a distributed run."""

    full_state_update = False
    higher_is_better = False

    errors: list[Tensor]
    sigmas: list[Tensor]
    distances: list[Tensor]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name in Collected._fields:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, prediction: Prediction, position: Tensor) -> None:
        """Take a batch.

        Args:
            prediction: What was predicted, in km.
            position: (B, 2) km: the truth.
        """
        guess, truth = prediction.position.detach().double(), position.double()
        self.errors.append(truth - guess)
        self.sigmas.append(prediction.sigma.detach().double())
        self.distances.append(haversine_km(to_latlon(guess), to_latlon(truth)))

    def compute(self) -> Collected:
        """Return all that was taken since the last reset."""
        return Collected(*(_joined(getattr(self, name)) for name in Collected._fields))


def _joined(parts: Any) -> Tensor:
    # Once the processes' parts are gathered, they are one tensor already.
    return torch.cat(parts) if isinstance(parts, list) else parts


def measure(collected: Collected, scale: Tensor) -> dict[str, Tensor]:
    """Measure an epoch's predictions.

    Args:
        collected: The predictions.
        scale: (2,): what calibration stretches the standard deviations by.

    Returns:
        `loss`: the Gaussian negative log-likelihood, not stretched; `mae`: km, over both axes; `median_km`, `p68_km`
        and `p95_km` of the great-circle errors; `coverage_50`, `coverage_68` and `coverage_95`: the shares of true
        positions within the regions that the stretched uncertainty draws; `coverage_68_raw`: before it is stretched.
    """
    errors, sigmas, distances = collected
    loss = (errors.square() / (2 * sigmas.square()) + sigmas.log()).mean()
    quantiles = torch.quantile(distances, distances.new_tensor([0.5, 0.68, 0.95]))
    named = dict(zip(("median_km", "p68_km", "p95_km"), quantiles, strict=True))
    squared = distance2(errors, sigmas * scale)
    covered = {f"coverage_{round(100 * level)}": coverage(squared, level) for level in LEVELS}
    raw = coverage(distance2(errors, sigmas), 0.68)
    found = {"loss": loss, "mae": errors.abs().mean()} | named | covered | {"coverage_68_raw": raw}
    return {name: value.float() for name, value in found.items()}
