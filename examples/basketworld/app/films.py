"""An episode as a GIF."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..game.rules import Rules
from ..game.view import View
from .messages import Team

_SIZE_PX = 480
_LAST = 3
"""How many times as long the last picture stays."""


def film_of(views: Sequence[View], rules: Rules, attacking: Team, names: Mapping[Team, str], fps: int = 2) -> bytes:
    """Return a GIF of an episode; each team has its colour of the page, whether it attacks or defends.

    Args:
        views: The turns, in order.
        rules: Of the game.
        attacking: Which team attacks.
        names: Of the teams.
        fps: Turns a second.
    """
    from ..game.drawing import TEAM_COLOURS, picture
    from ..game.films import save_gif

    colours = TEAM_COLOURS if attacking == "A" else tuple(reversed(TEAM_COLOURS))
    title = f"A {names['A']} - B {names['B']}"
    frames = [
        picture(view, 0, rules, size_px=_SIZE_PX, colours=colours, title=f"{title} · {view.clock}") for view in views
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "episode.gif"
        save_gif([*frames, *[frames[-1]] * (_LAST - 1)], path, fps)
        return path.read_bytes()
