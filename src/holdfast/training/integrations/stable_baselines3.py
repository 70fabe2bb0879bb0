"""What Stable-Baselines3 trains, in the tracker's run and through the journal."""

from __future__ import annotations

import inspect
import math
import tempfile
from collections.abc import Sequence
from numbers import Number
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Figure, HParam, KVWriter, Logger, filter_excluded_keys, make_output_format
from stable_baselines3.common.utils import safe_mean

from holdfast.errors import InvalidInputError
from holdfast.logs import get_logger
from holdfast.tracking import MLflowTracker
from holdfast.training.integrations.names import metric_name
from holdfast.training.integrations.params import log_first_values
from holdfast.training.integrations.run_in_use import RunInUse

_log = get_logger(__name__)
# Arguments of the algorithms that say nothing about how they learn.
_NO_PARAMS = {"self", "env", "policy", "verbose", "tensorboard_log", "monitor_wrapper", "_init_setup_model"}


class MLflowOutputFormat(KVWriter):
    """Writes what Stable-Baselines3's logger records to the tracker's run, with the timesteps as step.

    Keys that are recorded with `exclude="mlflow"` are left out. Figures become files `figures/<key>-<step>.png`,
    hyper-parameters params; videos, images and texts are left out, each key with one warning.

    Args:
        tracker: Whose open run.
    """

    def __init__(self, tracker: MLflowTracker) -> None:
        self._tracker = tracker
        self._left_out: set[str] = set()

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Log one dump of the logger; when this returns, its numbers are in the journal."""
        numbers: dict[str, Any] = {}
        for key, value in filter_excluded_keys(key_values, key_excluded, "mlflow").items():
            if _is_number(value):
                numbers[metric_name(key)] = value
            elif isinstance(value, Figure):
                self._log_figure(key, value, step)
            elif isinstance(value, HParam):
                log_first_values(self._tracker, {metric_name(name): text for name, text in value.hparam_dict.items()})
            else:
                self._leave_out(key, value)
        if numbers:
            self._tracker.log_metrics(numbers, step)

    def _log_figure(self, key: str, value: Figure, step: int) -> None:
        with tempfile.TemporaryDirectory(prefix="holdfast-figure-") as scratch:
            local = Path(scratch, f"{metric_name(key).replace('/', '_')}-{step}.png")
            value.figure.savefig(local)
            self._tracker.log_artifact(local, "figures")

    def _leave_out(self, key: str, value: Any) -> None:
        if key not in self._left_out:
            self._left_out.add(key)
            _log.warning("this is no number and is left out", key=key, kind=type(value).__name__)

    def close(self) -> None:
        """Nothing is left to be written."""


def configure_logger(
    tracker: MLflowTracker, folder: str | None = None, format_strings: Sequence[str] = ("stdout",)
) -> Logger:
    """Return a logger for `model.set_logger` that writes to the tracker's run too.

    Args:
        tracker: Whose open run.
        folder: Where the other formats write their files.
        format_strings: Stable-Baselines3's names of the other formats: `stdout`, `csv`, `tensorboard` …

    Raises:
        InvalidInputError: A format that writes a file, and no folder.
    """
    filed = sorted(set(format_strings) - {"stdout"})
    if filed and folder is None:
        raise InvalidInputError(f"{', '.join(filed)} need a folder.", 'give one: configure_logger(tracker, "logs")')
    others = [make_output_format(name, folder or "", "") for name in format_strings]
    return Logger(folder, [*others, MLflowOutputFormat(tracker)])


class HoldfastCallback(BaseCallback):
    """Logs an algorithm's hyper-parameters, its metrics, checkpoints in the background, and the final model.

    A logger of the model that does not write to the tracker yet does so from now on. Checkpoints become
    `checkpoints/model-<timesteps>.zip`; the last ones stay, and the one with the highest mean reward of the last
    episodes, which the tag `holdfast.checkpoint.best` names. The final model is `model/model.zip`; all are for the
    algorithm's own `load`.

    Training neither waits for a server nor loses anything to one that is away.

    Args:
        tracker: Whose open run. Where none is open when training begins, one is begun and ends with the training; if
            the training fails, it is ended as FAILED when the next training begins, or with the process.
        checkpoint_every: Timesteps between two checkpoints; 0 for none.
        keep_last: How many checkpoints stay, beside the best.
        log_model: Whether the final model is stored.
        verbose: Of Stable-Baselines3.

    Raises:
        InvalidInputError: `checkpoint_every` is below 0 or `keep_last` below 1.
    """

    def __init__(
        self,
        tracker: MLflowTracker,
        *,
        checkpoint_every: int = 0,
        keep_last: int = 3,
        log_model: bool = True,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        if checkpoint_every < 0 or keep_last < 1:
            raise InvalidInputError(
                f"Checkpoints every {checkpoint_every} timesteps of which {keep_last} stay cannot be kept.",
                "give checkpoint_every 0 or more, and keep_last 1 or more",
            )
        self._tracker, self._log_model = tracker, log_model
        self._every, self._next_at = checkpoint_every, 0
        self._kept = KeptCheckpoints(keep_last)
        self._run = RunInUse(tracker)

    def _on_training_start(self) -> None:
        self._run.begin()
        log_first_values(self._tracker, algorithm_params(self.model))
        formats = self.logger.output_formats
        if not any(isinstance(known, MLflowOutputFormat) for known in formats):
            formats.append(MLflowOutputFormat(self._tracker))
        self._next_at = self.num_timesteps + self._every

    def _on_step(self) -> bool:
        if self._every and self.num_timesteps >= self._next_at:
            self._next_at = self.num_timesteps + self._every
            self._checkpoint()
        return True

    def _checkpoint(self) -> None:
        name = f"model-{self.num_timesteps:09d}.zip"
        with tempfile.TemporaryDirectory(prefix="holdfast-checkpoint-") as scratch:
            local = Path(scratch, name)
            self.model.save(local)
            self._tracker.log_checkpoint(local, drop=self._kept.add(name, self._mean_reward()))
        if self._kept.best == name:
            self._tracker.set_tags({"holdfast.checkpoint.best": name})

    def _mean_reward(self) -> float | None:
        """Return the mean reward of the last episodes; None where none has ended."""
        episodes = self.model.ep_info_buffer
        return float(safe_mean([episode["r"] for episode in episodes])) if episodes else None

    def _on_training_end(self) -> None:
        if self._log_model:
            with tempfile.TemporaryDirectory(prefix="holdfast-model-") as scratch:
                self.model.save(Path(scratch, "model.zip"))
                self._tracker.log_artifact(Path(scratch, "model.zip"), "model")
        self._run.end()


class KeptCheckpoints:
    """Which checkpoints stay: the last ones, and the best.

    Args:
        last: How many of the last.

    Attributes:
        best: The name of the best; None as long as none has a score.
    """

    def __init__(self, last: int) -> None:
        self._most = last
        self._names: list[str] = []
        self._score: float | None = None
        self.best: str | None = None

    def add(self, name: str, score: float | None) -> list[str]:
        """Take a new one in; return the names of those that go. Of equal scores the later one is the best."""
        if score is not None and (self._score is None or score >= self._score):
            self._score, self.best = score, name
        self._names.append(name)
        kept = {*self._names[-self._most :], self.best}
        gone = [known for known in self._names if known not in kept]
        self._names = [known for known in self._names if known in kept]
        return gone


def algorithm_params(model: BaseAlgorithm) -> dict[str, Any]:
    """Return an algorithm's hyper-parameters by the names of its constructor, with what it learns in.

    A schedule is shown by its value at the start, and at the end where that is another one: `0.0003 to 0`.
    """
    names = [name for name in inspect.signature(type(model).__init__).parameters if name not in _NO_PARAMS]
    found = {name: _shown(getattr(model, name)) for name in names if hasattr(model, name)}
    specs = {
        "algorithm": type(model).__name__,
        "policy": type(model.policy).__name__,
        "n_envs": model.n_envs,
        "observation_space": str(model.observation_space),
        "action_space": str(model.action_space),
    }
    return specs | found


def _shown(value: Any) -> Any:
    if not callable(value) or isinstance(value, type):
        return value.__name__ if isinstance(value, type) else value
    try:
        start, end = float(value(1.0)), float(value(0.0))
    except (TypeError, ValueError):  # no schedule
        return getattr(value, "__name__", type(value).__name__)
    return start if start == end else f"{start:g} to {end:g}"


def _is_number(value: Any) -> bool:
    """Whether it is a number, or an array or tensor of one."""
    return isinstance(value, Number) or (hasattr(value, "item") and math.prod(value.shape) == 1)
