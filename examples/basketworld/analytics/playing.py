"""A policy in both roles against its opponent: the episodes that most commands look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .crews import crew_for, do
from .request import Request, TrainingRun, chunks
from .sides import Side
from .units import CHUNK, PlayUnit, SceneUnit, Stretch, join, seed_of

OFFENSE, DEFENSE = "offense", "defense"


@dataclass(frozen=True)
class Played:
    """What a policy played.

    Attributes:
        alternation: The policy.
        opponent: What its opponent is called.
        offense: The episodes in which it attacked.
        defense: Those in which it defended; the same ones where it played against itself.
    """

    alternation: int
    opponent: str
    offense: Stretch
    defense: Stretch

    @property
    def roles(self) -> dict[str, Stretch]:
        """The episodes by its role."""
        return {OFFENSE: self.offense, DEFENSE: self.defense}

    @property
    def title(self) -> str:
        """Who played whom, for pictures."""
        return f"alternation {self.alternation}, against {self.opponent}"


@dataclass(frozen=True)
class _Stint:
    """Episodes of one policy in one role, before they are cut into units of work."""

    alternation: int
    role: str
    offense: int | str
    defense: int | str


def play_roles(
    training: TrainingRun, alternations: Sequence[int], request: Request, roles: Sequence[str]
) -> list[Played]:
    """Let policies play in both roles, or in one of them.

    Against itself one set of episodes is both. Where only one role is wanted, the other holds the same episodes.

    Args:
        training: Whose policies.
        alternations: Which of them.
        request: The opponent, how many episodes of each role, and whose luck.
        roles: `offense`, `defense` or both.
    """
    stints = [one for number in alternations for one in _stints(training, number, request, roles)]
    sizes = chunks(request.episodes, CHUNK)
    with crew_for(len(stints) * len(sizes), request.workers, request.ray) as crew:
        sides = training.fetch([side for one in stints for side in (one.offense, one.defense)])
        units = [_unit(one, number, size, sides, request) for one in stints for number, size in enumerate(sizes)]
        done = do(crew, units, "episodes, in stretches")
    found: dict[tuple[int, str], Stretch] = {}
    for number, one in enumerate(stints):
        found[one.alternation, one.role] = join(done[number * len(sizes) : (number + 1) * len(sizes)])
    return [_played(training, number, request, found) for number in alternations]


def scene_units(
    training: TrainingRun, alternation: int, request: Request, sides: Mapping[int | str, Side], scenes: int
) -> list[SceneUnit]:
    """Return units that give episodes to look at: the policy attacks in the first, defends in the second, and so on."""
    other = training.opponent_of(alternation, request)
    pairs = [(alternation, other) if number % 2 == 0 else (other, alternation) for number in range(scenes)]
    return [
        SceneUnit(
            sides[offense],
            sides[defense],
            1,
            seed_of(request.seed, "scene", alternation, request.opponent, number),
            request.deterministic,
        )
        for number, (offense, defense) in enumerate(pairs)
    ]


def _stints(training: TrainingRun, alternation: int, request: Request, roles: Sequence[str]) -> list[_Stint]:
    other = training.opponent_of(alternation, request)
    if other == alternation:
        return [_Stint(alternation, OFFENSE, alternation, alternation)]
    both = {
        OFFENSE: _Stint(alternation, OFFENSE, alternation, other),
        DEFENSE: _Stint(alternation, DEFENSE, other, alternation),
    }
    return [both[role] for role in roles]


def _unit(one: _Stint, number: int, size: int, sides: Mapping[int | str, Side], request: Request) -> PlayUnit:
    seed = seed_of(request.seed, "play", one.alternation, request.opponent, one.role, number)
    return PlayUnit(sides[one.offense], sides[one.defense], size, seed, request.deterministic)


def _played(
    training: TrainingRun, alternation: int, request: Request, found: Mapping[tuple[int, str], Stretch]
) -> Played:
    other = training.opponent_of(alternation, request)
    name = "itself" if other == alternation else f"alternation {other}" if isinstance(other, int) else other
    own = [found[alternation, role] for role in (OFFENSE, DEFENSE) if (alternation, role) in found]
    return Played(alternation, name, own[0], own[-1])
