"""LocalizationNet: a ConvNeXt trunk over the pictures, the measurements beside it, and two heads.

One head says where the transmitter is, the other how far that may be wrong. What is learnt are not coordinates from
nothing: the network judges each receiver's arrival time (how late an echo made it, how much it is worth), a
least-squares solution follows from these judgements, and the heads correct it. With `solver=False` the heads have to
find coordinates by themselves.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .arrival_solver import Solution
from .backbone import SIZES, build_trunk, find_size
from .judged_solver import JudgedSolver

_CENTRE_SPREAD_KM = 50.0
_LEAST_SIGMA_KM, _MOST_SIGMA_KM = 0.01, 300.0


class Prediction(NamedTuple):
    """Where, and how sure.

    Attributes:
        position: (B, 2) km east and north in `FRAME`.
        sigma: (B, 2) km: the standard deviations of the errors east and north.
    """

    position: Tensor
    sigma: Tensor


class LocalizationNet(nn.Module):
    """Predicts a transmitter's position and how uncertain it is.

    Args:
        channels: C of the images.
        measurements: M, as `features.MEASUREMENTS` orders them.
        backbone: `nano`, `tiny`, `small`, `base` or `large`; `CONVNEXT_LARGE` is a spelling of the last.
        pretrained: Whether the trunk begins with the hub's weights.
        freeze_backbone: Whether the trunk's weights stay as they are.
        solver: Whether arrival times are solved for, and the heads correct the solution.
        dropout: Share of the joint features that is dropped while learning.

    Raises:
        InvalidInputError: There is no such backbone, or none with pretrained weights.
        ArtifactError: The pretrained weights cannot be fetched.
    """

    def __init__(
        self,
        channels: int,
        measurements: int,
        backbone: str = "nano",
        pretrained: bool = False,
        freeze_backbone: bool = False,
        solver: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        size = find_size(backbone)
        self.trunk = build_trunk(size, channels, pretrained)
        self.trunk.requires_grad_(not freeze_backbone)
        self.vector = nn.Sequential(
            nn.Linear(measurements, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 64)
        )
        width = SIZES[size].widths[-1] + 64
        self.solver = JudgedSolver(width) if solver else None
        joint = width + (6 if solver else 0)
        self.position_head = _head(joint, dropout)
        self.sigma_head = _head(joint, dropout)

    def adopt_pretrained(self, backbone: str, freeze: bool) -> None:
        """Put the hub's weights into the trunk."""
        channels = self.trunk.config.num_channels
        self.trunk = build_trunk(find_size(backbone), channels, pretrained=True)
        self.trunk.requires_grad_(not freeze)

    def forward(self, images: Tensor, measurements: Tensor) -> Prediction:
        """Predict for a batch.

        Args:
            images: (B, C, 128, 32), as `features.extract` gives them.
            measurements: (B, M), likewise.
        """
        pooled = self.trunk(images).pooler_output
        joint = torch.cat([pooled, self.vector(measurements)], 1)
        start, spread = torch.zeros_like(joint[:, :2]), torch.full_like(joint[:, :2], _CENTRE_SPREAD_KM)
        if self.solver is not None:
            solution: Solution = self.solver(joint, measurements)
            start, spread = solution.position, solution.spread.clamp(0.05, 100.0)
            joint = torch.cat([joint, _describe(solution)], 1)
        # In units of what the solution claims to know, both heads' answers are of order one wherever it is.
        position = start + spread * self.position_head(joint)
        sigma = spread * nn.functional.softplus(self.sigma_head(joint))
        return Prediction(position, sigma.clamp(_LEAST_SIGMA_KM, _MOST_SIGMA_KM))


def _describe(solution: Solution) -> Tensor:
    position, spread, correlation, misfit = solution
    return torch.cat([position / _CENTRE_SPREAD_KM, spread.log(), correlation, misfit.add(1e-3).log()], 1)


def _head(width: int, dropout: float) -> nn.Sequential:
    last = nn.Linear(64, 2)
    # It begins as the solution it corrects, with the spread that the solution claims: softplus(0.54) is one.
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, 0.0)
    return nn.Sequential(nn.Linear(width, 128), nn.GELU(), nn.Dropout(dropout), nn.Linear(128, 64), nn.GELU(), last)


def gaussian_nll(prediction: Prediction, position: Tensor) -> Tensor:
    """Return the loss: mean[(y - μ)² / (2σ²) + ln σ], over samples and both axes, in km.

    The negative logarithm of a Gaussian density, less the constant ln √(2π) (Nix and Weigend 1994).
    """
    error = position - prediction.position
    return (error.square() / (2 * prediction.sigma.square()) + prediction.sigma.log()).mean()


def count_parameters(network: nn.Module) -> int:
    """Return how many numbers a network learns."""
    return sum(math.prod(parameter.shape) for parameter in network.parameters() if parameter.requires_grad)
