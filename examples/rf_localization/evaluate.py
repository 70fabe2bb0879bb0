"""How far off everybody is on the same noisy measurements: the model, the classical methods, and the bound.

    python -m holdfast_examples.rf_localization.evaluate outputs/RUN_ID/epoch-….ckpt

shows it for a checkpoint of `train`, on the test scenes that it was not trained on: it knows itself which these are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from holdfast.cli.output import Output, get_output
from holdfast.errors import HoldfastError, InvalidInputError
from holdfast.training.export.failure import in_short

from .baselines import centroid, power_weighted_centroid
from .dataset import Arrays
from .features import measured_of
from .local_frame import FRAME, haversine_km
from .multilateration import multilaterate
from .scene import SimulatorConfig

if TYPE_CHECKING:
    from .data_module import ScenesDataModule

_Floats = npt.NDArray[np.float64]
Predict = Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], tuple[_Floats, _Floats]]
"""From (B, C, 128, 32) images and (B, M) measurements to (B, 2) degrees and (B, 2) km."""

MODEL, BOUND = "model", "Cramér–Rao bound"
TRIVIAL = ("centroid", "power-weighted centroid")
LEVELS = (0.5, 0.68, 0.95)
_AT_ONCE = 256


@dataclass(frozen=True)
class Evaluation:
    """What everybody makes of a split.

    Attributes:
        truth: (N, 2) degrees.
        positions: (N, 2) degrees: the model's.
        sigmas: (N, 2) km: the model's standard deviations, east and north.
        errors_km: By method, (N,) km: of the model, of the centroids, of multilateration.
        bound_km: (N,) km: the bound on each scene's root mean square error.
    """

    truth: _Floats
    positions: _Floats
    sigmas: _Floats
    errors_km: Mapping[str, _Floats]
    bound_km: _Floats

    @property
    def distance2(self) -> _Floats:
        """(N,): squared errors of the model, in units of what it said of them."""
        error = FRAME.to_km(self.truth) - FRAME.to_km(self.positions)
        return np.asarray(((error / self.sigmas) ** 2).sum(-1))

    def coverage(self, level: float) -> float:
        """Return the share of true positions in the region that the model draws for this level."""
        return float((self.distance2 <= -2 * np.log1p(-level)).mean())

    def best_trivial_km(self) -> float:
        """Return the smaller of the centroids' median errors."""
        return min(float(np.median(self.errors_km[name])) for name in TRIVIAL)

    def metrics(self) -> dict[str, float]:
        """Return all figures by name, as they are logged: `compare/model/median_km`, `compare/coverage_68` …"""
        found: dict[str, float] = {}
        for name, errors in {**self.errors_km, BOUND: self.bound_km}.items():
            key = _KEYS[name]
            found |= {f"compare/{key}/{label}_km": value for label, value in quantiles(errors).items()}
        found |= {f"compare/coverage_{round(100 * level)}": self.coverage(level) for level in LEVELS}
        share = found[f"compare/{_KEYS[MODEL]}/median_km"] / self.best_trivial_km()
        return found | {"compare/of_best_trivial": share}


_KEYS = {
    MODEL: "model",
    "centroid": "centroid",
    "power-weighted centroid": "power_weighted_centroid",
    "multilateration": "multilateration",
    BOUND: "bound",
}


def quantiles(errors_km: _Floats) -> dict[str, float]:
    """Return the median, the 68th and the 95th percentile."""
    named = zip(("median", "p68", "p95"), np.quantile(errors_km, [0.5, 0.68, 0.95]), strict=True)
    return {name: float(value) for name, value in named}


def evaluate(predict: Predict, arrays: Arrays, config: SimulatorConfig | None = None) -> Evaluation:
    """Have everybody locate the transmitters of a split, by the same measurements.

    Args:
        predict: The model.
        arrays: The split.
        config: What it was simulated with; multilateration knows its mean losses and echoes.
    """
    measured = measured_of(arrays.measurements)
    positions, sigmas = predict_all(predict, arrays)
    guesses = {
        MODEL: positions,
        "multilateration": multilaterate(measured, config or SimulatorConfig()),
        "power-weighted centroid": power_weighted_centroid(measured),
        "centroid": centroid(measured),
    }
    truth = np.asarray(arrays.positions, dtype=np.float64)
    errors = {name: haversine_km(guess, truth) for name, guess in guesses.items()}
    return Evaluation(truth, positions, sigmas, errors, np.asarray(arrays.bound_km))


