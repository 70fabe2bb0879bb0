"""Who plays, as it is told to another process: the name of a player that is built in, or the file of a policy."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..play.players import GREEDY, RANDOM, get_player

if TYPE_CHECKING:
    from ..play.players import Player

BUILT_IN = (RANDOM, GREEDY)
_loaded: dict[str, Player] = {}


@dataclass(frozen=True)
class Side:
    """A player.

    Attributes:
        name: `random`, `greedy`, or what a policy is called in tables.
        path: A policy's file, or None.
    """

    name: str
    path: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The file that is read, if any."""
        return () if self.path is None else (self.path,)

    def player(self) -> Player:
        """Return the player; a policy is read once in each process.

        Raises:
            InvalidInputError: The file is no policy of this example.
        """
        if self.path is None:
            return get_player(self.name)
        if self.path not in _loaded:
            _loaded[self.path] = _read(Path(self.path))
        return _loaded[self.path]


def take_in(path: str, content: bytes) -> None:
    """Have the policy of a file that is on another machine, from what is in it.

    Raises:
        InvalidInputError: It is no policy of this example.
    """
    if path in _loaded:
        return
    with tempfile.TemporaryDirectory(prefix="basketworld-") as scratch:
        copy = Path(scratch) / Path(path).name
        copy.write_bytes(content)
        _loaded[path] = _read(copy)


def _read(path: Path) -> Player:
    from ..play.policy_files import load_player

    return load_player(path)
