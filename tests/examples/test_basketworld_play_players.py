"""Players: what they choose is legal, seen from their own side, and better than chance where it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from holdfast.errors import InvalidInputError
from holdfast_examples.basketworld.game.actions import ACTIONS, NOOP, SHOOT
from holdfast_examples.basketworld.game.games import Games
from holdfast_examples.basketworld.game.rules import Rules
from holdfast_examples.basketworld.play.episodes import play
from holdfast_examples.basketworld.play.greedy import GreedyPlayer
from holdfast_examples.basketworld.play.intervals import difference
from holdfast_examples.basketworld.play.players import Player, RandomPlayer, get_player, own_legal, rules_for, sample
from holdfast_examples.basketworld.play.policies import PolicyPlayer, masked_softmax
from holdfast_examples.basketworld.play.policy_files import load_player

KINDS = ("random", "greedy", "policy")


def a_player(kind: str, files: list[Path]) -> Player:
    return load_player(files[0]) if kind == "policy" else get_player(kind)


def sides(n: int) -> npt.NDArray[np.bool_]:
    return np.arange(n) % 3 > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("deterministic", [False, True])
def test_only_legal_actions_are_chosen(kind: str, deterministic: bool, basketworld_files: list[Path]) -> None:
    player, games, luck = a_player(kind, basketworld_files), Games(Rules(), 96, 3), np.random.default_rng(1)
    offense = sides(96)
    for _ in range(6):
        legal = own_legal(games, offense)
        chosen = player.choose(games, offense, luck, deterministic)
        assert chosen.shape == (96, 2)
        assert np.take_along_axis(legal, chosen[:, :, None], 2).all()
        chances = player.chances(games, offense)
        assert np.allclose(chances.sum(-1), 1)
        assert (chances[~legal] == 0).all()
        others = RandomPlayer().choose(games, ~offense, luck)
        both = [np.where(offense[:, None], *pair) for pair in ((chosen, others), (others, chosen))]
        games.step(np.concatenate(both, axis=1))


@pytest.mark.parametrize("kind", ["random", "greedy"])
def test_three_a_side_and_every_option(kind: str) -> None:
    rules = Rules(players=3, dunks=True, lane_steals=True, lane_steps=3, mask_passes=False)
    table = play(rules, get_player(kind), GreedyPlayer(), 64, 4)
    assert len(table) == 64
    assert (table["ending"] > 0).all()


def test_an_action_without_a_chance_is_never_drawn_whatever_the_luck() -> None:
    class Luck(np.random.Generator):
        def random(self, size=None, dtype=np.float64, out=None):  # type: ignore[no-untyped-def]
            return np.full(size, self.value)

        value = 0.0

    chances = np.array([[[0.0, 0.3, 0.0, 0.7 - 1e-17, 0.0]]])
    for value, wanted in ((0.0, 1), (0.2999, 1), (0.3001, 3), (np.nextafter(1.0, 0), 3)):
        luck = Luck(np.random.PCG64(0))
        luck.value = value
        assert sample(chances, luck)[0, 0] == wanted


def test_samples_have_their_chances() -> None:
    chances = np.tile(
        masked_softmax(np.array([0.0, 1.0, 2.0, 5.0]), np.array([True, True, True, False])), (20000, 1, 1)
    )
    drawn = sample(chances, np.random.default_rng(0))
    assert np.allclose(np.bincount(drawn[:, 0], minlength=4) / 20000, chances[0, 0], atol=0.012)


def test_a_policy_plays_as_its_model_does(basketworld_files: list[Path]) -> None:
    import torch
    from sb3_contrib import MaskablePPO

    from holdfast_examples.basketworld.game.observing import observe
    from holdfast_examples.basketworld.game.turning import as_seen, chances_on_court, sixths_seen

    player, games = load_player(basketworld_files[1]), Games(Rules(), 50, 8)
    model = MaskablePPO.load(basketworld_files[1], device="cpu")
    for offense in (np.ones(50, np.bool_), np.zeros(50, np.bool_), sides(50)):
        sixths = sixths_seen(games)
        legal = as_seen(own_legal(games, offense), sixths)
        with torch.no_grad():
            seen = torch.from_numpy(observe(games, offense))
            acting: Any = model.policy.get_distribution(seen, legal.reshape(50, -1))
            said = acting.distributions
        wanted = chances_on_court(np.stack([one.probs.numpy() for one in said], 1), sixths)
        assert np.allclose(player.chances(games, offense), wanted, atol=1e-5)


def test_a_game_is_played_alike_whatever_is_played_beside_it(basketworld_files: list[Path]) -> None:
    player, games = load_player(basketworld_files[0]), Games(Rules(), 192, 5)
    few = Games(Rules(), 64, 5)
    for name in ("cells", "holder", "clock", "skills", "done"):
        setattr(few, name, getattr(games, name)[64:128].copy())
    offense = sides(192)
    assert (player.chances(games, offense)[64:128] == player.chances(few, offense[64:128])).all()


def test_greedy_shoots_at_the_last_moment_and_scores_more_than_chance() -> None:
    games, everyone = Games(Rules(), 64, 2), np.ones(64, np.bool_)
    games.clock[:] = 1
    chosen = GreedyPlayer().choose(games, everyone, np.random.default_rng(0))
    assert (chosen[np.arange(64), games.holder] == SHOOT).all()
    by_chance, greedy = (play(Rules(), get_player(name), RandomPlayer(), 1000, 5) for name in ("random", "greedy"))
    assert difference(greedy, by_chance).low > 0.3


def test_greedy_defends_better_than_chance() -> None:
    soft, hard = (play(Rules(), GreedyPlayer(), get_player(name), 1000, 5) for name in ("random", "greedy"))
    assert hard["points"].mean() < soft["points"].mean()


def test_greedy_takes_the_open_lay_up() -> None:
    games, court = Games(Rules(), 1, 0), Games(Rules(), 1, 0).court
    near = int(court.neighbour[court.basket, 0])
    games.cells[0] = [near, court.cells - 1, court.cells - 2, court.cells - 3]
    games.holder[0], games.clock[0] = 0, 20
    chosen = GreedyPlayer().choose(games, np.array([True]), np.random.default_rng(0))
    assert chosen[0, 0] == SHOOT
    assert GreedyPlayer().chances(games, np.array([False])).shape == (1, 2, ACTIONS)


def test_games_that_are_over_are_left_alone(basketworld_files: list[Path]) -> None:
    games = Games(Rules(), 8, 0)
    games.done[:] = True
    for kind in KINDS:
        chosen = a_player(kind, basketworld_files).choose(games, np.ones(8, np.bool_), np.random.default_rng(0))
        assert (chosen == NOOP).all()


def test_unknown_names_and_other_rules_are_refused(basketworld_files: list[Path]) -> None:
    with pytest.raises(InvalidInputError, match="'best'"):
        get_player("best")
    ours = load_player(basketworld_files[0])
    theirs = PolicyPlayer(load_player(basketworld_files[1]).policy, "the other")
    theirs.rules = Rules(steal=0.2)
    assert get_player(ours) is ours
    assert rules_for(RandomPlayer(), ours) == Rules()
    assert rules_for(RandomPlayer()) == Rules()
    with pytest.raises(InvalidInputError, match=r"the other does not play by the rules of policy 0: steal is 0.2, not"):
        play(None, ours, theirs, 10, 0)
    with pytest.raises(InvalidInputError, match="policy 0 does not play by the rules of the game: size is 12, not 8"):
        play(Rules(size=8), RandomPlayer(), ours, 10, 0)
