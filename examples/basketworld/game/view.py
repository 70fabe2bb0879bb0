"""One game at one moment, as plain numbers: for pictures, replays and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.errors import InvalidInputError

if TYPE_CHECKING:
    from .games import Games


@dataclass(frozen=True)
class View:
    """Where everyone stands.

    Attributes:
        cells: Cell of each player, the offence first, then the defence.
        holder: Index of the attacker with the ball, or -1 where nobody has it.
        clock: Steps left.
    """

    cells: tuple[int, ...]
    holder: int
    clock: int

    def __post_init__(self) -> None:
        if len(self.cells) < 2 or len(self.cells) % 2 or not -1 <= self.holder < len(self.cells) // 2:
            raise InvalidInputError(
                f"a view has {len(self.cells)} cells and holder {self.holder}",
                hint="give two or three cells a side, the offence first, and the index of an attacker, or -1",
            )

    @property
    def players(self) -> int:
        """How many players a side has."""
        return len(self.cells) // 2

    @classmethod
    def of(cls, games: Games, index: int) -> View:
        """Take one game out of a batch.

        Raises:
            InvalidInputError: The batch has no such game.
        """
        if not 0 <= index < len(games.cells):
            raise InvalidInputError(
                f"there is no game {index} in a batch of {len(games.cells)}",
                hint=f"choose an index from 0 to {len(games.cells) - 1}",
            )
        return cls(
            cells=tuple(int(cell) for cell in games.cells[index]),
            holder=int(games.holder[index]),
            clock=int(games.clock[index]),
        )

    def as_dict(self) -> dict[str, Any]:
        """Give it in JSON types."""
        return {"cells": list(self.cells), "holder": self.holder, "clock": self.clock}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> View:
        """Read what `as_dict` gave.

        Raises:
            InvalidInputError: A value is missing, or is of another kind.
        """
        try:
            cells = tuple(int(cell) for cell in values["cells"])
            return cls(cells=cells, holder=int(values["holder"]), clock=int(values["clock"]))
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InvalidInputError):
                raise
            raise InvalidInputError(
                f"this is no view of a game: {dict(values)!r:.200}", hint="give cells, holder and clock"
            ) from error
