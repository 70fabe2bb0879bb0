"""Where a transmitter is, from arrival times and powers: a least-squares solution through which a network can learn.

At receiver i, a distance d from the transmitter, the delay is d / c + b, with one unknown b for all, and the power a
level that all share less 20·log10(d). The solution is found by the method of Gauss and Newton from the best point of a
grid, with weights of times that fall for outliers: those of Student's t with two degrees of freedom, as in
`multilateration`, of which this is the short form. All of it is plain tensor arithmetic of fixed length, so that
gradients pass through it, and so that it is exported with the network.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

KM_PER_US = 0.299792458
"""What light travels."""


_DB = 20 / math.log(10)
"""Decibels that a factor e of distance costs."""


class Heard(NamedTuple):
    """What the receivers have heard, (B, R) each.

    Attributes:
        delays_us: Arrival times in µs, up to a constant of each row.
        weights: One over the variance of each, in 1/µs²; 0 where nothing was received.
        levels_db: Powers, in dB over what is expected at a distance of 1 km.
        level_weights: One over the variance of each, in 1/dB²; 0 where nothing was received.
    """

    delays_us: Tensor
    weights: Tensor
    levels_db: Tensor
    level_weights: Tensor


class Solution(NamedTuple):
    """Where the transmitter is, and how well that is known.

    Attributes:
        position: (B, 2) km, east and north.
        spread: (B, 2) km: the square root of the variance by the weights, east and north.
        correlation: (B, 1): of the two errors, by the weights.
        misfit: (B, 1): the weighted mean square of the residuals, in units of the expected.
    """

    position: Tensor
    spread: Tensor
    correlation: Tensor
    misfit: Tensor


class ArrivalSolver(nn.Module):
    """Solves for positions by arrival times and powers.

    Args:
        receivers: (R, 3) km: east, north, and above the transmitters.
        low: (2,) km: the south-western corner of where transmitters may be.
        high: (2,) km: the north-eastern corner.
        grid: Points of the starting grid along each axis.
        steps: Of Gauss and Newton.
        prior_km: How far a transmitter may be from the grid's centre, as a standard deviation: it decides where what is
            heard leaves the position open.
    """

    places: Tensor
    heights2: Tensor
    centre: Tensor
    points: Tensor
    distances: Tensor

    def __init__(
        self, receivers: Tensor, low: Tensor, high: Tensor, grid: int = 32, steps: int = 6, prior_km: float = 80.0
    ) -> None:
        super().__init__()
        self.steps = steps
        self.prior = prior_km**-2
        axes = [torch.linspace(float(a), float(b), grid) for a, b in zip(low, high, strict=True)]
        points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
        self.register_buffer("places", receivers[:, :2].float(), persistent=False)
        # Never zero, so that there is a slope right at a receiver too.
        self.register_buffer("heights2", receivers[:, 2].float().square() + 1e-4, persistent=False)
        self.register_buffer("points", points, persistent=False)
        self.register_buffer("distances", self._distances(points), persistent=False)
        self.register_buffer("centre", ((low + high) / 2).float(), persistent=False)

    def forward(self, heard: Heard) -> Solution:
        """Solve a batch."""
        with torch.no_grad():
            position = self._start(heard)
        for _ in range(self.steps):
            position = position + self._step(position, heard)
        return self._describe(position, heard)

    def _distances(self, position: Tensor) -> Tensor:
        away = position[:, None] - self.places
        return (away.square().sum(-1) + self.heights2).sqrt()

    def _start(self, heard: Heard) -> Tensor:
        # A grid point is kilometres from the truth, so that outliers are told on that scale, not on the noise's.
        weights = 1 / (1 / heard.weights.clamp_min(1e-9) + 25.0) * (heard.weights > 0)
        late = heard.delays_us[:, None] - self.distances / KM_PER_US
        late = late - _mean(late, weights[:, None])
        faint = heard.levels_db[:, None] + _DB * self.distances.log()
        times = 1.5 * torch.log1p(weights[:, None] * late.square() / 2)
        cost = times + heard.level_weights[:, None] * faint.square() / 2
        return self.points[cost.sum(-1).argmin(-1)]

    def _normal_equations(self, position: Tensor, heard: Heard) -> tuple[Tensor, ...]:
        distance = self._distances(position)
        late = heard.delays_us - distance / KM_PER_US
        late = late - _mean(late, heard.weights)
        robust = 1.5 * heard.weights / (1 + heard.weights * late.square() / 2)
        late = late - _mean(late, robust)
        away = (position[:, None] - self.places) / distance[..., None]
        slopes = away / KM_PER_US
        slopes = slopes - _mean(slopes.transpose(1, 2), robust[:, None]).transpose(1, 2)
        falls = -_DB * away / distance[..., None]
        faint = heard.levels_db + _DB * distance.log()
        matrix = torch.einsum("br,bri,brj->bij", robust, slopes, slopes)
        matrix = matrix + torch.einsum("br,bri,brj->bij", heard.level_weights, falls, falls)
        right = torch.einsum("br,bri->bi", robust * late, slopes)
        right = right + torch.einsum("br,bri->bi", heard.level_weights * faint, falls)
        right = right - self.prior * (position - self.centre)
        misfit = (robust * late.square()).sum(-1, keepdim=True) / (heard.weights > 0).sum(-1, keepdim=True).clamp_min(1)
        return matrix[:, 0, 0] + self.prior, matrix[:, 0, 1], matrix[:, 1, 1] + self.prior, right, misfit

    def _step(self, position: Tensor, heard: Heard) -> Tensor:
        a, b, d, right, _ = self._normal_equations(position, heard)
        east = d * right[:, 0] - b * right[:, 1]
        north = a * right[:, 1] - b * right[:, 0]
        step = torch.stack([east, north], -1) / _determinant(a, b, d)[:, None]
        # Far from the solution a step of Gauss and Newton may lead out of the world.
        return step / (1 + step.square().sum(-1, keepdim=True) / 30.0**2).sqrt()

    def _describe(self, position: Tensor, heard: Heard) -> Solution:
        a, b, d, _, misfit = self._normal_equations(position, heard)
        spread = (torch.stack([d, a], -1) / _determinant(a, b, d)[:, None]).sqrt()
        correlation = -b / (a * d).sqrt()
        return Solution(position, spread, correlation[:, None], misfit)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum(-1, keepdim=True) / weights.sum(-1, keepdim=True).clamp_min(1e-9)


def _determinant(a: Tensor, b: Tensor, d: Tensor) -> Tensor:
    # The prior keeps it above zero; rounding in single precision need not.
    return torch.maximum(a * d - b * b, 1e-4 * a * d)
