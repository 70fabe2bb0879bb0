"""The receivers: seven fixed stations in the north-west of Italy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Receiver:
    """One receiving station.

    Attributes:
        name: The place it stands in.
        latitude: Degrees north.
        longitude: Degrees east.
        altitude_m: Metres above the sea.
    """

    name: str
    latitude: float
    longitude: float
    altitude_m: float


RECEIVERS: tuple[Receiver, ...] = (
    Receiver("Giaveno", 45.03, 7.27, 600.0),
    Receiver("Montanaro", 45.234, 7.857, 300.0),
    Receiver("Torino", 45.044, 7.672, 250.0),
    Receiver("Coazze", 45.048, 7.238, 700.0),
    Receiver("Passo dei Giovi", 44.561, 8.956, 480.0),
    Receiver("Genova", 44.395, 8.956, 100.0),
    Receiver("Milano-Baggio", 45.478, 9.123, 120.0),
)

POSITIONS: npt.NDArray[np.float64] = np.array([[each.latitude, each.longitude] for each in RECEIVERS])
"""(7, 2) degrees: latitude and longitude of every receiver, in the order of `RECEIVERS`."""

ALTITUDES_M: npt.NDArray[np.float64] = np.array([each.altitude_m for each in RECEIVERS])
"""(7,) metres above the sea."""
