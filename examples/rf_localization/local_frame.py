"""Degrees to kilometres and back, on a sphere.

The plane is the azimuthal equidistant projection about its centre: distances and directions from
the centre are exact, and within 150 km of it no distance is wrong by more than a ten-thousandth.
Formulas: J. P. Snyder, "Map Projections: A Working Manual" (USGS 1395, 1987), section 25.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .receivers import POSITIONS

EARTH_RADIUS_KM = 6371.0088  # the mean radius of the WGS 84 ellipsoid

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LocalFrame:
    """A plane that touches the Earth at one point.

    Attributes:
        latitude0: Degrees north of the centre.
        longitude0: Degrees east of the centre.
    """

    latitude0: float
    longitude0: float

    def to_km(self, latlon: npt.ArrayLike) -> _Floats:
        """Projects (…, 2) degrees (latitude, longitude) to (…, 2) kilometres east and north."""
        latitude, east = self._radians(latlon)
        centre = np.radians(self.latitude0)
        across = np.cos(latitude) * np.sin(east)
        along = np.cos(centre) * np.sin(latitude) - np.sin(centre) * np.cos(latitude) * np.cos(east)
        sine = np.hypot(across, along)
        angle = np.arctan2(sine, np.sin(centre) * np.sin(latitude) + np.cos(centre) * np.cos(latitude) * np.cos(east))
        scale = EARTH_RADIUS_KM * np.divide(angle, sine, out=np.ones_like(sine), where=sine > 0)
        return np.stack([scale * across, scale * along], axis=-1)

    def to_latlon(self, km: npt.ArrayLike) -> _Floats:
        """Projects (…, 2) kilometres east and north back to (…, 2) degrees: the inverse of `to_km`."""
        east, north = np.moveaxis(np.asarray(km, dtype=np.float64), -1, 0)
        centre = np.radians(self.latitude0)
        angle = np.hypot(east, north) / EARTH_RADIUS_KM
        ratio = np.sinc(angle / np.pi) / EARTH_RADIUS_KM  # sin(angle) / distance, 1 / R at the centre
        sine = np.clip(np.cos(angle) * np.sin(centre) + north * ratio * np.cos(centre), -1, 1)
        turn = np.arctan2(east * ratio, np.cos(centre) * np.cos(angle) - north * ratio * np.sin(centre))
        return np.stack([np.degrees(np.arcsin(sine)), self.longitude0 + np.degrees(turn)], axis=-1)

    def _radians(self, latlon: npt.ArrayLike) -> tuple[_Floats, _Floats]:
        degrees = np.asarray(latlon, dtype=np.float64)
        return np.radians(degrees[..., 0]), np.radians(degrees[..., 1] - self.longitude0)


def haversine_km(a: npt.ArrayLike, b: npt.ArrayLike) -> _Floats:
    """Gives the great-circle distance between points of (…, 2) degrees, in kilometres.

    The haversine formula (R. W. Sinnott, Sky and Telescope 68, 1984), on a sphere of the mean radius.
    """
    first, second = np.radians(np.asarray(a, dtype=np.float64)), np.radians(np.asarray(b, dtype=np.float64))
    half = np.sin((second - first) / 2) ** 2
    chord = half[..., 0] + np.cos(first[..., 0]) * np.cos(second[..., 0]) * half[..., 1]
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(chord, 0, 1))), dtype=np.float64)


FRAME = LocalFrame(*(float(each) for each in POSITIONS.mean(axis=0)))
"""The frame of the example, centred amid the receivers."""
