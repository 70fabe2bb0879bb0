"""Luck that stays with an episode, however many others are played at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

CHUNK = 64
"""How many games share one stream of random numbers."""

GAMES, FIRST, SECOND = range(3)
"""Whose luck: the games', the first player's, the second player's."""


class Streams(np.random.Generator):
    """Several streams as one generator: the rows of what is drawn come from one stream after the other.

    Whatever is drawn must have one row a game, `CHUNK` games a stream. Thus the luck of a game depends on its chunk
    alone, and not on how many chunks are played side by side.

    Args:
        seed: Of the whole table of episodes.
        chunks: The numbers of the chunks.
        whose: `GAMES`, `FIRST` or `SECOND`.
    """

    def __init__(self, seed: int, chunks: Sequence[int], whose: int) -> None:
        seeds = [np.random.SeedSequence(seed, spawn_key=(chunk, whose)) for chunk in chunks]
        super().__init__(np.random.PCG64(seeds[0]))
        self._streams = [np.random.Generator(np.random.PCG64(one)) for one in seeds]

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        """Return uniform numbers of [0, 1), (n, …)."""
        return self._rows(size, lambda stream, shape: stream.random(shape, dtype))

    def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        """Return normal numbers, (n, …)."""
        return self._rows(size, lambda stream, shape: stream.standard_normal(shape, dtype))

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        """Return normal numbers, (n, …), of a mean and a standard deviation."""
        return loc + scale * self.standard_normal(size)

    def _rows(self, size: Any, draw: Callable[[np.random.Generator, tuple[int, ...]], Any]) -> Any:
        shape = (size,) if np.ndim(size) == 0 else tuple(size)
        if shape[0] != CHUNK * len(self._streams):
            raise ValueError(f"{CHUNK * len(self._streams)} games want a row each, and {shape} are asked for")
        return np.concatenate([draw(stream, (CHUNK, *shape[1:])) for stream in self._streams])
