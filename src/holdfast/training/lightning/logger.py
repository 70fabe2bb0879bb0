"""`HoldfastLogger`: what Lightning logs, in one run, through the journal."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any, Literal

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.logger import _convert_params, _flatten_dict
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from holdfast.core.uris import MASK
from holdfast.errors import HoldfastError
from holdfast.lifecycle import status_for
from holdfast.logs import get_logger
from holdfast.tracking import MLflowTracker
from holdfast.training.integrations.names import metric_name
from holdfast.training.integrations.params import log_first_values
from holdfast.training.lightning.hyperparams import param_texts
from holdfast.training.lightning.mirror import CheckpointMirror
from holdfast.training.lightning.other_rank import RankLog
from holdfast.training.lightning.signals import Interrupted

_log = get_logger(__name__)


class HoldfastLogger(Logger):
    """A logger for Lightning's `Trainer` that takes what its `MLFlowLogger` takes, and the faults out.

    Logging neither waits for a server nor loses anything when the process is killed. There is one run, on rank 0
    alone. Ctrl-C ends it KILLED, an exception FAILED. Checkpoints go to the artifact store in the background, as many
    as the callback keeps, under names that hold no folders: those of the first callback to `checkpoints`, of another
    one to `checkpoints-2`.

    The run ends with each `fit`, `validate` or `test`, and is gone on with by the next one. What is logged in between,
    and after the last, is added to the run, which stays ended.

    Args:
        experiment_name: The experiment; the configured one if not given.
        run_name: The run's name.
        tracking_uri: The tracking store; the configured one if not given.
        tags: The run's tags.
        save_dir: Where Lightning keeps its own files.
        log_model: Whether the files of `ModelCheckpoint` are stored with the run. `True` and `"all"` are the same:
            those that the callback keeps, as soon as they are written.
        prefix: Put before the name of each metric, with `-`.
        artifact_location: Where a new experiment keeps its files.
        run_id: Go on with this run.
        synchronous: Taken, and of no effect: no call waits.
        tracker: A tracker instead of all that says where; the run that it has open, if it has one, is used and not
            ended.
        log_ranks: Whether the other processes of a distributed run log too, each under `rank<n>/`.
    """

    LOGGER_JOIN_CHAR = "-"

    def __init__(
        self,
        experiment_name: str | None = None,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        tags: Mapping[str, Any] | None = None,
        save_dir: str | None = None,
        log_model: bool | Literal["all"] = False,
        prefix: str = "",
        artifact_location: str | None = None,
        run_id: str | None = None,
        synchronous: bool | None = None,
        *,
        tracker: MLflowTracker | None = None,
        log_ranks: bool = False,
    ) -> None:
        super().__init__()
        self._place: dict[str, Any] = {
            "experiment_name": experiment_name,
            "tracking_uri": tracking_uri,
            "artifact_uri": artifact_location,
        }
        self._run_name, self._tags, self._run_id = run_name, tags, run_id
        self._save_dir, self._prefix, self._log_ranks = save_dir, prefix, log_ranks
        self._keeps_checkpoints = bool(log_model)
        self._tracker = tracker
        self._is_open = False
        self._is_own = False
        self._has_ended = False
        self._rank_log: RankLog | None = None
        self._logged: dict[str, int] = {}
        self._params: dict[str, str] | None = None
        self._names: dict[str, str] = {}
        self._mirrors: dict[str, CheckpointMirror] = {}
        self._folders = 0
        self._epoch_said: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("A HoldfastLogger cannot be pickled: it holds an open run. Make one in each process.")

    # -- the run ----------------------------------------------------------------------

    @property
    def tracker(self) -> MLflowTracker:
        """The tracker, made when it is first asked for."""
        if self._tracker is None:
            self._tracker = MLflowTracker(**{key: value for key, value in self._place.items() if value is not None})
        return self._tracker

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """MLflow's client for the tracking store; what is logged through it goes through the journal too."""
        self._begin_first()
        return self.tracker.client

    def _begin_first(self) -> None:
        """Begin the run, unless that was done before."""
        if not self._has_ended:
            self._begin()

    def _begin(self) -> None:
        """Begin the run where none is open, or go on with it."""
        if self._is_open:
            return
        open_id = self.tracker.run_id
        if open_id is None or self._run_id not in (None, open_id):
            is_new = self._run_id is None
            self._run_id = self.tracker.start_run(self._run_name, self._tags, run_id=self._run_id)
            self._params = {} if is_new else self._params
            self._is_own = True
        else:
            self._run_id = open_id
        self._is_open = True

    def attach(self, run_id: str) -> None:
        """Take a run of another process, rank 0's, for this one's, which neither begins nor ends it."""
        self._run_id = run_id

    def skip(self, logged: Mapping[str, int], params: Mapping[str, str]) -> None:
        """Leave out what the run has already; a training that is resumed repeats what came after its checkpoint.

        Args:
            logged: Of each metric, the last step that is not to be logged again.
            params: The run's params, which keep their values.
        """
        self._logged, self._params = dict(logged), dict(params)

    def keep_in_step(self, callback: ModelCheckpoint, there: Mapping[str, int]) -> None:
        """Say what checkpoints the run's artifact store has already, of those that a callback writes.

        Args:
            callback: Which.
            there: See `CheckpointMirror.there`.
        """
        self._new_mirror(callback, there)

    @property
    def run_id(self) -> str | None:
        """The run's id; None on other ranks as long as nobody has told it."""
        if self._run_id is None and _rank() == 0:
            self._begin()
        return self._run_id

    @property
    def experiment_id(self) -> str | None:
        """The experiment's id; None on other ranks."""
        return self.tracker.experiment_id if _rank() == 0 else None

    @property
    def name(self) -> str | None:
        """The experiment's id, as of Lightning's own logger."""
        return self.experiment_id

    @property
    def version(self) -> str | None:
        """The run's id, as of Lightning's own logger."""
        return self.run_id

    @property
    def save_dir(self) -> str | None:
        """Where Lightning keeps its own files."""
        return self._save_dir

    # -- logging ----------------------------------------------------------------------

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Log parameters; nested ones as `optimizer/lr`. One that the run has already keeps its first value.

        A value that is longer than MLflow takes is cut, and a name that it refuses is spelled otherwise: a module's
        arguments are not always numbers.
        """
        self._begin_first()
        texts = param_texts(_flatten_dict(_convert_params(params)))
        known = self._known_params()
        new = {key: text for key, text in texts.items() if key not in known}
        other = sorted(
            key for key, text in texts.items() if key in known and known[key] != text and MASK not in known[key]
        )
        if other:
            _log.warning("params keep their first values", params=", ".join(other))
        if new and self._is_current():
            log_first_values(self.tracker, new)
        elif new:
            self._log_of_rank().params(new)
        known.update(new)

    def _known_params(self) -> dict[str, str]:
        """Return the params that the run has; those of a run that was begun elsewhere are asked for, once."""
        if self._params is None:
            try:
                self._params = dict(self.tracker.get_run_info(self.run_id)["params"])
            except HoldfastError as error:
                _log.warning("the run's params of before are not known", reason=error.message)
                self._params = {}
        return self._params

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics of a step; when this returns they are in the journal.

        A name that MLflow refuses is spelled otherwise, `recall@5` as `recall_at_5`, and a text is left out, each with
        a warning.
        """
        rank = _rank()
        if rank and not self._log_ranks:
            return
        at = 0 if step is None else step
        named = {self._names.get(key) or self._name(key, rank): value for key, value in metrics.items()}
        if any(isinstance(value, str) for value in named.values()):
            named = _without_texts(named)
        self._drop_repeated_epoch(named, at)
        if rank:
            self.append(named, at)
            return
        self._begin_first()
        if self._is_current():
            self._put(named, at, self.tracker.log_metrics)
        else:
            self.append(named, at)

    def _drop_repeated_epoch(self, named: dict[str, Any], at: int) -> None:
        """Leave the epoch out where the step has it: Lightning says it with what it trained and what it validated."""
        key = self._names.get("epoch", "")
        if key in named and self._epoch_said == (at, named[key]):
            del named[key]
        elif key in named:
            self._epoch_said = (at, named[key])

    def append(self, metrics: Mapping[str, Any], step: int) -> None:
        """Log metrics under these very names, from any thread and on any rank, whether the run is open or not.

        What the run has already is left out, as by `log_metrics`.

        Args:
            metrics: Name → number.
            step: The step.

        Raises:
            RunStateError: This rank does not know the run.
        """
        self._put(metrics, step, self._log_of_rank().metrics)

    def _put(self, metrics: Mapping[str, Any], step: int, put: Callable[[Mapping[str, Any], int], None]) -> None:
        if self._logged:
            metrics = {key: value for key, value in metrics.items() if step > self._logged.get(key, -1)}
        if metrics:
            put(metrics, step)

    def _is_current(self) -> bool:
        """Whether what the tracker logs goes to this run."""
        return self._is_open or (self._run_id is not None and self.tracker.run_id == self._run_id)

    def _name(self, key: str, rank: int) -> str:
        name = f"{self._prefix}{self.LOGGER_JOIN_CHAR}{key}" if self._prefix else key
        name = f"rank{rank}/{name}" if rank else name
        taken = metric_name(name)
        if taken != name:
            while taken in self._names.values():
                taken += "_"
            _log.warning("a metric's name is not taken by MLflow", name=name, logged_as=taken)
        self._names[key] = taken
        return taken

    def _log_of_rank(self) -> RankLog:
        if self._rank_log is None:
            self._rank_log = RankLog(self.tracker, self.run_id)
        return self._rank_log

    # -- checkpoints and the end --------------------------------------------------------

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Store what the callback has written, and delete what it has deleted, in the background."""
        if self._keeps_checkpoints and _rank() == 0:
            self._begin()
            mirror = self._mirrors.get(checkpoint_callback.state_key)
            if mirror is None or not mirror.serves(checkpoint_callback):
                mirror = self._new_mirror(checkpoint_callback, {})
            mirror.follow(self.tracker, checkpoint_callback)

    def _new_mirror(self, callback: ModelCheckpoint, there: Mapping[str, int]) -> CheckpointMirror:
        self._folders += 1
        folder = "checkpoints" if self._folders == 1 else f"checkpoints-{self._folders}"
        made = self._mirrors[callback.state_key] = CheckpointMirror(there, folder)
        return made

    def save(self) -> None:
        """Go on with the run where it had ended: Lightning calls this when it begins to fit or test, and after logging.

        Nothing is left to be saved: what was logged is in the journal.
        """
        if _rank() == 0:
            self._begin()

    def finalize(self, status: str) -> None:
        """End the run, if this logger began it: KILLED by Ctrl-C and SIGTERM, FAILED by another exception."""
        if self._rank_log is not None and _rank():
            self._rank_log.settle()
        if not self._is_open:
            return
        is_own, self._is_open, self._is_own = self._is_own, False, False
        self._has_ended = True
        if self.tracker.run_id != self._run_id:
            return
        try:
            for mirror in self._mirrors.values():
                mirror.catch_up(self.tracker)
        finally:
            if is_own:
                self.tracker.end_run(_end_status(status))


def _rank() -> int:
    return getattr(rank_zero_only, "rank", None) or 0


def _end_status(status: str) -> str:
    if status != "failed":
        return "FINISHED"
    error = sys.exception()
    if isinstance(error, SIGTERMException):  # Lightning's, where nobody else has a handler
        return "KILLED"
    if isinstance(error, Interrupted):
        error = error.as_exit()
    return "FAILED" if error is None else status_for(type(error), error)


def _without_texts(metrics: dict[str, Any]) -> dict[str, Any]:
    texts = sorted(key for key, value in metrics.items() if isinstance(value, str))
    _log.warning("these metrics are texts and are left out", names=", ".join(texts))
    return {key: value for key, value in metrics.items() if key not in texts}
