"""The policies of a run: from its folder, and where that does not hold them any more, from the artifact store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from holdfast.errors import InvalidInputError
from holdfast.logs import get_logger
from holdfast.settings import Settings

from ..play.checkpoint_cache import CheckpointCache
from ..play.checkpoints import policy_path
from ..play.policies import Policy, PolicyPlayer
from ..play.policy_files import read_policy
from .opponent_team import OpponentTeam

_log = get_logger(__name__)
_KEPT = 256


class History:
    """Reads each policy once.

    Args:
        settings: Whose artifact store.
        run_id: The run.
        folder: The run's own.
    """

    def __init__(self, settings: Settings, run_id: str, folder: Path) -> None:
        self._settings, self._run_id, self._folder = settings, run_id, folder
        self._read: dict[int, Policy] = {}

    def team(self, drawn: Sequence[int]) -> OpponentTeam:
        """Return the policies of these alternations as one team."""
        return OpponentTeam([self.policy(one).layers for one in drawn])

    def player(self, alternation: int) -> PolicyPlayer:
        """Return the policy of an alternation as a player."""
        return PolicyPlayer(self.policy(alternation))

    def policy(self, alternation: int) -> Policy:
        """Return the policy that an alternation ended with.

        Raises:
            NotFoundError: Neither the folder nor the store has it.
        """
        if alternation not in self._read:
            self._read[alternation] = self._find(alternation)
        return self._read[alternation]

    def _find(self, alternation: int) -> Policy:
        path = self._folder / policy_path(alternation)
        try:
            return read_policy(path)
        except InvalidInputError:
            _log.info("the policy comes from the artifact store", run=self._run_id, alternation=alternation)
        cache = CheckpointCache(self._folder / "fetched", _KEPT)
        return read_policy(cache.fetch(self._settings, self._run_id, alternation))
