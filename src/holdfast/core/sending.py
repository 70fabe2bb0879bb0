"""What the delivery needs of a tracking store, whatever it is reached by.

Two parts implement it: `holdfast.backend.rest_sender.RestSender` (plain REST, without MLflow)
and `holdfast.backend.store_sender.StoreSender` (MLflow's own store, for databases).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

# Written on every run that Holdfast creates, and looked for before one is created again.
KEY_TAG = "holdfast.runKey"


class Point(NamedTuple):
    """One value of a metric, as MLflow stores it.

    Attributes:
        key: The metric's name.
        value: The value; NaN and infinities are allowed.
        timestamp: Milliseconds since the epoch.
        step: The step.
        extra: `model_id`, `dataset_name`, `dataset_digest` where the metric belongs to a model or dataset.
    """

    key: str
    value: float
    timestamp: int
    step: int
    extra: tuple[str | None, str | None, str | None] | None = None


@dataclass(frozen=True)
class ExperimentRef:
    """An experiment on the server."""

    experiment_id: str
    name: str
    artifact_location: str = ""
    deleted: bool = False


@dataclass(frozen=True)
class RunRef:
    """A run on the server."""

    run_id: str
    experiment_id: str
    name: str = ""
    status: str = "RUNNING"
    start_time_ms: int = 0
    end_time_ms: int | None = None
    artifact_uri: str = ""
    deleted: bool = False
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):  # noqa: N818 - an answer, caught where it is asked for; people never see it
    """The server understood the request and will never take it: trying again is of no use.

    Attributes:
        reason: What the server said, secrets masked.
        about_run: Whether the run itself is the cause (deleted, unknown), not what was to be stored in it.
    """

    def __init__(self, reason: str, about_run: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.about_run = about_run


class TooLarge(Refused):
    """The server refuses the size of the request; a smaller one may pass."""


class Unavailable(Exception):  # noqa: N818 - as above
    """The server cannot be reached, is overloaded, or refuses the login: what was logged is kept and tried again.

    Attributes:
        reason: What happened, secrets masked.
        retry_after_s: How long the server asked to be left alone, or None.
        needs_people: Whether waiting alone does not mend it (a wrong password, a missing driver).
        is_local: Whether only what was asked for has to wait (a deleted experiment, a parent that is being delivered),
            and the server itself is well.
        is_crash: Whether the server failed in the middle of just this request (HTTP 500), which may be its fault or
            the request's.
    """

    def __init__(
        self,
        reason: str,
        retry_after_s: float | None = None,
        needs_people: bool = False,
        is_crash: bool = False,
        is_local: bool = False,
    ) -> None:
        super().__init__(reason)
        self.is_local = is_local
        self.is_crash = is_crash
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.needs_people = needs_people


class Sender(Protocol):
    """A tracking store, as the delivery uses it.

    Every method raises `Refused` (never try this again), `TooLarge`, or `Unavailable` (try again
    later), and nothing else. All of them may be repeated: what was stored before is stored once.
    A sender belongs to one thread.
    """

    def check(self, timeout_s: float) -> None:
        """Return if the store answers within this time; raise `Unavailable` if not."""

    def find_experiment(self, name: str) -> ExperimentRef | None:
        """Return the experiment of this name, deleted or not."""

    def get_experiment(self, experiment_id: str) -> ExperimentRef | None:
        """Return the experiment, or None where there is none."""

    def create_experiment(self, name: str, artifact_location: str | None, tags: Mapping[str, str]) -> ExperimentRef:
        """Create an experiment; where somebody else was faster, return theirs."""

    def find_runs(self, experiment_id: str, key: str) -> list[RunRef]:
        """Return the runs whose tag `KEY_TAG` is `key`, deleted ones too, the earliest first."""

    def create_run(
        self, experiment_id: str, user: str, start_time_ms: int, name: str | None, tags: Mapping[str, str]
    ) -> RunRef:
        """Create a run in state RUNNING; not repeatable, see `find_runs`."""

    def get_run(self, run_id: str) -> RunRef | None:
        """Return the run, deleted or not; None where there is none."""

    def delete_run(self, run_id: str) -> None:
        """Delete a run (MLflow keeps it restorable)."""

    def update_run(self, run_id: str, status: str | None, end_time_ms: int | None, name: str | None) -> None:
        """Set status, end time and name; None leaves as it is."""

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Point],
        params: Sequence[tuple[str, str]],
        tags: Sequence[tuple[str, str]],
    ) -> None:
        """Store at most 1,000 metrics, 100 params and 100 tags, 1,000 in all."""

    def log_inputs(self, run_id: str, body: Mapping[str, Any]) -> None:
        """Store datasets and model inputs; `body` is the request of MLflow's REST API without the run id."""

    def log_outputs(self, run_id: str, body: Mapping[str, Any]) -> None:
        """Store model outputs; `body` is the request of MLflow's REST API without the run id."""

    def log_model(self, run_id: str, model_json: str) -> None:
        """Note a model the way MLflow 2 did (`mlflow.log-model.history`)."""

    def delete_tag(self, run_id: str, key: str) -> None:
        """Delete a tag; nothing happens where there is none."""

    def metric_history(self, run_id: str, key: str) -> list[Point]:
        """Return every stored value of a metric, in any order."""

    def close(self) -> None:
        """Let go of connections."""
