"""Whether a fresh process can load a version's model and predict with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from holdfast.backend.trials import Trial, try_model
from holdfast.core.gate_rule import DEFAULT_TIMEOUT_S
from holdfast.core.manifest import Manifest
from holdfast.core.promotion import CheckAnswer
from holdfast.registry.checksums import measure_folder
from holdfast.registry.gates.answering import NotPassedError, answered, in_short
from holdfast.registry.gates.case import Case
from holdfast.registry.gates.mlmodel import read_mlmodel
from holdfast.registry.hiding import hide


@dataclass(frozen=True)
class Loads:
    """Does a fresh process load the model, and predict its input example as the signature says?

    Attributes:
        timeout_s: How long it may take, in seconds.
        needs_example: Whether a model without an input example is refused; else loading it is enough.
    """

    timeout_s: float = DEFAULT_TIMEOUT_S
    needs_example: bool = True
    name: str = "loads"

    def answer(self, case: Case) -> CheckAnswer:
        """Answer for a version; see `Gate`."""
        return answered(self.name, case, lambda: self._look(case))

    def _look(self, case: Case) -> str:
        has_example = isinstance(read_mlmodel(case).get("saved_input_example_info"), Mapping)
        if self.needs_example and not has_example:
            raise NotPassedError("there is no input example to predict; log the model with input_example=…")
        before = case.manifest
        trial = try_model(case.folder, self.timeout_s)
        changed = _changes(before, case.folder)
        if changed:
            case.forget_folder()
            raise NotPassedError(f"loading it changes its files: {changed}")
        if trial.seconds is None:
            raise NotPassedError(_why_not(trial, case))
        done = (
            "loaded and predicted its input example" if has_example else "loaded; there is no input example to predict"
        )
        return f"{done}, in {trial.seconds:.1f} s"


def _changes(before: Manifest, folder: Path) -> str:
    try:
        return "; ".join(before.differences(measure_folder(folder)))
    except OSError as error:
        return f"they cannot be read any more ({error.strerror})"


_STEPS = {
    "start": "MLflow cannot be imported: {}",
    "load": "it cannot be loaded: {}",
    "read": "its input example cannot be read: {}",
    "predict": "it cannot predict its input example: {}",
    "compare": "what it predicts is not what its signature says: {}",
    "time": "{}, and was ended; give it longer with loads = {{ timeout-s = … }}",
    "end": "the process ended without an answer ({})",
}


def _why_not(trial: Trial, case: Case) -> str:
    reason = _STEPS.get(trial.step, "it cannot be tried: {}").format(trial.error)
    # After an exception, what was printed last is that exception again.
    said = in_short(hide(case.project, trial.printed), 300) if trial.step in ("end", "time") else ""
    return f"{reason}; it said: {said}" if said else reason
