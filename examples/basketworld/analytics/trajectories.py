"""`trajectories`: how the court fills with the steps of the episodes, as a film, a picture and a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..game.maps import hex_map
from .analysis import analysis
from .choices import Format
from .courts import CMAPS, SAID, TEAM, places, shares
from .films import Frame, frame_of, save_film
from .playing import DEFENSE, OFFENSE, Played, play_roles
from .progress import progress
from .request import Request, TrainingRun

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_FPS = 4.0
_PAUSE = 8
_Counts = npt.NDArray[np.int64]


def run_trajectories(request: Request, film_format: Format = Format.GIF) -> tuple[dict[str, Any], pd.DataFrame]:
    """Play, and log how often the team has stood where after each step, in either role, to a child run.

    Returns:
        What `--json` prints, and a row a role, step and hexagon where anybody had been.

    Raises:
        NotFoundError: There is no such run, or no such alternation.
    """
    training = TrainingRun(request.run_id)
    last = training.chosen(request)
    with analysis("trajectories", training, request, alternation=last, format=str(film_format)) as found:
        (played,) = play_roles(training, [last], request, (OFFENSE, DEFENSE))
        filled = accumulate(played)
        table = _table(played, filled)
        found.table("trajectories", table)
        for role, counts in filled.items():
            found.picture(f"trajectories_{role}", _draw(played, role, counts, len(counts) - 1))
        save_film(_frames(played, filled), found.path(f"trajectories.{film_format}"), _FPS)
        for role, counts in filled.items():
            found.metrics[f"trajectories/{role}_hexes"] = float((counts[-1] > 0).sum())
    return found.told() | {"steps": len(filled[OFFENSE])}, table


def accumulate(played: Played) -> dict[str, _Counts]:
    """Return by role (steps, cells) how often anybody of the team has stood where, up to each step of the episodes."""
    stood = {role: part.occupancy[:, TEAM[role]] for role, part in played.roles.items()}
    longest = max(int(np.flatnonzero(counts.any(1))[-1]) + 1 for counts in stood.values())
    return {role: counts[:longest].cumsum(0) for role, counts in stood.items()}


def _draw(played: Played, role: str, counts: _Counts, step: int) -> Figure:
    """Draw the court after a step, in the colours of the last one."""
    most = float(shares(counts[-1])[counts[-1] > 0].max())
    return hex_map(
        np.where(counts[step] > 0, counts[step] / int(counts[-1].sum()), np.nan),
        played.offense.rules,
        title=f"{SAID[role]} up to step {step}: {played.title}",
        label="share of all time",
        cmap=CMAPS[role],
        limits=(0.0, most),
        percent=True,
    )


def _frames(played: Played, filled: dict[str, _Counts]) -> list[Frame]:
    steps = len(filled[OFFENSE])
    frames = []
    with progress("frames", steps) as advance:
        for step in range(steps):
            pair = [frame_of(_draw(played, role, counts, step)) for role, counts in filled.items()]
            frames.append(np.concatenate(pair, axis=1))
            advance()
    return frames + [frames[-1]] * _PAUSE


def _table(played: Played, filled: dict[str, _Counts]) -> pd.DataFrame:
    import pandas as pd

    where = places(played.offense.rules)
    frames = []
    for role, counts in filled.items():
        step, cell = np.nonzero(counts)
        new = np.diff(counts, axis=0, prepend=0)[step, cell]
        columns = {name: values[cell] for name, values in where.items()}
        frames.append(
            pd.DataFrame({"role": role, "step": step, **columns, "stood": new, "stood_so_far": counts[step, cell]})
        )
    return pd.concat(frames, ignore_index=True)
