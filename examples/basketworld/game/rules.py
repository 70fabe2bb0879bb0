"""The rules of a game: every option that there is, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from holdfast.errors import InvalidInputError


@dataclass(frozen=True)
class Rules:
    """All options of the game.

    Attributes:
        size: The court has size x size hexes; 6 to 24.
        players: Players a side, 2 or 3.
        shot_clock: The most steps an episode lasts.
        least_clock: An episode starts with a clock uniform between this and `shot_clock`, both included.
        spawn_distance: Attackers start at least so many hexes from the basket.
        three_distance: A shot from so far or farther is worth three points.
        layup, three, dunk: Mean chance of a free shot next to the basket, from `three_distance`, and on the basket.
        dunks: Whether players may enter the basket's hex.
        skill_std: Standard deviation of the attackers' own chances around these means.
        pressure_distance: A defender no farther from the holder than this may steal the ball.
        steal: The chance of each such defender, each step.
        pass_arc_degrees: A pass goes to the nearest team-mate at most so far from its direction, to either side.
        mask_passes: Whether a pass with no team-mate in its arc is illegal; else it goes out of bounds.
        lane_steals: Whether defenders in the lane of a pass intercept it.
        lane_steps: A defender who guards nobody may stay in the lane for so many steps in a row; 0 is no limit.
        assist_window: A shot at most so many steps after a pass is the passer's assist, if it goes in.
        contest: The most that a defender in a shot's way takes from its chance, as a share.
        contest_decay: How fast that share falls with the defender's distance, a hex.
        shaping: The weight of the reward's potential (expected points of the holder's shot); 0 is none.
        gamma: The discount in the shaping.

    Raises:
        InvalidInputError: Values out of range; all of them are named.
    """

    size: int = 12
    players: int = 2
    shot_clock: int = 24
    least_clock: int = 10
    spawn_distance: int = 3
    three_distance: int = 4
    layup: float = 0.60
    three: float = 0.37
    dunk: float = 0.90
    dunks: bool = False
    skill_std: float = 0.05
    pressure_distance: int = 1
    steal: float = 0.05
    pass_arc_degrees: float = 30.0
    mask_passes: bool = True
    lane_steals: bool = False
    lane_steps: int = 0
    assist_window: int = 3
    contest: float = 0.5
    contest_decay: float = 1.0
    shaping: float = 0.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        problems = [problem for one in fields(self) if (problem := _problem(one.name, getattr(self, one.name)))]
        problems = problems or _conflicts(self)
        if problems:
            raise InvalidInputError(
                "the rules of BasketWorld are not valid: " + "; ".join(problems), hint="correct the options named above"
            )

    def as_dict(self) -> dict[str, Any]:
        """Return all options as plain data, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Rules:
        """Return the rules that `as_dict` made, or some of it; what is not named has its default.

        Raises:
            InvalidInputError: An option is unknown or out of range, or this is no table of options.
        """
        if not isinstance(options, Mapping):
            raise InvalidInputError(
                f"the rules of BasketWorld are {options!r:.100}", hint='give a table: {"players": 3}'
            )
        known = [one.name for one in fields(cls)]
        unknown = sorted(str(name) for name in options if name not in known)
        if unknown:
            raise InvalidInputError(
                f"BasketWorld has no rule named {', '.join(unknown)}", hint=f"the rules are {', '.join(known)}"
            )
        return cls(**options)


# The least and the most of each number; the defaults' types are the options' types.
_LIMITS: dict[str, tuple[float, float]] = {
    "size": (6, 24),
    "players": (2, 3),
    "shot_clock": (1, 1000),
    "least_clock": (1, 1000),
    "spawn_distance": (0, 24),
    "three_distance": (2, 48),
    "layup": (0, 1),
    "three": (0, 1),
    "dunk": (0, 1),
    "skill_std": (0, 1),
    "pressure_distance": (0, 48),
    "steal": (0, 1),
    "pass_arc_degrees": (1, 180),
    "lane_steps": (0, 1000),
    "assist_window": (0, 1000),
    "contest": (0, 1),
    "contest_decay": (0, 100),
    "shaping": (0, 100),
    "gamma": (0, 1),
}
_SWITCHES = ("dunks", "mask_passes", "lane_steals")
_REALS = ("layup", "three", "dunk", "skill_std", "steal", "pass_arc_degrees", "contest", "contest_decay", "shaping")


def _problem(name: str, value: object) -> str:
    if name in _SWITCHES:
        return "" if isinstance(value, bool) else f"{name} is {value!r}, not true or false"
    kinds = (int, float) if name in (*_REALS, "gamma") else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds):
        return f"{name} is {value!r}, not {'a number' if float in kinds else 'a whole number'}"
    low, high = _LIMITS[name]
    # Neither NaN nor the infinite is between two numbers.
    return "" if low <= value <= high else f"{name} is {value!r:.40}, not between {low:g} and {high:g}"


def _conflicts(rules: Rules) -> list[str]:
    problems = []
    if rules.least_clock > rules.shot_clock:
        problems.append(f"least_clock is {rules.least_clock}, more than shot_clock, {rules.shot_clock}")
    if rules.spawn_distance > rules.size - 2:
        problems.append(
            f"spawn_distance is {rules.spawn_distance}, more than a court of size {rules.size} has room for"
        )
    return problems
