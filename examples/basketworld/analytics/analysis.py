"""The run of an analysis: a child of the training run, which itself is not touched."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.cli.ending import orderly_end
from holdfast.errors import InvalidInputError
from holdfast.lifecycle import Terminated
from holdfast.tracking import MLflowTracker
from holdfast.tracking.handed_run import take_handed_run

from .request import Request, TrainingRun

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

KIND_TAG = "basketworld.analysis"
_PARENT_TAG = "mlflow.parentRunId"


@dataclass
class Analysis:
    """An analysis under way.

    Attributes:
        kind: The command.
        run_id: The child run.
        training_run: The run it is about.
        folder: Where its files are written; they are logged when the analysis ends well.
        files: Their names so far.
        metrics: What is logged as metrics, so far.
        by_step: The same of one alternation each, which is the metrics' step.
    """

    kind: str
    run_id: str
    training_run: str
    folder: Path
    files: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    by_step: dict[int, dict[str, float]] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Return where to write a file of this name, which then belongs to the analysis."""
        self.files.append(name)
        return self.folder / name

    def table(self, name: str, frame: pd.DataFrame) -> None:
        """Write a table as CSV."""
        frame.to_csv(self.path(f"{name}.csv"), index=False, float_format="%.6g", lineterminator="\n")

    def picture(self, name: str, figure: Figure) -> None:
        """Write a figure as PNG and as SVG; the same figure gives the same bytes."""
        import matplotlib

        figure.savefig(self.path(f"{name}.png"), bbox_inches="tight", facecolor="white")
        with matplotlib.rc_context({"svg.hashsalt": "basketworld"}):
            figure.savefig(self.path(f"{name}.svg"), bbox_inches="tight", facecolor="white", metadata={"Date": None})

    def told(self) -> dict[str, Any]:
        """Return what `--json` says of it."""
        return {"run_id": self.run_id, "files": self.files, "metrics": self.metrics, "training_run": self.training_run}


@contextmanager
def analysis(kind: str, training: TrainingRun, request: Request, **params: Any) -> Iterator[Analysis]:
    """Begin a child run for a block, and log to it what the block wrote.

    It ends as FINISHED, FAILED by an error, or KILLED by Ctrl-C or SIGTERM. What was logged is in the journal when the
    block is left; a server that is gone meanwhile gets it later.

    Args:
        kind: The command.
        training: The run it is about, which gets nothing logged and is not reopened.
        request: What was asked.
        params: What else decides the result.
    """
    take_handed_run()  # an analysis is a run of its own, also where MLFLOW_RUN_ID names the training run
    tags = {_PARENT_TAG: training.run.run_id, KIND_TAG: kind}
    name = f"{kind} of {training.run.name or training.run.run_id[:8]}"
    with orderly_end(), _folder(request.out) as folder:
        tracker = MLflowTracker(settings=training.settings)
        with tracker.run(name, tags) as run_id, _killed_by_signals():
            tracker.log_params({**request.as_params(), **_plain(params)})
            found = Analysis(kind, run_id, training.run.run_id, folder)
            yield found
            tracker.log_metrics(found.metrics)
            for step, metrics in sorted(found.by_step.items()):
                tracker.log_metrics(metrics, step)
            for file in found.files:
                tracker.log_artifact(folder / file, "")


class _Signalled(Terminated):
    """A signal's exit, with its own code."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


@contextmanager
def _killed_by_signals() -> Iterator[None]:
    """Have the exit that `orderly_end` makes of a signal end a run as KILLED; any other exit is a failure."""
    try:
        yield
    except SystemExit as end:
        if isinstance(end.code, int) and end.code - 128 in set(signal.Signals):
            raise _Signalled(end.code) from None
        raise


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    """Give the folder that was asked for, or one that is there for the block only.

    Raises:
        InvalidInputError: It cannot be made.
    """
    if out is None:
        with tempfile.TemporaryDirectory(prefix="basketworld-") as scratch:
            yield Path(scratch)
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"The folder {out} cannot be made: {error.strerror}.", "give another --out") from None
    yield out


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
