"""The court: a square of hexagons, the basket at the middle of its left side, and tables of its geometry.

Rows go down, and odd rows lie half a hexagon to the right (pointy tops, "odd-r"). Cell = row * size + column.
Angles are seen on the picture: 0 is E, counter-clockwise is positive, so NE is a sixth of a turn.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

# The steps (Δq, Δr) to E, NE, NW, W, SW, SE.
_STEPS = ((1, 0), (1, -1), (0, -1), (-1, 0), (-1, 1), (0, 1))
_LANE_ROWS = 1


class Court:
    """The geometry of a court of size x size hexagons; share one by `get_court`.

    Attributes:
        size: Hexagons along a side.
        cells: How many cells there are.
        basket: The basket's cell.
        axial: (cells, 2) int, the axial coordinates q and r.
        neighbour: (cells, 6) int16, the cell to the E, NE, NW, W, SW, SE; −1 off the court.
        distance: (cells, cells) int16, in hexes.
        to_basket: (cells,) int16, distance to the basket.
        xy: (cells, 2) float64, centres; x to the right, y down, in sides of a hexagon (neighbours are √3 apart).
        mirror: (cells,) int, the cell reflected about the basket's row; −1 where that is off the court.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.cells = size * size
        self.basket = (size // 2) * size
        row, column = np.divmod(np.arange(self.cells), size)
        self.axial = np.stack([column - (row - (row & 1)) // 2, row], axis=1)
        self.neighbour = self._neighbours()
        self.distance = self._distances()
        self.to_basket = self.distance[self.basket]
        self.xy = np.stack([np.sqrt(3.0) * (column + 0.5 * (row & 1)), 1.5 * row], axis=1)
        reflected = 2 * (size // 2) - row
        self.mirror = np.where(reflected < size, reflected * size + column, -1)

    @cached_property
    def angle(self) -> npt.NDArray[np.float64]:
        """(cells, cells), the direction from the first cell to the second in radians, −π to π; 0 to itself."""
        apart = self.xy[None, :, :] - self.xy[:, None, :]
        directions: npt.NDArray[np.float64] = np.arctan2(-apart[..., 1], apart[..., 0])
        return directions

    def lane(self, three_distance: int) -> npt.NDArray[np.bool_]:
        """Return (cells,) bool, the lane: nearer than the three-point line, at most a row from the basket's."""
        off = np.abs(self.axial[:, 1] - self.size // 2)
        lane: npt.NDArray[np.bool_] = (off <= _LANE_ROWS) & (self.to_basket < three_distance)
        return lane

    def cell_at(self, q: npt.NDArray[np.int_], r: npt.NDArray[np.int_]) -> npt.NDArray[np.int16]:
        """Return the cells at axial coordinates; −1 off the court."""
        column = q + (r - (r & 1)) // 2
        inside = (column >= 0) & (column < self.size) & (r >= 0) & (r < self.size)
        return np.where(inside, r * self.size + column, -1).astype(np.int16)

    def _neighbours(self) -> npt.NDArray[np.int16]:
        q, r = self.axial.T
        return np.stack([self.cell_at(q + dq, r + dr) for dq, dr in _STEPS], axis=1)

    def _distances(self) -> npt.NDArray[np.int16]:
        q, r = np.moveaxis(self.axial[None, :, :] - self.axial[:, None, :], -1, 0)
        distances: npt.NDArray[np.int16] = ((np.abs(q) + np.abs(q + r) + np.abs(r)) // 2).astype(np.int16)
        return distances


@lru_cache(maxsize=32)
def get_court(size: int) -> Court:
    """Return the court of this size, made once."""
    return Court(size)
