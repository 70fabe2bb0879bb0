"""Maskable PPO over whole batches of games: the library's losses, and a rollout without work for each game."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from stable_baselines3.common.logger import Logger
from torch.distributions import Distribution

from .config import TrainingConfig
from .schedules import entropy_weight, learning_rate
from .vector_env import TeamVecEnv


class SelfPlayPPO(MaskablePPO):
    """`MaskablePPO` whose rollouts come straight from a `TeamVecEnv`."""

    def collect(self, env: TeamVecEnv) -> NDArray[np.float32]:
        """Fill the rollout buffer by playing on from where the games are.

        Returns:
            (n,), the mean of -log p of the actions that were drawn in each game, an estimate of the entropy.
        """
        buffer, steps = self.rollout_buffer, self.n_steps
        self.policy.set_training_mode(False)
        buffer.reset()
        seen, starts = env.look(), _as_starts(env)
        with torch.no_grad():
            for _ in range(steps):
                masks = env.masks()
                actions, values, log_probs = self.policy(
                    torch.from_numpy(seen), action_masks=masks.reshape(len(seen), -1)
                )
                chosen = actions.numpy()
                after, rewards, ended = env.play(chosen)
                buffer.add(seen, chosen, rewards, starts, values, log_probs, action_masks=masks)
                seen, starts = after, ended
            last = self.policy.predict_values(torch.from_numpy(seen))
        buffer.compute_returns_and_advantage(last_values=last, dones=starts)
        self.num_timesteps += steps * env.num_envs
        return np.asarray(-buffer.log_probs.mean(axis=0))

    def follow(self, config: TrainingConfig, alternation: int) -> None:
        """Set the rates of an alternation."""
        self.learning_rate = learning_rate(config, alternation)
        self._setup_lr_schedule()
        self.ent_coef = entropy_weight(config, alternation)

    def update(self) -> dict[str, float]:
        """Learn from the rollout buffer; return the library's figures, such as `entropy_loss`."""
        self.train()
        said = {name.removeprefix("train/"): float(value) for name, value in self.logger.name_to_value.items()}
        self.logger.name_to_value.clear()
        return said


def _as_starts(env: TeamVecEnv) -> NDArray[np.bool_]:
    """Return which games are at their beginning."""
    return np.asarray(env.games.steps == 0)


def make_model(config: TrainingConfig, env: TeamVecEnv) -> SelfPlayPPO:
    """Return an untrained model; seeds the global generators of Python, NumPy and PyTorch."""
    model = SelfPlayPPO(
        "MlpPolicy",
        env,
        learning_rate=config.lr,
        n_steps=config.rollout,
        batch_size=config.batch,
        n_epochs=config.epochs,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip,
        ent_coef=config.entropy,
        policy_kwargs={"net_arch": list(config.net_arch)},
        seed=config.seed,
        device="cpu",
    )
    model.set_logger(Logger(None, []))
    return model


@contextmanager
def quick_torch(threads: int) -> Iterator[None]:
    """Compute with so many threads, and without the checks of each distribution's arguments, in this block."""
    before, checked = torch.get_num_threads(), Distribution._validate_args
    torch.set_num_threads(threads)
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        Distribution.set_default_validate_args(checked)
