"""What goes over the wire: requests and orders of the page, checked on arrival, and what it is told.

Players are numbered as in the game: 0..P-1 attack and P..2P-1 defend. Teams are "A" and "B"; which of them attacks
changes from episode to episode. A cell is row * size + column; an action is one of the game's fourteen.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Team = Literal["A", "B"]
MOST_SEED = 2**31 - 1
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
_Cells = tuple[int, ...]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Chosen(_Strict):
    """Who plays for one team: a policy of a run by its alternation, or one of the built-in players."""

    kind: Literal["policy", "random", "greedy"]
    alternation: int | None = Field(default=None, ge=0)


class NewSession(_Strict):
    """Open a table: two teams, and the seed of the first episode.

    Without a `run`, only the built-in players can be chosen.
    """

    run: str | None = Field(default=None, min_length=1, max_length=200)
    a: Chosen = Chosen(kind="greedy")
    b: Chosen = Chosen(kind="greedy")
    seed: Seed = 0
    deterministic: bool = False
    players: Literal[2, 3] = 2
    size: int = Field(default=12, ge=6, le=24)


class Step(_Strict):
    """Play one turn. `orders` maps a player's number to the action it is told; the others follow their policy."""

    type: Literal["step"]
    orders: dict[int, int] = Field(default_factory=dict, max_length=6)


class Back(_Strict):
    """Go one turn back."""

    type: Literal["back"]


class GoTo(_Strict):
    """Go to a turn of this episode that has been played; 0 is its start."""

    type: Literal["goto"]
    at: int = Field(ge=0, le=10_000)


class Next(_Strict):
    """Keep this episode and begin another, with the next seed or this one."""

    type: Literal["next"]
    seed: Seed | None = None


class Control(_Strict):
    """Take a team over, or hand it back to its policy."""

    type: Literal["control"]
    team: Team
    human: bool


class Clear(_Strict):
    """Forget the score and the shot chart, and begin anew with a seed."""

    type: Literal["clear"]
    seed: Seed | None = None


Order = Annotated[Step | Back | GoTo | Next | Control | Clear, Field(discriminator="type")]
ORDERS: TypeAdapter[Step | Back | GoTo | Next | Control | Clear] = TypeAdapter(Order)


class Problem(BaseModel):
    """What went wrong, and what mends it."""

    type: Literal["error"] = "error"
    error: str
    hint: str = ""


class Run(BaseModel):
    """A run that can be chosen."""

    id: str
    name: str
    status: str
    experiment: str = ""
    policies: int | None = None


class Policy(BaseModel):
    """One checkpoint of a run."""

    alternation: int
    size_bytes: int | None = None


class Side(BaseModel):
    """One team of the table."""

    name: str
    human: bool


class Quality(BaseModel):
    """What a shot by one attacker would be worth now.

    `chance` is what is left of `open` under pressure; `pressure` is the share that the defence takes away; `expected`
    is points times chance.
    """

    player: int
    cell: int
    points: int
    open: float
    chance: float
    pressure: float
    expected: float


class Shot(BaseModel):
    """One attempt of this session."""

    team: Team
    player: int
    cell: int
    made: bool
    points: int
    chance: float
    episode: int


class Event(BaseModel):
    """What the last turn brought: the actions as they counted, and how the ball went."""

    actions: tuple[int, ...]
    handler: int
    receiver: int | None = None
    ending: str | None = None
    points: int = 0
    shooter: int | None = None
    made: bool | None = None
    chance: float | None = None


class Line(BaseModel):
    """One line of the log; `team` is whom it is good for, if anyone."""

    at: int
    text: str
    team: Team | None = None
    kind: Literal["start", "pass", "made", "missed", "lost"]


class Game(BaseModel):
    """The episode as it stands at the turn `at` of `length` that have been played."""

    episode: int
    seed: int
    at: int
    length: int
    attacking: Team
    cells: _Cells
    holder: int
    clock: int
    ended: bool
    event: Event | None
    legal: list[list[bool]]
    receivers: dict[int, int]
    chances: list[list[float]] | None
    quality: list[Quality]


class State(BaseModel):
    """All that the page shows of a session."""

    type: Literal["state"] = "state"
    session: str
    run: str | None
    size: int
    players: int
    three_distance: int
    shot_clock: int
    teams: dict[Team, Side]
    points: dict[Team, int]
    wins: dict[Team, int]
    game: Game
    shots: list[Shot]
    log: list[Line]
