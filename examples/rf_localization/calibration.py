"""Whether a predicted uncertainty is honest, and how it is made so.

Errors e with standard deviations σ lie in the ellipse (e₁/σ₁)² + (e₂/σ₂)² <= -2·ln(1 - p) with probability p: the sum
is exponentially distributed with mean 2. Counting how many do is coverage. A network is surer of what it learnt from
than of what it has not seen, so its σ is stretched until data that it did not learn from agree (Guo et al., "On
calibration of modern neural networks", ICML 2017; for regression Levi et al., 2022).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LEVELS = (0.5, 0.68, 0.95)
"""The shares of errors that regions are drawn for."""
ANCHOR = 0.68
"""The share that calibration makes right; the others follow as far as errors are Gaussian."""


def radius2(level: float) -> float:
    """Return the squared radius, in standard deviations, of the ellipse that holds this share of Gaussian errors."""
    return -2 * math.log1p(-level)


def distance2(errors: Tensor, sigma: Tensor) -> Tensor:
    """Return (N,) squared radii of (N, 2) errors in units of their (N, 2) standard deviations."""
    return (errors / sigma).square().sum(-1)


def coverage(squared: Tensor, level: float) -> Tensor:
    """Return the share of (N,) squared radii that lie in the region of this level."""
    return (squared <= radius2(level)).to(torch.get_default_dtype()).mean()


class Calibration(nn.Module):
    """Stretches standard deviations, each axis by a factor of its own; the factors are part of a checkpoint."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(2))

    def forward(self, sigma: Tensor) -> Tensor:
        """Return (N, 2) stretched standard deviations."""
        return sigma * self.scale

    @torch.no_grad()
    def fit(self, errors: Tensor, sigma: Tensor) -> None:
        """Find the factors by which the 68 % region holds 68 % of (N, 2) errors, with the axes' shares even.

        Quantiles decide, not mean squares: a few errors far out would otherwise widen every region.
        """
        if len(errors) == 0:
            return
        ratio = (errors / sigma).abs()
        one_axis = math.sqrt(2) * float(torch.special.erfinv(torch.tensor(ANCHOR, dtype=torch.float64)))
        scale = (torch.quantile(ratio, ANCHOR, dim=0) / one_axis).clamp_min(1e-3)
        both = torch.quantile((ratio / scale).square().sum(-1), ANCHOR) / radius2(ANCHOR)
        self.scale.copy_(scale * both.sqrt())