def predict_all(predict: Predict, arrays: Arrays) -> tuple[_Floats, _Floats]:
    """Return the model's (N, 2) degrees and (N, 2) km for a whole split, batch by batch."""
    parts = []
    for first in range(0, len(arrays.positions), _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        parts.append(predict(arrays.images[rows].astype(np.float32), np.array(arrays.measurements[rows])))
    positions, sigmas = (np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True))
    return positions, sigmas


def load_checkpoint(path: Path) -> Predict:
    """Return what a checkpoint of `train` predicts.

    Raises:
        InvalidInputError: It is no checkpoint of `LocalizationModule`.
    """
    import torch

    from .lightning_module import LocalizationModule

    try:
        module = LocalizationModule.load_from_checkpoint(path, map_location="cpu", weights_only=True).eval()
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, UnpicklingError) as error:
        raise InvalidInputError(
            f"{path} is no checkpoint of this example: {in_short(error, 160)}.", "give one that train.py wrote"
        ) from None

    def predict(images: npt.NDArray[np.float32], measurements: npt.NDArray[np.float32]) -> tuple[_Floats, _Floats]:
        with torch.no_grad():
            positions, sigmas = module(torch.from_numpy(images), torch.from_numpy(measurements))
        return positions.double().numpy(), sigmas.double().numpy()

    return predict


def scenes_of(path: Path, scenes: int | None, seed: int | None, folder: Path | None) -> ScenesDataModule:
    """Return the scenes that a checkpoint was trained on.

    Args:
        path: The checkpoint.
        scenes: How many they are, where it does not say so itself.
        seed: Of the simulator, likewise.
        folder: Where data sets are kept.

    Raises:
        InvalidInputError: It says that they were others; or says nothing, and they are not given.
    """
    import torch

    from .data_module import ScenesDataModule

    said = torch.load(path, map_location="cpu", weights_only=True, mmap=True).get(ScenesDataModule.__qualname__)
    known: Mapping[str, Any] = said or {"scenes": scenes, "seed": seed}
    if None in (known["scenes"], known["seed"]):
        raise InvalidInputError(f"{path} does not say on which scenes it was trained.", "give --scenes and --data-seed")
    try:
        config = SimulatorConfig(**known.get("config", {}))
    except TypeError as error:
        raise InvalidInputError(f"{path} was trained with another simulator: {error}.", "train anew") from None
    count = known["scenes"] if scenes is None else scenes
    data = ScenesDataModule(count, known["seed"] if seed is None else seed, folder=folder, config=config)
    if said is not None:
        data.load_state_dict(said)
    return data


def show(out: Output, found: Evaluation) -> None:
    """Show the errors as a table, and how honest the model's uncertainty is."""
    rows = [
        [name, *(f"{value:.2f}" for value in quantiles(errors).values())]
        for name, errors in {**found.errors_km, BOUND: found.bound_km}.items()
    ]
    out.table(f"Errors of {len(found.truth):,} scenes, in km", ["", "median", "68 %", "95 %"], rows)
    covered = ", ".join(f"{found.coverage(level):.1%} in the {level:.0%} region" for level in LEVELS)
    out.line(f"True positions in the regions that the model draws: {covered}.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate a checkpoint; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m holdfast_examples.rf_localization.evaluate")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--scenes", type=int, help="how many were simulated for it [the checkpoint says it]")
    parser.add_argument("--data-seed", type=int, help="the simulator's seed [the checkpoint says it]")
    parser.add_argument("--data-dir", type=Path, help="where simulated scenes are kept [.cache/rf_localization]")
    parser.add_argument("--split", choices=["val", "test"], default="test")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    options = parser.parse_args(arguments)
    out = get_output(options.json)
    try:
        predict = load_checkpoint(options.checkpoint)
        data = scenes_of(options.checkpoint, options.scenes, options.data_seed, options.data_dir)
        found = evaluate(predict, data.splits()[options.split], data.config)
    except HoldfastError as error:
        out.error(error.message, error.hint)
        return error.exit_code
    show(out, found)
    if options.json:
        out.data(found.metrics())
    return 0


if __name__ == "__main__":
    sys.exit(main())
