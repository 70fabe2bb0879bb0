"""Those who do the work: what they give, how they fail, and what is left when a server goes away."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import InvalidInputError, MissingDependencyError
from holdfast_examples.basketworld.analytics import workers
from holdfast_examples.basketworld.analytics.crews import crew_for
from holdfast_examples.basketworld.analytics.request import chunks
from holdfast_examples.basketworld.analytics.sides import Side, take_in
from holdfast_examples.basketworld.analytics.units import (
    MatchUnit,
    PlayUnit,
    join,
)
from holdfast_examples.basketworld.game.rules import Rules

sys.path.insert(0, str(Path(__file__).parent))
from basketworld_made_up import write_made_up

RULES = Rules(size=8, shot_clock=10, least_clock=6)
RANDOM, GREEDY = Side("random"), Side("greedy")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Side:
    path = tmp_path_factory.mktemp("policy") / "unified_policy_alt_0.zip"
    return Side("alternation 0", str(write_made_up(path, RULES, 0)))


def test_roles_are_told_to_the_policy_rightly(policy: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy is asked as the offence where it attacks, and as the defence where it defends."""
    player = policy.player()
    asked: list[bool] = []
    choose = player.choose

    def noting(games: Any, offense: Any, rng: Any, deterministic: bool = False) -> Any:
        asked.extend(bool(one) for one in offense)
        return choose(games, offense, rng, deterministic)

    monkeypatch.setattr(player, "choose", noting)
    PlayUnit(policy, RANDOM, 4, 1).work()
    assert asked
    assert all(asked)
    asked.clear()
    PlayUnit(RANDOM, policy, 4, 1).work()
    assert asked
    assert not any(asked)


def test_occupancy_counts_every_player_at_every_step(policy: Side) -> None:
    stretch = join([PlayUnit(policy, policy, 8, seed).work() for seed in (1, 2)])
    assert len(stretch.episodes) == 16
    per_step = stretch.occupancy.sum(2)
    assert (per_step[0] == 16 * RULES.players).all()
    assert (per_step[:, 0] == per_step[:, 1]).all()
    assert per_step[:, 0].sum() == RULES.players * (stretch.episodes["length"].sum() + 16)


def test_a_file_of_another_machine_is_taken_in(policy: Side) -> None:
    content = Path(policy.path or "").read_bytes()
    take_in("/not/here/unified_policy_alt_0.zip", content)
    elsewhere = Side("alternation 0", "/not/here/unified_policy_alt_0.zip")
    assert MatchUnit(elsewhere, RANDOM, 10, 3).work() == MatchUnit(policy, RANDOM, 10, 3).work()


def test_the_longest_come_first() -> None:
    units = [MatchUnit(RANDOM, GREEDY, episodes, 0) for episodes in (5, 50, 20)]
    assert workers.by_length(units) == [1, 2, 0]


def test_stretches_have_fixed_sizes() -> None:
    assert chunks(300, 128) == [128, 128, 44]
    assert chunks(20, 128) == [20]


@dataclass(frozen=True)
class Deadly:
    """Ends the process that does it, as a lack of memory does."""

    cost: float = 1.0
    paths: tuple[str, ...] = ()

    def work(self) -> None:
        """Die."""
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Refused:
    """Fails."""

    cost: float = 2.0
    paths: tuple[str, ...] = ()

    def work(self) -> None:
        """Raise an error of ours."""
        raise InvalidInputError("nobody can do this", "do something else")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_errors_and_deaths_of_workers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # Forked here, as spawned ones would first load PyTorch; what is tested is the same.
    context = workers.multiprocessing.get_context("fork")
    monkeypatch.setattr(workers.multiprocessing, "get_context", lambda _: context)
    with workers.Processes(2) as crew, pytest.raises(InvalidInputError, match="nobody can do this"):
        crew.work([Refused(), Refused()], lambda _: None)
    with workers.Processes(1) as crew:
        with pytest.raises(workers.WorkerError, match="killed by SIGKILL") as caught:
            crew.work([Deadly()], lambda _: None)
        pids = [one.process.pid for one in crew._workers]
    assert "--workers 1" in caught.value.hint
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_no_more_workers_than_work() -> None:
    assert isinstance(crew_for(1, 8), workers.Alone)
    crew = crew_for(2, 8)
    assert isinstance(crew, workers.Processes)
    assert crew._count == 2
    crowd = crew_for(5000, 999)
    assert isinstance(crowd, workers.Processes)
    assert crowd._count == 2 * workers.available_cores()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.training import extras

    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "ray" else find_spec(name))
    with pytest.raises(MissingDependencyError) as caught:
        crew_for(4, 2, "auto")
    assert "holdfast[ray]" in caught.value.hint
    with pytest.raises(InvalidInputError, match="empty"):
        crew_for(4, 2, " ")


def test_a_cluster_that_is_not_there_is_told_at_once() -> None:
    pytest.importorskip("ray")
    with pytest.raises(workers.WorkerError, match=r"127\.0\.0\.1:1'") as caught, crew_for(4, 2, "127.0.0.1:1"):
        pass
    assert "ray start --head" in caught.value.hint
