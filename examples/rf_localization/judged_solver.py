"""What a network makes of the measurements before they are solved for a position.

Of each receiver it judges how far echoes spread and delay its arrival time, and what its power is worth.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .arrival_solver import ArrivalSolver, Heard, Solution
from .features import KINDS
from .local_frame import FRAME
from .multilateration import echo_variance_us2
from .propagation import mean_power_dbm
from .receivers import ALTITUDES_M, POSITIONS
from .scene import SimulatorConfig

_CONFIG = SimulatorConfig()
_JUDGED = 3
_TDOA_US = 200.0
_ECHO_VARIANCE_US2 = echo_variance_us2(_CONFIG) / 2
# Of a power in dB about its mean at a distance: terrain, clutter, and Rayleigh fading's 5.57 dB.
_LEVEL_VARIANCE_DB2 = _CONFIG.terrain_loss_std_db**2 + _CONFIG.clutter_loss_std_db**2 + 5.57**2
_LEVEL_DBM = float(mean_power_dbm(1.0, _CONFIG)) - 10 * np.euler_gamma / np.log(10)


class JudgedSolver(nn.Module):
    """Judges the measurements by joint features, and solves for the position.

    Args:
        width: Of the joint features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Linear(64, _JUDGED * len(POSITIONS))
        # It begins with a fair guess, as `multilateration` has it, and not with a random one.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.judge = nn.Sequential(nn.Linear(width, 64), nn.GELU(), last)
        self.solver = build_solver()

    def forward(self, joint: Tensor, measurements: Tensor) -> Solution:
        """Solve for (B, width) features and (B, M) measurements."""
        solution: Solution = self.solver(judged(measurements, self.judge(joint)))
        return solution


def judged(measurements: Tensor, judgement: Tensor) -> Heard:
    """Return what the receivers have heard, with what a judge makes of it.

    Args:
        measurements: (B, M), as `features.MEASUREMENTS` orders them.
        judgement: (B, 3 R): of each receiver ln of the µs that echoes spread its arrival time, the µs that they delay
            it, and ln of how many times more than it says its power is worth. Zeros are a fair guess.
    """
    kinds = measurements.reshape(-1, len(KINDS), len(POSITIONS))
    there, power, tdoa, tdoa_std = (kinds[:, KINDS.index(name)] for name in ("detected", "power", "tdoa", "tdoa_std"))
    detected = (there > 0.5).to(there.dtype)
    spread, delay, worth = judgement.reshape(-1, _JUDGED, len(POSITIONS)).unbind(1)
    variance = 100.0**tdoa_std + _ECHO_VARIANCE_US2 * torch.exp(2 * spread.clamp(-4, 4))
    levels = power * 20.0 - 100.0 - _LEVEL_DBM
    return Heard(
        tdoa * _TDOA_US - delay, detected / variance, levels, detected / _LEVEL_VARIANCE_DB2 * worth.clamp(-4, 4).exp()
    )


def build_solver() -> ArrivalSolver:
    """Return the solver for the example's receivers."""
    heights = (ALTITUDES_M - _CONFIG.transmitter_altitude_m)[:, None] / 1e3
    places = torch.cat([torch.tensor(FRAME.to_km(POSITIONS)), torch.tensor(heights)], 1)
    low = torch.tensor(FRAME.to_km(POSITIONS.min(0) - _CONFIG.margin_deg))
    high = torch.tensor(FRAME.to_km(POSITIONS.max(0) + _CONFIG.margin_deg))
    return ArrivalSolver(places, low, high)
