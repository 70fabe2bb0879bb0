"""How a sweep is done, checked at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from holdfast.errors import HoldfastError, InvalidInputError

if TYPE_CHECKING:
    from holdfast.training.sweeping.records import Trial

_CHOICES = {
    "mode": ("min", "max"),
    "engine": ("optuna", "ray"),
    "sampler": ("tpe", "random"),
    "pruner": ("none", "median"),
    "given_by": ("arguments", "env"),
}


class SweepError(HoldfastError):
    """A sweep ended before its trials were done, or none of them gave a value.

    Attributes:
        run_id: The parent run; empty where it is not the sweep as a whole that failed.
        trials: Those that were begun.
        best: The best of the complete ones; None where there is none.
    """

    run_id: str = ""
    trials: tuple[Trial, ...] = ()
    best: Trial | None = None


class SweepOptionsError(InvalidInputError):
    """Some of a sweep's options are not valid.

    Attributes:
        problems: Option → what is wrong with it, for who calls the options by other names.
    """

    problems: Mapping[str, str] = MappingProxyType({})

    @classmethod
    def of(cls, problems: Mapping[str, str], hint: str = "see SweepOptions") -> SweepOptionsError:
        """Return the error for options, each with what is wrong as the rest of a sentence that its name begins."""
        told = "; ".join(f"{name} {problem}" for name, problem in problems.items())
        error = cls(f"The sweep's options are not valid: {told}.", hint)
        error.problems = dict(problems)
        return error


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep is done.

    Attributes:
        metric: What is judged by: the last value of this metric of a trial's run.
        mode: Whether less (`min`) or more (`max`) of it is better.
        trials: How many, those of an earlier part of the sweep included.
        timeout_s: After so many seconds no trial is begun; None for no limit.
        engine: `optuna`, or `ray`: Ray Tune on the Ray cluster that is there, else on one of this machine.
        seed: Of the sampler. One trial at a time, the same seed gives the same parameters.
        parallel: How many trials at a time.
        sampler: `tpe` (Optuna's tree-structured Parzen estimator) or `random`.
        pruner: `none`, or `median`: a trial is ended that is worse than the median of the earlier ones at its step.
        prune_after: How many complete trials there have to be before one is pruned.
        max_failures: How many trials may fail; one more ends the sweep.
        given_by: How a command gets its parameters: `arguments` (`--learning-rate 0.01`) or `env`
            (`PARAM_LEARNING_RATE=0.01`).
        poll_s: How often the metric of a running trial is read, for the pruner.
        grace_s: How long a trial's process may take to end after SIGTERM, before it is killed.
    """

    metric: str
    mode: Literal["min", "max"] = "min"
    trials: int = 20
    timeout_s: float | None = None
    engine: Literal["optuna", "ray"] = "optuna"
    seed: int = 0
    parallel: int = 1
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["none", "median"] = "none"
    prune_after: int = 5
    max_failures: int = 5
    given_by: Literal["arguments", "env"] = "arguments"
    poll_s: float = 1.0
    grace_s: float = 30.0

    def __post_init__(self) -> None:
        """Raise a SweepOptionsError that names everything that is wrong."""
        problems = dict(self._problems())
        if problems:
            raise SweepOptionsError.of(problems)

    def _problems(self) -> Iterator[tuple[str, str]]:
        if not self.metric.strip():
            yield "metric", "is missing"
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                yield name, f"= {getattr(self, name)!r} is none of {', '.join(known)}"
        for name, least in (("trials", 1), ("parallel", 1), ("max_failures", 0), ("prune_after", 1), ("seed", 0)):
            if getattr(self, name) < least:
                yield name, f"= {getattr(self, name)} is below {least}"
        for name in ("timeout_s", "poll_s", "grace_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                yield name, f"= {value} is not above 0"

    @property
    def sign(self) -> int:
        """1 where less is better, -1 where more is."""
        return 1 if self.mode == "min" else -1

    @property
    def engine_extra(self) -> str:
        """The extra of Holdfast that brings the engine."""
        return "ray" if self.engine == "ray" else "sweep"
