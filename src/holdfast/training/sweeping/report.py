"""What a sweep leaves on its parent run: the table of trials, and Optuna's plots."""

from __future__ import annotations

import csv
import json
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from holdfast.logs import get_logger
from holdfast.training.sweeping.book import SweepBook
from holdfast.training.sweeping.options import SweepOptions
from holdfast.training.sweeping.optuna_engine import quiet_optuna, study_of
from holdfast.training.sweeping.process import text_of
from holdfast.training.sweeping.records import State, Trial, as_row, best_of
from holdfast.training.sweeping.space import Space

_log = get_logger(__name__)
_FOLDER = "sweep"


def log_report(book: SweepBook, trials: list[Trial], space: Space, options: SweepOptions) -> None:
    """Log the best trial, `sweep/trials.csv` and `.json`, and from two complete trials on the plots to the parent.

    The plots are `sweep/history.png` and, where the values differ, `sweep/importance.png`.

    Raises:
        BackendError, ArtifactError: They cannot be stored.
    """
    best = best_of(trials, options.sign)
    if best is not None:
        book.log_best(best)
    with tempfile.TemporaryDirectory(prefix="holdfast-sweep-") as scratch:
        folder = Path(scratch)
        files = [
            _write_csv(folder, trials, space),
            _write_json(folder, trials),
            *_plots(folder, trials, space, options),
        ]
        book.store(book.parent, files, _FOLDER)


def _write_csv(folder: Path, trials: Sequence[Trial], space: Space) -> Path:
    path = folder / "trials.csv"
    with path.open("w", newline="", encoding="utf-8") as sink:
        writer = csv.writer(sink)
        writer.writerow(["trial", "run_id", "state", "value", "duration_s", *space, "reason"])
        for trial in trials:
            values = [text_of(trial.params[name]) if name in trial.params else "" for name in space]
            shown = ["" if number is None else repr(number) for number in (trial.value, trial.duration_s)]
            writer.writerow([trial.number, trial.run_id, str(trial.state), *shown, *values, trial.reason])
    return path


def _write_json(folder: Path, trials: Sequence[Trial]) -> Path:
    path = folder / "trials.json"
    path.write_text(json.dumps([as_row(trial) for trial in trials], indent=2, allow_nan=False), encoding="utf-8")
    return path


def _plots(folder: Path, trials: Sequence[Trial], space: Space, options: SweepOptions) -> list[Path]:
    values = {trial.value for trial in trials if trial.state is State.COMPLETE}
    if sum(trial.state is State.COMPLETE for trial in trials) < 2:
        return []
    if find_spec("matplotlib") is None:
        _log.warning("matplotlib is not installed; the sweep has no plots", hint="pip install 'holdfast[sweep]'")
        return []
    from optuna.visualization import matplotlib as plots

    with quiet_optuna():
        study = study_of(trials, space, options)
        found = [_drawn(folder / "history.png", plots.plot_optimization_history, study, options.metric)]
        if len(values) > 1:  # the importance of what changes nothing is not defined
            found.append(_drawn(folder / "importance.png", plots.plot_param_importances, study, options.metric))
    return found


def _drawn(path: Path, plot: Callable[..., Any], study: Any, metric: str) -> Path:
    from matplotlib import pyplot

    with warnings.catch_warnings(), pyplot.ioff():
        warnings.simplefilter("ignore")  # Optuna's, that its plots are experimental
        figure = plot(study, target_name=metric).figure
        figure.savefig(path, bbox_inches="tight")
        pyplot.close(figure)
    return path
