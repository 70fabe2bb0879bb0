"""The runs that can be watched, their policies, and the players made of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from holdfast.errors import HoldfastError, InvalidInputError

from ..game.rules import Rules
from ..play.players import Player, get_player, rules_for
from .messages import Chosen, NewSession, Policy, Run, Team

if TYPE_CHECKING:
    from holdfast.project import Project
    from holdfast.settings import Settings

    from ..play.checkpoints import RunInfo

SHOWN = 100
"""Runs listed at most; a search finds the others."""
_COUNTED = 20
"""Of how many runs the policies are counted for the list: each takes a request."""
_MOST_FILES = 100_000


class Library(Protocol):
    """Where runs and policies come from. May block: never called on the event loop."""

    def runs(self, search: str, experiment: str | None) -> Sequence[Run]:
        """Return the runs whose name or id holds the text, newest first."""
        ...

    def policies(self, run: str) -> Sequence[Policy]:
        """Return the policies of a run by alternation. NotFoundError where there is no such run."""
        ...

    def player(self, run: str, alternation: int) -> Player:
        """Return a policy as a player. NotFoundError where there is none."""
        ...


class TrackedLibrary:
    """The runs of a tracking server, with the policies kept by checksum.

    Args:
        settings: Of the project.
        folder: Where fetched policies are kept.
        capacity_bytes: Of that folder; what was not used for the longest time goes first.
    """

    def __init__(self, settings: Settings, folder: Path, capacity_bytes: int) -> None:
        from ..play.checkpoint_cache import CheckpointCache

        self._settings = settings
        self._capacity_bytes = capacity_bytes
        self._cache = CheckpointCache(folder, _MOST_FILES)
        self._counts: dict[str, int] = {}

    def runs(self, search: str, experiment: str | None) -> Sequence[Run]:
        """Return the runs whose name, id or experiment holds the text, newest first.

        Raises:
            NotFoundError: Nothing is tracked yet, or there is no such experiment.
            BackendError: The tracking store cannot be reached, or refuses.
        """
        from ..play.checkpoints import list_runs

        found = list_runs(self._project, experiment, search, SHOWN)
        return [self._run(one, place < _COUNTED) for place, one in enumerate(found)]

    def policies(self, run: str) -> Sequence[Policy]:
        """Return the policies of a run by alternation.

        Raises:
            NotFoundError: There is no such run.
        """
        from ..play.checkpoints import list_policies

        found = list_policies(self._project, run)
        return [Policy(alternation=one.alternation, size_bytes=one.size_bytes) for one in found]

    def player(self, run: str, alternation: int) -> Player:
        """Return a policy as a player.

        Raises:
            NotFoundError: There is no such run or policy.
        """
        player = self._cache.load(self._project, run, alternation)
        self._trim()
        return player

    @cached_property
    def _project(self) -> Project:
        from holdfast.project import open_project

        return open_project(self._settings)

    def _run(self, found: RunInfo, is_counted: bool) -> Run:
        count = self._count(found) if is_counted else self._counts.get(found.run_id)
        return Run(id=found.run_id, name=found.name, status=found.status, experiment=found.experiment, policies=count)

    def _count(self, found: RunInfo) -> int | None:
        """Count the policies of a run; those of a run that has ended are counted once."""
        if found.status != "RUNNING" and found.run_id in self._counts:
            return self._counts[found.run_id]
        try:
            self._counts[found.run_id] = len(self.policies(found.run_id))
        except HoldfastError:  # its files are out of reach: it is listed all the same, and choosing it says why
            return None
        return self._counts[found.run_id]

    def _trim(self) -> None:
        """Forget the files that were used longest ago, until the others fit. The last used one always stays."""
        files = [(path, path.stat()) for path in (self._cache.folder / "policies").glob("*.zip")]
        files.sort(key=lambda one: one[1].st_mtime_ns, reverse=True)
        room = self._capacity_bytes
        for place, (path, about) in enumerate(files):
            room -= about.st_size
            if room < 0 and place:
                path.unlink(missing_ok=True)


def seat(library: Library, wanted: NewSession) -> tuple[dict[Team, Player], Rules]:
    """Return the players of both teams, and the rules they play by: those their policies were trained by.

    Raises:
        InvalidInputError: A policy is asked for without a run or number, or the two know different rules.
        NotFoundError: There is no such run or policy.
    """
    players: dict[Team, Player] = {team: _player(library, wanted.run, chosen) for team, chosen in _sides(wanted)}
    is_trained = any(player.rules is not None for player in players.values())
    return players, rules_for(*players.values()) if is_trained else Rules(size=wanted.size, players=wanted.players)


def _sides(wanted: NewSession) -> tuple[tuple[Team, Chosen], ...]:
    return ("A", wanted.a), ("B", wanted.b)


def _player(library: Library, run: str | None, chosen: Chosen) -> Player:
    if chosen.kind != "policy":
        return get_player(chosen.kind)
    if run is None or chosen.alternation is None:
        raise InvalidInputError("A policy needs its run and its alternation.", "give run, and alternation of the team")
    return library.player(run, chosen.alternation)
