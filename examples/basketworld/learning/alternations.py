"""The alternations of a training, update by update, so that it can stop and go on after each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from holdfast.logs import get_logger
from holdfast.training.lightning import random_state

from ..game.rules import Rules
from ..play.checkpoints import checksum_of, checksum_tag, policy_path
from ..play.episodes import Episodes
from ..play.policy_files import write_policy
from .config import TrainingConfig
from .episode_log import DEFENSE, OFFENSE, Columns, as_frame, measures, split
from .evaluation import film
from .history import History
from .opponents import as_text, draw_opponents
from .outlet import Outlet
from .ppo import SelfPlayPPO
from .state_file import save_state
from .vector_env import TeamVecEnv

_log = get_logger(__name__)
FORMAT = 2


@dataclass
class Position:
    """How far a training is.

    Attributes:
        alternation: The one that it is in; the first is 1.
        update: Updates of the alternation that are done.
        updates: Updates that are done in all.
    """

    alternation: int = 1
    update: int = 0
    updates: int = 0


class Alternations:
    """Trains a model against its own past.

    Args:
        config: How.
        rules: Of the games.
        model: The learner, whose environment is `env`.
        env: The games.
        outlet: Where files and figures go.
        history: The policies of the run.
        interrupted: Called after each update; it saves and ends by raising.
    """

    def __init__(
        self,
        config: TrainingConfig,
        rules: Rules,
        model: SelfPlayPPO,
        env: TeamVecEnv,
        outlet: Outlet,
        history: History,
        interrupted: Callable[[], None],
    ) -> None:
        self.config, self.rules, self.model, self.env = config, rules, model, env
        self.position = Position()
        self._outlet, self._history, self._interrupted = outlet, history, interrupted
        self._drawn: list[int] = []
        self._faced = 0
        self._learnt: dict[str, list[float]] = {}
        self._saved_s = self._began_s = time.monotonic()

    def begin(self) -> None:
        """Keep the untrained policy, the state of the beginning, and what the first opponents are drawn from."""
        self._keep_policy(0)
        self.save()

    def run(self) -> None:
        """Train to the last alternation."""
        while self.position.alternation <= self.config.alternations:
            self._update()
            self._interrupted()
            if self.config.save_every_s and time.monotonic() - self._saved_s > self.config.save_every_s:
                self.save()

    # -- one update -------------------------------------------------------------------

    def _update(self) -> None:
        position = self.position
        self._face(position.alternation)
        if position.update == 0:
            self.env.begin()
            self._learnt = {}
        surprise = self.model.collect(self.env)
        attacks = self.env.is_offense
        entropies = {f"{OFFENSE} entropy": surprise[attacks].mean(), f"{DEFENSE} entropy": surprise[~attacks].mean()}
        for name, value in {**self.model.update(), **entropies}.items():
            self._learnt.setdefault(name, []).append(float(value))
        position.update += 1
        position.updates += 1
        if position.update == self.config.updates:
            self._end_alternation()

    def _face(self, alternation: int) -> None:
        """Draw the opponents of an alternation, once."""
        if self._faced == alternation:
            return
        self._drawn = draw_opponents(self.config, alternation)
        self.env.face(self._history.team(self._drawn))
        self.model.follow(self.config, alternation)
        self._faced = alternation

    def _measures(self, tables: dict[str, Columns]) -> dict[str, float]:
        """Return the alternation's metrics: of its episodes by role, and the means of what the updates told."""
        found = {
            f"{role} {name}": value
            for role, table in tables.items()
            for name, value in measures(table, self.rules).items()
        }
        means = {name: sum(values) / len(values) for name, values in self._learnt.items()}
        means.pop("entropy_loss", None)  # of both roles together
        return found | {name if " " in name else f"train/{name}": value for name, value in means.items()}

    def _end_alternation(self) -> None:
        """Keep what the alternation has brought, and then its end: a kill in between repeats it, to the same end."""
        number = self.position.alternation
        self._outlet.write(f"opponents/alternation_{number}.txt", as_text(number, self._drawn))
        faced = [one for one in self._drawn for _ in range(self.config.n_envs // self.config.opponents)]
        by_role = split(self.env.log.columns(), self.env.is_offense)
        tables = [as_frame(table, role.lower(), faced) for role, table in by_role.items()]
        log = f"shot_logs/alternation_{number}/episodes.csv"
        pd.concat(tables).to_csv(self._outlet.place(log), index=False)
        self._outlet.hand_over(log)
        self._keep_policy(number)
        self._film(number)
        self._outlet.metrics(self._measures(by_role) | self._rates(), number)
        self._tell(number, by_role)
        self.position = Position(alternation=number + 1, updates=self.position.updates)
        self.save()

    def _tell(self, number: int, by_role: dict[str, Columns]) -> None:
        ppp = {role.lower(): round(Episodes(self.rules, table).ppp(), 3) for role, table in by_role.items()}
        _log.info("alternation", number=number, of=self.config.alternations, **ppp)

    def _rates(self) -> dict[str, float]:
        steps = self.config.updates * self.config.rollout * self.config.n_envs
        now = time.monotonic()
        took_s, self._began_s = now - self._began_s, now
        rate = float(self.model.learning_rate)  # type: ignore[arg-type]
        return {"learning_rate": rate, "entropy_weight": self.model.ent_coef, "steps_per_s": steps / took_s}

    def _keep_policy(self, number: int) -> None:
        path = self._outlet.place(policy_path(number))
        write_policy(self.model, path, self.rules, number, self.config.net_arch)
        self._outlet.tracker.set_tags({checksum_tag(number): checksum_of(path)})
        self._outlet.hand_over(policy_path(number))

    def _film(self, number: int) -> None:
        every = self.config.gif_every
        if every and (number % every == 0 or number == self.config.alternations):
            name = f"training_eval/alternation_{number}.gif"
            film(self._history.player(number), self._outlet.place(name), self.rules, self.config.seed + number)
            self._outlet.hand_over(name)

    # -- what a training keeps --------------------------------------------------------

    def save(self) -> None:
        """Keep the state as it is, here and with the run; when this returns, no kill loses it."""
        path = save_state(self._outlet.folder, self.position.updates, self._state())
        self._outlet.state(path)
        self._saved_s = time.monotonic()

    def _state(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "config": self.config.model_dump(),
            "position": asdict(self.position),
            "policy": self.model.policy.state_dict(),
            "optimizer": self.model.policy.optimizer.state_dict(),
            "counts": [self.model.num_timesteps, self.model._n_updates],
            "random": random_state.capture(),
            "games": self.env.state(),
            "learnt": self._learnt,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state; what is drawn from then on is what would have been drawn."""
        self.position = Position(**state["position"])
        self.model.policy.load_state_dict(state["policy"])
        self.model.policy.optimizer.load_state_dict(state["optimizer"])
        self.model.num_timesteps, self.model._n_updates = state["counts"]
        self.env.restore(state["games"])
        self._learnt = state["learnt"]
        random_state.restore(state["random"])
