"""The rules as one checked value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.errors import InvalidInputError
from holdfast_examples.basketworld.game.rules import Rules


def test_rules_come_back_from_json() -> None:
    rules = Rules(size=9, players=3, lane_steals=True, contest_decay=0.5)
    assert Rules.from_dict(json.loads(json.dumps(rules.as_dict()))) == rules
    assert Rules.from_dict({}) == Rules()


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(InvalidInputError) as error:
        Rules(size=5, players=4, steal=1.5, dunks=1, layup=float("nan"))  # type: ignore[arg-type]
    for name in ("size", "players", "steal", "dunks", "layup"):
        assert name in error.value.message


@pytest.mark.parametrize(
    "options",
    [
        {"shot_clock": 8},
        {"size": 6, "spawn_distance": 5},
        {"players": 2.0},
        {"three_distance": 1},
        {"three": "0.4"},
        {"least_clock": True},
        {"skill_std": float("inf")},
        {"size": 10**400},
    ],
)
def test_what_makes_no_game_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(reversed(options)))):
        Rules(**options)


def test_an_unknown_rule_is_named() -> None:
    with pytest.raises(InvalidInputError, match="shot_clok"):
        Rules.from_dict({"shot_clok": 24})
    with pytest.raises(InvalidInputError, match=r"\['size'\]"):
        Rules.from_dict(["size"])  # type: ignore[arg-type]
