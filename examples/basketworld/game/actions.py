"""The fourteen actions of a player, in the order of every mask and every policy's output."""

from __future__ import annotations

DIRECTIONS = ("E", "NE", "NW", "W", "SW", "SE")  # counter-clockwise, sixths of a turn

NOOP = 0
MOVE = 1  # the first of six, in the order of the directions
SHOOT = 7
PASS = 8  # the first of six
ACTIONS = 14

NAMES = ("stay", *(f"move {one}" for one in DIRECTIONS), "shoot", *(f"pass {one}" for one in DIRECTIONS))

# What each action is on a court reflected about the basket's row: north and south change places.
MIRRORED = (0, 1, 6, 5, 4, 3, 2, 7, 8, 13, 12, 11, 10, 9)
