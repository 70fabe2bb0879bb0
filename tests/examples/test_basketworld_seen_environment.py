"""The Gymnasium environment: its contract, its seeds, and both sides of it."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from holdfast.errors import InvalidInputError
from holdfast_examples.basketworld.game.actions import MOVE, SHOOT
from holdfast_examples.basketworld.game.environment import BasketWorld, register
from holdfast_examples.basketworld.game.rules import Rules
from holdfast_examples.basketworld.game.turning import as_seen, on_court


@pytest.mark.parametrize("players", [2, 3])
@pytest.mark.parametrize("side", ["offense", "defense"])
def test_gymnasium_finds_nothing_wrong(players: int, side: Any) -> None:
    options = {"rules": Rules(players=players, shaping=0.5), "side": side, "turned": side == "defense"}
    env = gymnasium.make(register(), render_mode="rgb_array", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=players == 3)


def episode(env: gymnasium.Env[Any, Any], seed: int) -> list[Any]:
    """Play two possessions with legal actions chosen by the seed; give all that was seen and told."""
    rng, told = np.random.default_rng(seed), []
    for which in range(2):
        seen, info = env.reset(seed=seed if which == 0 else None)
        told += [seen, info]
        ended = False
        while not ended:
            assert env.observation_space.contains(seen)
            actions = (rng.random(seen["action_mask"].shape) * seen["action_mask"]).argmax(1)
            seen, reward, ended, cut, info = env.step(actions)
            assert not cut
            told += [seen, reward, ended, info]
        assert env.observation_space.contains(seen)
    return told


def test_a_seed_decides_this_possession_and_the_next() -> None:
    name = register()
    assert register() == name
    first, again, other = (repr(episode(gymnasium.make(name), seed)) for seed in (5, 5, 6))
    assert first == again != other


def test_a_shot_ends_the_possession_and_no_step_follows() -> None:
    env = BasketWorld(Rules(steal=0.0))
    env.reset(seed=1)
    actions = np.zeros(4, np.int64)
    actions[env.games.holder[0]] = SHOOT
    _, reward, ended, _, info = env.step(actions)
    assert ended
    assert info["ending"] in {"made", "missed"}
    assert reward == info["points"]
    assert info["attempt"] in {2, 3}
    with pytest.raises(InvalidInputError, match="has ended"):
        env.step(actions)


def test_both_sides_see_one_possession() -> None:
    envs = [BasketWorld(side="offense"), BasketWorld(side="defense")]
    offense, defense = (env.reset(seed=3)[0] for env in envs)
    assert offense["role_flag"] == -defense["role_flag"] == 1
    np.testing.assert_array_equal(offense["action_mask"], defense["action_mask"])
    np.testing.assert_array_equal(offense["skills"], defense["skills"])
    assert (offense["observation"] != defense["observation"]).any()


def test_turned_actions_do_on_the_court_what_they_stand_for() -> None:
    plain, turned = BasketWorld(Rules(steal=0.0)), BasketWorld(Rules(steal=0.0), turned=True)
    ways: list[int] = []
    for seed in range(12):
        on_floor, info = plain.reset(seed=seed)
        seen, _ = turned.reset(seed=seed)
        sixths = np.array([info["sixths"]])
        np.testing.assert_array_equal(as_seen(on_floor["action_mask"][None], sixths)[0], seen["action_mask"])
        holder = int(turned.games.holder[0])
        cell = int(turned.games.cells[0, holder])
        actions = np.zeros(4, np.int64)
        actions[holder] = MOVE
        turned.step(actions)
        plain.step(on_court(actions[None], sixths)[0])
        np.testing.assert_array_equal(plain.games.cells, turned.games.cells)
        # He stays where another player stands in his way.
        if turned.games.cells[0, holder] != cell:
            ways.append(int(np.subtract(*turned.games.court.to_basket[[cell, turned.games.cells[0, holder]]])))
    assert len(ways) > 2
    assert set(ways) == {1}


@pytest.mark.parametrize("action", [[0, 0, 0], [0, 0, 0, 14], "shoot", [0.5, 1, 2, 3], ["a"] * 4, [1 << 80, 0, 0, 0]])
def test_what_is_no_action_is_refused(action: Any) -> None:
    env = BasketWorld()
    env.reset(seed=0)
    with pytest.raises(InvalidInputError, match="no action of 4 players"):
        env.step(action)


def test_options_that_do_not_exist_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="render"):
        BasketWorld(render_mode="human")
    with pytest.raises(InvalidInputError, match="no side"):
        BasketWorld(side="attack")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="players"):
        BasketWorld({"players": 3})  # type: ignore[arg-type]
    assert BasketWorld().render() is None
