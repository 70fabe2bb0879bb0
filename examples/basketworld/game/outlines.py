"""Where lines of the court run: hexagons, the edge of the floor, the three-point line, and the lane.

Lengths are in steps: neighbouring centres are one apart. x runs east and y runs south, as on a screen, so that
a picture needs only a scale and a shift.
"""

from __future__ import annotations

import functools
from collections import defaultdict

import numpy as np
import numpy.typing as npt

from .court import get_court

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
RADIUS = 1 / np.sqrt(3)  # from a hexagon's centre to its corners


def centres(size: int) -> Floats:
    """Give the centres of all cells, (cells, 2)."""
    axial = get_court(size).axial.astype(float)
    return np.stack([axial[:, 0] + axial[:, 1] / 2, axial[:, 1] * np.sqrt(3) / 2], 1)


def corners(middles: Floats, scale: float | Floats = 1.0) -> Floats:
    """Give the corners of hexagons around centres, (N, 6, 2), each grown or shrunk by its scale."""
    turn = np.radians(30 + 60 * np.arange(6))
    unit = RADIUS * np.stack([np.cos(turn), np.sin(turn)], 1)
    return np.asarray(np.asarray(middles)[:, None] + unit * np.reshape(scale, (-1, 1, 1)), float)


def extent(size: int) -> tuple[float, float, float, float]:
    """Give left, top, right and bottom of a court with all its hexagons."""
    middles = centres(size)
    low, high = middles.min(0), middles.max(0)
    return float(low[0] - 0.5), float(low[1] - RADIUS), float(high[0] + 0.5), float(high[1] + RADIUS)


@functools.lru_cache(maxsize=32)
def three_point_line(size: int, three_distance: int) -> tuple[Floats, ...]:
    """Give the lines between the cells that count two and those that count three, each (points, 2)."""
    inside = get_court(size).to_basket < three_distance
    return borders(size, inside, at_edge=False)


@functools.lru_cache(maxsize=32)
def edge_of_floor(size: int) -> tuple[Floats, ...]:
    """Give the line around the whole court."""
    return borders(size, np.ones(size * size, bool))


def borders(size: int, inside: Bools, *, at_edge: bool = True) -> tuple[Floats, ...]:
    """Give the lines around a set of cells, joined where they meet.

    Args:
        size: Of the court.
        inside: (cells,) which cells are in the set.
        at_edge: Whether a line also runs where the set ends because the court does.

    Returns:
        Lines of (points, 2) each; a closed one ends where it began.
    """
    neighbour = get_court(size).neighbour
    beyond = np.where(neighbour < 0, at_edge, ~inside[neighbour])
    cells, ways = np.nonzero(inside[:, None] & beyond)
    hexagons = corners(centres(size))
    # Directions go E, NE, NW and so on, against the clock; corners go with it, the first south of east.
    first = hexagons[cells, (5 - ways) % 6]
    second = hexagons[cells, (6 - ways) % 6]
    return _joined(np.stack([first, second], 1))


def _joined(segments: Floats) -> tuple[Floats, ...]:
    """Join (N, 2, 2) segments that share an end, each in its own direction."""
    ends = [(_key(start), _key(end)) for start, end in segments]
    leaving: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, (start, _) in enumerate(ends):
        leaving[start].append(index)
    arrived = {end for _, end in ends}
    # Open lines begin where nothing arrives; what is left after them is closed.
    order = sorted(range(len(ends)), key=lambda index: ends[index][0] in arrived)
    used: set[int] = set()
    return tuple(_follow(index, segments, ends, leaving, used) for index in order if index not in used)


def _follow(
    index: int,
    segments: Floats,
    ends: list[tuple[tuple[int, int], tuple[int, int]]],
    leaving: dict[tuple[int, int], list[int]],
    used: set[int],
) -> Floats:
    points, on = [segments[index, 0]], [index]
    while on:
        used.add(on[0])
        points.append(segments[on[0], 1])
        on = [other for other in leaving[ends[on[0]][1]] if other not in used]
    return np.array(points)


def _key(point: Floats) -> tuple[int, int]:
    return round(float(point[0]) * 1000), round(float(point[1]) * 1000)
