"""A film of a policy that plays against itself."""

from __future__ import annotations

from pathlib import Path

from ..game.drawing import picture
from ..game.films import save_gif
from ..game.rules import Rules
from ..play.episodes import record
from ..play.players import Player

_FPS = 2.5
_SIZE_PX = 360


def film(player: Player, path: Path, rules: Rules, seed: int) -> None:
    """Write one episode of a player against itself as a GIF; the same seed gives the same episode."""
    views = record(rules, player, player, seed)
    save_gif([picture(view, 0, rules, size_px=_SIZE_PX) for view in views], path, _FPS)
