"""One trial: its run begun, its command or function at work, its value read."""

from __future__ import annotations

import math
import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from holdfast.backend.entities import Run
from holdfast.core.uris import holds_password
from holdfast.errors import HoldfastError
from holdfast.logs import get_logger
from holdfast.tracking.handed_run import RUN_ID_VARIABLE
from holdfast.training.sweeping.book import SweepBook
from holdfast.training.sweeping.options import SweepOptions
from holdfast.training.sweeping.process import arguments_of, run_process, variables_of
from holdfast.training.sweeping.records import State, TrialEnd
from holdfast.training.sweeping.space import Value
from holdfast.training.sweeping.watch import Watch

_log = get_logger(__name__)
# A command, or a function of the parameters and the id of the trial's run.
Objective: TypeAlias = Callable[[dict[str, Value], str], float] | Sequence[str]
_KEPT_OUTPUT_BYTES = 1 << 20


class Pruned(Exception):  # noqa: N818 - no error
    """Raised by a function that gives its trial up; `optuna.TrialPruned` says the same."""


@dataclass
class TrialWork:
    """Does the trials of a sweep. Threads may share it.

    Attributes:
        book: The sweep's runs.
        objective: What a trial does.
        options: How.
        folder: Where commands work.
        stop: Set when the sweep is to end at once.
    """

    book: SweepBook
    objective: Objective
    options: SweepOptions
    folder: Path
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int, params: dict[str, Value], watch: Watch) -> TrialEnd:
        """Do one trial; its run is ended when this returns or raises.

        Args:
            number: The trial's.
            params: Its parameters.
            watch: Is told the values of the metric, and says whether to go on.

        Raises:
            HoldfastError: The server cannot be reached; the trial is done again when the sweep goes on.
        """
        run = self.book.begin_trial(number, params)
        try:
            end = self._work(run, params, watch)
        except HoldfastError:
            raise
        except BaseException:
            self._end(run, TrialEnd(State.INTERRUPTED))
            raise
        self._end(run, end)
        return end

    def _work(self, run: Run, params: dict[str, Value], watch: Watch) -> TrialEnd:
        if callable(self.objective):
            return self._call(self.objective, run, params)
        return self._execute(self.objective, run, params, watch)

    def _end(self, run: Run, end: TrialEnd) -> None:
        self.book.end_trial(run.run_id, end)
        _log.info("a trial has ended", run=run.run_id, state=str(end.state), value=end.value, reason=end.reason)

    # -- a function -------------------------------------------------------------------

    def _call(self, function: Callable[[dict[str, Value], str], float], run: Run, params: dict[str, Value]) -> TrialEnd:
        try:
            value = float(function(dict(params), run.run_id))
        except Exception as error:
            self.book.settle(run.run_id)
            if isinstance(error, Pruned) or type(error).__name__ == "TrialPruned":
                return TrialEnd(State.PRUNED, self.last_value(run.run_id))
            return TrialEnd(State.FAILED, reason=f"{type(error).__name__}: {error}"[:500])
        self.book.settle(run.run_id)
        self.book.note_value(run.run_id, value)
        return self.book.end_by_value(run.run_id)

    def last_value(self, run_id: str) -> float | None:
        """Return the metric's value at the last step that a trial logged; None where it logged none, or no number."""
        points = self.book.history(run_id)
        return points[-1].value if points and math.isfinite(points[-1].value) else None

    # -- a command --------------------------------------------------------------------

    def _execute(self, command: Sequence[str], run: Run, params: dict[str, Value], watch: Watch) -> TrialEnd:
        wanted = self.options.given_by == "arguments"
        line = [*command, *(arguments_of(params) if wanted else ())]
        environ = self._environ(run, {} if wanted else variables_of(params))
        watching = watch.over(lambda: self.book.history(run.run_id), self.options.poll_s)
        with tempfile.TemporaryDirectory(prefix="holdfast-trial-") as scratch:
            output = Path(scratch, "output.txt")
            code = run_process(
                line, environ, self.folder, output, lambda: self.stop.is_set() or watching(), self.options.grace_s
            )
            self._keep_output(run, output)
        self.book.settle(run.run_id)
        end = self._end_of(run, code, watch.is_pruned)
        if end.state is State.COMPLETE:
            watch.finish(lambda: self.book.history(run.run_id))
        return end

    def _end_of(self, run: Run, code: int, is_pruned: bool) -> TrialEnd:
        if is_pruned:
            return TrialEnd(State.PRUNED, self.last_value(run.run_id))
        if self.stop.is_set():
            return TrialEnd(State.INTERRUPTED)
        if code != 0:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            return TrialEnd(State.FAILED, reason=f"the command ended with {how}; see sweep/output.txt of its run")
        return self.book.end_by_value(run.run_id)

    def _environ(self, run: Run, more: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a trial's process: this one's, and the place of its run.

        A tracking URI with a password in it is not put there: the process reads it where this one did.
        """
        settings = self.book.project.settings
        places = {RUN_ID_VARIABLE: run.run_id, "MLFLOW_EXPERIMENT_NAME": settings.experiment_name}
        if not holds_password(settings.tracking_uri):
            places["MLFLOW_TRACKING_URI"] = settings.tracking_uri
        return {**os.environ, **places, **more}

    def _keep_output(self, run: Run, output: Path) -> None:
        """Store the end of what a process wrote, with secrets masked, as `sweep/output.txt` of its run."""
        with output.open("rb") as source:
            source.seek(max(0, output.stat().st_size - _KEPT_OUTPUT_BYTES))
            text = source.read().decode(errors="replace")
        if text:
            output.write_text(self.book.project.redact(text))
            self.book.store(run, [output], "sweep")
