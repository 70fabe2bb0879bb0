"""Everything that a training can be told; each key reaches what it names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from holdfast.errors import InvalidInputError
from holdfast.training.config import Count, Number, checked

from ..game.rules import Rules

# What a run that goes on may be told anew; the games, the network and what is drawn must stay.
CHANGEABLE = frozenset(
    {
        "alternations",
        "batch",
        "epochs",
        "lr",
        "lr_end",
        "entropy",
        "entropy_end",
        "clip",
        "threads",
        "gif_every",
        "save_every_s",
    }
)


def _widths(value: Any) -> Any:
    """Take `128,128` for the widths of the hidden layers."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    return tuple(value) if isinstance(value, list) else value


def _table(value: Any) -> Any:
    """Take JSON for a table."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('is no JSON; write {"players": 3}') from None


Widths = Annotated[tuple[Annotated[Count, Field(ge=1)], ...], BeforeValidator(_widths), Field(min_length=1)]
Table = Annotated[dict[str, Any], BeforeValidator(_table)]


class TrainingConfig(BaseModel):
    """How a policy learns; frozen.

    An alternation draws opponents, trains in both roles and keeps the policy. Rates run on a line from
    their first value, in the first alternation, to their end, in the last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alternations: Count = Field(140, ge=1, description="how many in all, also of a run that goes on")
    seed: Count = Field(1, ge=0, lt=1 << 32, description="of everything that is drawn")
    n_envs: Count = Field(512, ge=1, description="games that are played side by side")
    rollout: Count = Field(16, ge=1, description="steps of each game between two updates")
    steps: Count = Field(65_536, ge=1, description="steps of all games in an alternation; whole rollouts")
    batch: Count = Field(1024, ge=2, description="decisions in a minibatch")
    epochs: Count = Field(4, ge=1, description="passes over each rollout")
    lr: Number = Field(1e-3, gt=0, description="learning rate of the first alternation")
    lr_end: Number = Field(5e-5, gt=0, description="learning rate of the last")
    entropy: Number = Field(0.03, ge=0, description="weight of the entropy in the first alternation")
    entropy_end: Number = Field(0.0, ge=0, description="weight of the entropy in the last")
    clip: Number = Field(0.2, gt=0, description="PPO's bound of the ratio")
    gamma: Number = Field(1.0, gt=0, le=1, description="discount a step")
    gae_lambda: Number = Field(0.95, ge=0, le=1, description="of the generalised advantage")
    net_arch: Widths = Field((128, 128), description="widths of the hidden layers: 128,128")
    opponents: Count = Field(16, ge=1, description="draws of frozen opponents an alternation; they share the games")
    opponent_window: Count = Field(10, ge=1, description="how many of the newest policies are drawn by weight")
    opponent_decay: Number = Field(0.7, gt=0, le=1, description="weight of a policy beside that of the next newer one")
    opponent_uniform: Number = Field(0.15, ge=0, le=1, description="share of draws over the whole history alike")
    shot_reward: Literal["expected", "scored"] = Field(
        "expected", description="expected, what a shot is worth; or scored"
    )
    shaping: Number = Field(0.0, ge=0, description="weight of the potential in the reward")
    rules: Table = Field(default_factory=dict, description='rules of the game as JSON: {"players": 3}')
    threads: Count = Field(1, ge=1, description="threads of PyTorch")
    gif_every: Count = Field(20, ge=0, description="alternations between two filmed episodes; 0 for none")
    save_every_s: Number = Field(60.0, ge=0, description="seconds between two states within an alternation; 0 for not")

    @property
    def updates(self) -> int:
        """Rollouts in an alternation."""
        return -(-self.steps // (self.n_envs * self.rollout))

    def make_rules(self) -> Rules:
        """Return the rules that are trained by: those of `rules`, with this shaping and its discount.

        Raises:
            InvalidInputError: A rule is unknown or has a bad value, or is a key of its own here.
        """
        own = sorted({"shaping", "gamma"} & set(self.rules))
        if own:
            raise InvalidInputError(
                f"The training's rules have {' and '.join(own)}, which are keys of the training.",
                "say " + " and ".join(f"{name}={self.rules[name]!r:.40}" for name in own) + " outside of rules",
            )
        return replace(Rules.from_dict(dict(self.rules)), shaping=self.shaping, gamma=self.gamma)

    def progress(self, alternation: int) -> float:
        """Return how much of the training is over when an alternation begins, 0 in the first and 1 in the last."""
        return (alternation - 1) / max(1, self.alternations - 1)


def make_config(given: Mapping[str, Any]) -> TrainingConfig:
    """Return a configuration; None counts as not given.

    Raises:
        InvalidInputError: Names all keys that are unknown or have bad values, or do not fit each other.
    """
    config = _checked(given)
    _check_sizes(config)
    config.make_rules()
    return config


def check_given(given: Mapping[str, Any], resume: str | None) -> None:
    """Refuse bad values before anything begins; of a run that goes on, its own values are not known yet.

    Raises:
        InvalidInputError: As of `make_config`.
    """
    if resume is None:
        make_config(given)
    else:
        _checked(given)


def _checked(given: Mapping[str, Any]) -> TrainingConfig:
    values = {key: value for key, value in given.items() if value is not None}
    return checked(TrainingConfig, values, "The training configuration")


def _check_sizes(config: TrainingConfig) -> None:
    problems = []
    if config.n_envs % (2 * config.opponents):
        problems.append(f"{config.n_envs} games cannot be shared evenly by {config.opponents} opponents in two roles")
    if (config.n_envs * config.rollout) % config.batch == 1:
        problems.append(f"a minibatch of one decision is left over of {config.n_envs * config.rollout}")
    if problems:
        raise InvalidInputError(
            f"The training configuration is not valid: {'; '.join(problems)}.",
            "have twice the opponents divide n_envs, and batch divide n_envs x rollout",
        )


def go_on_config(before: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[TrainingConfig, dict[str, Any]]:
    """Return the configuration of a run that goes on: its own, and what is given anew over it.

    Args:
        before: The run's, as `model_dump` gave it.
        given: Keys that are given; None counts as not given.

    Returns:
        The configuration, and the values given that differ from the run's.

    Raises:
        InvalidInputError: A key that must stay is given another value, or a value is bad.
    """
    config = make_config({**before, **{key: value for key, value in given.items() if value is not None}})
    was, now = make_config(before).model_dump(), config.model_dump()
    changed = {key: value for key, value in now.items() if was[key] != value}
    fixed = sorted(set(changed) - CHANGEABLE)
    if fixed:
        said = ", ".join(f"{key} is {was[key]} and not {now[key]}" for key in fixed)
        raise InvalidInputError(
            f"The run cannot go on with other values: {said}.",
            f"leave them out, or begin another run; what can be changed: {', '.join(sorted(CHANGEABLE))}",
        )
    return config, changed
