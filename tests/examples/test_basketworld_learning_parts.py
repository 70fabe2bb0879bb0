"""The parts of BasketWorld's training: options, schedules, opponents, the games as the learner sees them, states."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sb3_contrib import MaskablePPO

from holdfast.errors import InvalidInputError
from holdfast_examples.basketworld import train as command
from holdfast_examples.basketworld.game.games import Games
from holdfast_examples.basketworld.game.observing import observe
from holdfast_examples.basketworld.game.rules import Rules
from holdfast_examples.basketworld.learning.config import go_on_config, make_config
from holdfast_examples.basketworld.learning.episode_log import OFFENSE, split
from holdfast_examples.basketworld.learning.opponent_team import OpponentTeam
from holdfast_examples.basketworld.learning.opponents import as_text, chances, draw_opponents
from holdfast_examples.basketworld.learning.ppo import make_model, quick_torch
from holdfast_examples.basketworld.learning.schedules import entropy_weight, learning_rate
from holdfast_examples.basketworld.learning.state_file import load_state, newest_whole, save_state
from holdfast_examples.basketworld.learning.vector_env import TeamVecEnv, seen_by_others
from holdfast_examples.basketworld.play.policies import Layer, Policy, features_of

SMALL = {"n_envs": 8, "opponents": 4, "rollout": 8, "steps": 64, "batch": 32, "net_arch": (8,)}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with quick_torch(1):
        yield


def layers_for(rules: Rules, seed: int) -> tuple[Layer, ...]:
    rng = np.random.default_rng(seed)
    sizes = [features_of(rules), 8, rules.players * 14]
    return tuple((rng.normal(size=(out, into)), rng.normal(size=out)) for into, out in pairwise(sizes))


def env_for(rules: Rules, n: int = 8, expected: bool = True) -> TeamVecEnv:
    env = TeamVecEnv(rules, n, 5, expected)
    env.face(OpponentTeam([layers_for(rules, seed) for seed in range(4)]))
    return env


# -- options --------------------------------------------------------------------------


def test_wrong_options_are_told_at_once() -> None:
    with pytest.raises(InvalidInputError) as found:
        make_config({"gama": 0.9, "lr": -1, "net_arch": "128,no", "rules": "{"})
    assert all(word in str(found.value) for word in ("gama", "did you mean gamma", "lr = -1", "net_arch", "rules"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n_envs": 10, "opponents": 4}, "twice the opponents divide n_envs"),
        ({"rules": {"playrs": 3}}, "playrs"),
        ({"rules": {"players": 7}}, "players"),
        ({"rules": {"gamma": 0.5, "shaping": 1}}, "say gamma=0.5 and shaping=1 outside of rules"),
    ],
)
def test_options_that_do_not_fit(given: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInputError) as found:
        make_config(given)
    assert said in str(found.value)


def test_each_option_of_the_command_reaches_the_configuration() -> None:
    options = command.parse(["--gamma", "0.9", "--net-arch", "8,9", "--rules", '{"players": 3}', "--lr-end", "1e-5"])
    config = make_config({name: getattr(options, name) for name in ("gamma", "net_arch", "rules", "lr_end", "steps")})
    assert (config.gamma, config.net_arch, config.lr_end) == (0.9, (8, 9), 1e-5)
    assert config.make_rules().players == 3


def test_a_wrong_option_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--clip", "much"]) == 2
    assert "clip = 'much'" in capsys.readouterr().err


def test_parameters_reach_what_they_name() -> None:
    config = make_config({**SMALL, "gamma": 0.8, "gae_lambda": 0.7, "clip": 0.3, "epochs": 3, "shaping": 0.5})
    env = env_for(config.make_rules())
    model = make_model(config, env)
    assert (model.gamma, model.rollout_buffer.gamma) == (0.8, 0.8)
    assert (model.gae_lambda, model.rollout_buffer.gae_lambda) == (0.7, 0.7)
    assert (model.clip_range(1.0), model.n_epochs, model.batch_size, model.n_steps) == (0.3, 3, 32, 8)  # type: ignore[operator]
    assert (env.rules.shaping, env.rules.gamma) == (0.5, 0.8)


def test_rates_run_from_the_first_alternation_to_the_last() -> None:
    config = make_config(
        {**SMALL, "alternations": 11, "lr": 1e-3, "lr_end": 1e-4, "entropy": 0.06, "entropy_end": 0.01}
    )
    assert learning_rate(config, 1) == 1e-3
    assert learning_rate(config, 11) == pytest.approx(1e-4)
    assert entropy_weight(config, 6) == pytest.approx(0.035)
    model = make_model(config, env_for(config.make_rules()))
    model.follow(config, 11)
    assert model.lr_schedule(1.0) == pytest.approx(1e-4)
    assert model.ent_coef == pytest.approx(0.01)


def test_what_may_change_when_a_run_goes_on() -> None:
    before = make_config(SMALL).model_dump()
    config, changed = go_on_config(before, {"alternations": 80, "seed": None})
    assert config.alternations == 80
    assert changed == {"alternations": 80}
    with pytest.raises(InvalidInputError, match="n_envs is 8 and not 16"):
        go_on_config(before, {"n_envs": 16})


# -- opponents ------------------------------------------------------------------------


def test_the_rule_of_the_draws() -> None:
    found = chances(12, 10, 0.7, 0.15)
    assert found.sum() == pytest.approx(1)
    assert found[0] == found[1] == pytest.approx(0.15 / 12)  # older than the window
    weighted = found - 0.15 / 12
    assert weighted[-2] / weighted[-1] == pytest.approx(0.7)
    assert weighted[2] / weighted[-1] == pytest.approx(0.7**9)
    assert chances(1, 10, 0.7, 0.15).tolist() == [pytest.approx(1)]


def test_draws_are_seeded_and_told() -> None:
    config = make_config({"opponents": 16})
    drawn = draw_opponents(config, 9)
    assert drawn == draw_opponents(config, 9) == sorted(drawn)
    assert set(drawn) <= set(range(9))
    assert drawn != draw_opponents(config.model_copy(update={"seed": 2}), 9)
    assert as_text(3, [0, 2, 2]).splitlines()[1:] == [
        "models/unified_policy_alt_0.zip 1",
        "models/unified_policy_alt_2.zip 2",
    ]


def test_a_team_plays_as_its_policies_do() -> None:
    rules = Rules()
    games, networks = Games(rules, 8, 3), [layers_for(rules, seed) for seed in range(4)]
    seen, masks = observe(games, "defense"), np.ones((8, 2, 14), bool)
    counts = np.zeros((8, 2, 14))
    team, rng = OpponentTeam(networks), np.random.default_rng(0)
    for _ in range(600):
        counts += np.eye(14)[team.act(seen, masks, rng)]
    for index, network in enumerate(networks):
        logits = Policy(rules, 0, network).logits(seen[2 * index : 2 * index + 2])
        wanted = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        assert np.abs(counts[2 * index : 2 * index + 2] / 600 - wanted).max() < 0.1
    with pytest.raises(InvalidInputError, match="2 different networks"):
        OpponentTeam([networks[0], networks[1][:1]])


# -- the games as the learner sees them -----------------------------------------------


@pytest.mark.parametrize("players", [2, 3])
def test_the_other_team_sees_the_same_games(players: int) -> None:
    games = Games(Rules(players=players), 32, 4)
    mine, theirs = observe(games, "offense"), observe(games, "defense")
    assert np.array_equal(seen_by_others(mine, games.rules), theirs)
    assert np.array_equal(seen_by_others(theirs, games.rules), mine)


@pytest.mark.parametrize("expected", [True, False])
def test_rewards_are_the_team_s_own(expected: bool) -> None:
    """By role, what the learner is rewarded with is what its team scored, or would on average with these shots."""
    env = env_for(Rules(), expected=expected)
    env.begin()
    rng, total = np.random.default_rng(1), np.zeros(8)
    for _ in range(100):
        masks = env.masks()
        actions = np.where(masks, rng.random(masks.shape), -1).argmax(-1)
        _, rewards, _ = env.play(actions)
        total += rewards
    columns = env.log.columns()
    worth = np.nan_to_num(columns["chance"]) * np.where(columns["attempt"] == 3, 3, 2)
    scored = worth if expected else columns["points"]
    sides = np.where(env.is_offense, 1, -1)
    assert total == pytest.approx(sides * np.bincount(columns["game"], scored, 8), abs=1e-4)
    assert set(sides) == {1, -1}
    assert scored.sum() > 0
    assert abs(worth.sum() - columns["points"].sum()) < 4 * np.sqrt(2 * len(worth))


def test_the_library_s_own_rollouts_work_too() -> None:
    env = env_for(Rules())
    model = MaskablePPO("MlpPolicy", env, n_steps=8, batch_size=32, n_epochs=1, seed=0, device="cpu")
    model.learn(128)
    assert model.num_timesteps == 128


def test_a_learner_learns() -> None:
    config = make_config({**SMALL, "n_envs": 64, "rollout": 32, "batch": 512, "lr": 3e-3, "entropy": 0.01})
    env = env_for(config.make_rules(), 64)
    model = make_model(config, env)
    rewards = []
    for _ in range(8):
        env.begin()
        model.collect(env)
        model.update()
        rewards.append(split(env.log.columns(), env.is_offense)[OFFENSE]["reward"].mean())
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.05


def test_games_go_on_from_a_state() -> None:
    env, other = env_for(Rules()), env_for(Rules())
    env.begin()
    for _ in range(5):
        env.play(np.zeros((8, 2), np.int64))
    other.restore(env.state())
    assert np.array_equal(other.look(), env.look())
    for _ in range(20):
        mine, theirs = env.play(np.ones((8, 2), np.int64)), other.play(np.ones((8, 2), np.int64))
        assert all(np.array_equal(one, two) for one, two in zip(mine, theirs, strict=True))
    columns, others = env.log.columns(), other.log.columns()
    assert all(np.array_equal(columns[name], others[name], equal_nan=True) for name in ("length", "passes", "chance"))


# -- states ---------------------------------------------------------------------------


def test_a_damaged_state_is_told_and_the_one_before_is_used(tmp_path: Path) -> None:
    value = {"numbers": np.arange(3, dtype=np.int16), "nested": {"one": [1, 2.5, None]}, "rng": 1 << 100}
    first = save_state(tmp_path, 1, value)
    second = save_state(tmp_path, 2, value)
    found = newest_whole(tmp_path)
    assert found is not None
    assert found[0] == second
    assert found[1]["nested"] == {"one": [1, 2.5, None]}
    assert found[1]["rng"] == 1 << 100
    assert found[1]["numbers"].dtype == np.int16
    second.write_bytes(second.read_bytes()[:-1] + b"!")
    with pytest.raises(InvalidInputError, match="damaged"):
        load_state(second)
    before = newest_whole(tmp_path)
    assert before is not None
    assert before[0] == first
