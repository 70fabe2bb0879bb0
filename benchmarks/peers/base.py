"""What a peer is to the benchmarks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

Metrics = dict[str, float]
Log = Callable[[Metrics, int], object]
KEY = "loss"


@dataclass(frozen=True)
class Job:
    """Where a peer writes.

    Attributes:
        folder: The folder of the project; the working directory too.
        uri: An MLflow server, for those who need one.
        experiment: The experiment's name on it.
    """

    folder: Path
    uri: str
    experiment: str


class Peer(ABC):
    """One way of logging metrics. What is not needed to log is switched off: system metrics, git, telemetry."""

    label = ""
    # Whose version is printed, and where it is installed.
    distribution: str | None = None
    own_venv = True
    # Calls of one measurement; a limit in seconds holds besides.
    calls = 20_000
    environment: ClassVar[Mapping[str, str]] = {}
    # A process beside the training process does part of the work and outlives it.
    has_helper = False
    # Why its files are not read back after a SIGKILL; None where they are.
    unreadable: str | None = None
    # Where `open` meets the network, read back is done through the server.
    on_server = False
    # Closing would take longer than measuring (a queue of thousands of requests): the process just ends.
    closes = True

    @abstractmethod
    def open(self, job: Job) -> None:
        """Begin a run."""

    @abstractmethod
    def logger(self, count: int) -> Log:
        """Return what logs `count` metrics of a step, as a user would write it for that number."""

    @abstractmethod
    def close(self) -> None:
        """End the run in good order; what was logged is where it belongs when this returns."""

    def stored(self, folder: Path) -> Counter[int]:
        """Return how often each step of the metric `KEY` is found in the files below `folder`."""
        raise NotImplementedError

    def data(self, folder: Path) -> Path:
        """Return the folder that holds what was logged."""
        return folder

    def note(self) -> str:
        """Return what a reader of the figures must know about this run, or nothing."""
        return ""
