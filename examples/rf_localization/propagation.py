"""How much of a signal arrives, and when: path loss, delay and Doppler of links.

Arrays have a scene a row and a receiver a column.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .local_frame import FRAME, haversine_km
from .receivers import ALTITUDES_M, POSITIONS
from .scene import SPEED_OF_LIGHT_KM_US, SimulatorConfig

_Floats = npt.NDArray[np.float64]


def free_space_loss_db(distance_km: npt.ArrayLike, carrier_mhz: float) -> _Floats:
    """Gives the loss between isotropic antennas: 20·log10(d) + 20·log10(f) + 32.44 (ITU-R P.525-4, equation 4)."""
    return np.asarray(20 * np.log10(distance_km) + 20 * np.log10(carrier_mhz) + 32.44, dtype=np.float64)


def distances_km(positions: npt.ArrayLike, config: SimulatorConfig) -> _Floats:
    """Gives (…, 7) slant distances from (…, 2) degrees to every receiver, in kilometres.

    The great circle and the difference of altitudes are the sides of a right triangle.
    """
    ground = haversine_km(np.asarray(positions, dtype=np.float64)[..., None, :], POSITIONS)
    return np.hypot(ground, (ALTITUDES_M - config.transmitter_altitude_m) / 1e3)


def mean_power_dbm(distance_km: npt.ArrayLike, config: SimulatorConfig) -> _Floats:
    """Gives the power received at a distance with average terrain and clutter and without fading, in dBm."""
    losses = config.terrain_loss_db + config.clutter_loss_db
    return config.transmit_power_dbm - free_space_loss_db(distance_km, config.carrier_mhz) - losses


def delays_us(distance_km: npt.ArrayLike) -> _Floats:
    """Gives the time light takes, in microseconds."""
    return np.asarray(distance_km, dtype=np.float64) / SPEED_OF_LIGHT_KM_US


def doppler_hz(positions: _Floats, velocities_mps: _Floats, config: SimulatorConfig) -> _Floats:
    """Gives (count, 7) Doppler shifts of transmitters that move with (count, 2) metres a second.

    The velocities are along the axes of the local frame, and the directions of receivers are taken
    in it. f·v/c with v the speed towards the receiver; above zero where the transmitter comes nearer.
    """
    towards = FRAME.to_km(POSITIONS) - FRAME.to_km(positions)[:, None, :]
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    closing = (towards * velocities_mps[:, None, :]).sum(axis=-1)
    return np.asarray(closing * config.carrier_mhz * 1e6 / (SPEED_OF_LIGHT_KM_US * 1e9), dtype=np.float64)
