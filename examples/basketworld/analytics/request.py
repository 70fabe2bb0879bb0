"""What a command was asked, and the training run that it is about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from holdfast.backend.entities import Run
from holdfast.errors import DataError, InvalidInputError, NotFoundError
from holdfast.project import Project
from holdfast.settings import Settings, load_settings

from .progress import progress
from .sides import BUILT_IN, Side

SELF = "self"
_FETCHED_AT_ONCE = 4
_CACHED = 256


@dataclass(frozen=True)
class Request:
    """The options that all commands share; all are checked at once.

    Attributes:
        run_id: The training run.
        alternation: The checkpoint that is looked at; None for the last.
        opponent: `self`, `random`, `greedy`, or the number of an alternation.
        episodes: Games of each role or match-up.
        seed: Of all luck; the same seed gives the same tables, however many workers there are.
        workers: Processes; None for one a processor core.
        ray: The address of a Ray cluster, or None.
        out: A folder where the files are kept too, or None.
        deterministic: Whether policies take their likeliest action.
    """

    run_id: str
    alternation: int | None = None
    opponent: str = SELF
    episodes: int = 100
    seed: int = 0
    workers: int | None = None
    ray: str | None = None
    out: Path | None = None
    deterministic: bool = False

    def __post_init__(self) -> None:
        wrong = []
        if self.episodes < 2:
            wrong.append(f"episodes is {self.episodes}, less than 2")
        if self.seed < 0:
            wrong.append(f"seed is {self.seed}, less than 0")
        if self.opponent not in (SELF, *BUILT_IN) and not self.opponent.isdecimal():
            wrong.append(f"opponent is {self.opponent!r}, none of {SELF}, {', '.join(BUILT_IN)} or an alternation")
        if self.out is not None and self.out.exists() and not self.out.is_dir():
            wrong.append(f"out is {self.out}, which is a file")
        if wrong:
            raise InvalidInputError(f"The request is not valid: {'; '.join(wrong)}.", "see --help")

    def as_params(self) -> dict[str, Any]:
        """Return what decides the result, to be logged."""
        return {
            "training_run": self.run_id,
            "opponent": self.opponent,
            "episodes": self.episodes,
            "seed": self.seed,
            "deterministic": self.deterministic,
        }


class TrainingRun:
    """A training run and its checkpoints; only read.

    Args:
        run_id: Its id.

    Raises:
        NotFoundError: There is no such run.
        DataError: It has no checkpoints.
    """

    def __init__(self, run_id: str) -> None:
        from holdfast.cli.opening import open_existing

        from ..play.checkpoints import find_run, policies_of

        self._project = open_existing()
        self.run: Run = find_run(self._project, run_id)
        self.settings = _settings_for(self.run, self._project)
        self.files = {file.alternation: file for file in policies_of(self._project, self.run)}
        if not self.files:
            raise DataError(
                f"Run {run_id} has no policies.",
                "give a run of this example's training, which keeps models/unified_policy_alt_….zip",
            )

    @cached_property
    def alternations(self) -> list[int]:
        """The numbers of its checkpoints, in order."""
        return sorted(self.files)

    def check(self, alternation: int) -> int:
        """Return the number of a checkpoint that is there.

        Raises:
            NotFoundError: It is not.
        """
        if alternation not in self.files:
            raise NotFoundError(
                f"Run {self.run.run_id} has no checkpoint of alternation {alternation}.",
                f"there are: {_listed(self.alternations)}",
            )
        return alternation

    def chosen(self, request: Request) -> int:
        """Return the alternation that was asked for, the last one if none was."""
        return self.alternations[-1] if request.alternation is None else self.check(request.alternation)

    def opponent_of(self, alternation: int, request: Request) -> int | str:
        """Return the opponent's alternation, or the name of one that is built in."""
        if request.opponent == SELF:
            return alternation
        return self.check(int(request.opponent)) if request.opponent.isdecimal() else request.opponent

    def fetch(self, wanted: Sequence[int | str]) -> dict[int | str, Side]:
        """Download what is not in the cache; return each as a player, by alternation or name.

        Raises:
            ArtifactError: One cannot be had.
        """
        from ..play.checkpoint_cache import CheckpointCache, user_folder

        numbers = sorted({one for one in wanted if isinstance(one, int)})
        cache = CheckpointCache(user_folder(), max(_CACHED, 2 * len(numbers)))
        sides: dict[int | str, Side] = {one: Side(one) for one in wanted if isinstance(one, str)}
        with progress("checkpoints", len(numbers)) as advance, ThreadPoolExecutor(_FETCHED_AT_ONCE) as threads:
            paths = threads.map(lambda number: cache.fetch(self._project, self.run.run_id, number), numbers)
            for number, path in zip(numbers, paths, strict=True):
                sides[number] = Side(f"alternation {number}", str(path))
                advance()
        return sides


def chunks(episodes: int, size: int) -> list[int]:
    """Return how many episodes each unit of work has: fixed sizes, so that the luck of each is always the same."""
    count = math.ceil(episodes / size)
    return [min(size, episodes - size * number) for number in range(count)]


def _settings_for(run: Run, project: Project) -> Settings:
    """Return settings for the experiment that a run is in."""
    names = {one.experiment_id: one.name for one in project.runs.experiments()}
    name = names.get(run.experiment_id)
    return project.settings if name is None else load_settings(experiment_name=name)


def _listed(numbers: Sequence[int]) -> str:
    shown = [str(number) for number in numbers]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:6], "…", *shown[-5:]])
