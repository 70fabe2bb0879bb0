"""Films: episodes on the court, and how the court fills."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..game.drawing import picture
from ..game.films import save_gif, save_mp4
from ..game.outcome import Ending

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .units import Scene

Frame = npt.NDArray[np.uint8]
_FPS = 3.0
_PAUSE = 5  # frames that the last one stays
_SIZE_PX = 420
_SAID = {
    Ending.MADE: "scores",
    Ending.MISSED: "misses",
    Ending.STOLEN: "is robbed of the ball",
    Ending.OUT: "passes out",
    Ending.INTERCEPTED: "is intercepted",
    Ending.CLOCK: "runs out of time",
    Ending.LANE: "gets a point: lane",
}


def film_scenes(scenes: Sequence[Scene], path: Path, alternation: int) -> None:
    """Write episodes as one film, GIF or MP4 by the file's ending; the policy attacks in every other one."""
    frames: list[Frame] = []
    for number, scene in enumerate(scenes):
        role = "attacks" if number % 2 == 0 else "defends"
        frames += _frames(scene, f"policy {alternation} {role}, {number + 1}/{len(scenes)}")
    save_film(frames, path, _FPS)


def save_film(frames: Sequence[Frame], path: Path, fps: float) -> None:
    """Write frames as GIF or MP4, by the file's ending."""
    save: Callable[..., Any] = save_mp4 if path.suffix == ".mp4" else save_gif
    save(frames, path, fps)


def frame_of(figure: Figure) -> Frame:
    """Return a figure as (height, width, 3) bytes."""
    canvas: Any = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _frames(scene: Scene, title: str) -> list[Frame]:
    rules = scene.episodes.rules
    ending = Ending(int(scene.episodes["ending"][0]))
    frames = []
    for number, view in enumerate(scene.views):
        before = scene.views[number - 1] if number else None
        last = number == len(scene.views) - 1
        said = f"offence {_SAID.get(ending, '')}" if last else title
        frames.append(picture(view, 0, rules, size_px=_SIZE_PX, title=said, before=before))
    return frames + [frames[-1]] * _PAUSE
