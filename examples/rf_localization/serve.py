"""Locate transmitters with the model in Production, by onnxruntime alone: PyTorch is never loaded.

    python -m holdfast_examples.rf_localization.serve --name rf-localization-onnx --map map.png

fetches the files of `models:/NAME/Production`, simulates scenes that no model has seen, and locates them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from holdfast.cli.output import get_output
from holdfast.core.stages import Stage
from holdfast.errors import HoldfastError, NotFoundError, RegistryError
from holdfast.project import Project, open_project
from holdfast.registry import ModelRegistry
from holdfast.registry.serving.loading import cache_for, lease_version
from holdfast.settings import load_settings

from .evaluate import LEVELS, Predict, quantiles
from .features import extract
from .local_frame import FRAME, haversine_km
from .scene import SimulatorConfig
from .simulate import simulate

NAME = "rf-localization-onnx"
UNSEEN_SEED = 90_210
"""Of scenes that nothing was trained or chosen by."""
_CHUNK = 25
_Floats = npt.NDArray[np.float64]


def predictor(path: Path) -> Predict:
    """Return what an exported model predicts.

    Args:
        path: The ONNX file.

    Raises:
        RegistryError: onnxruntime cannot load it.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class of their own
        raise RegistryError(f"onnxruntime cannot load {path.name}: {str(error).splitlines()[0]}") from None
    names = [one.name for one in session.get_inputs()]

    def predict(images: npt.NDArray[np.float32], measurements: npt.NDArray[np.float32]) -> tuple[_Floats, _Floats]:
        positions, sigmas = session.run(None, dict(zip(names, (images, measurements), strict=True)))
        return positions.astype(np.float64), sigmas.astype(np.float64)

    return predict


def load_production(project: Project, name: str) -> tuple[Predict, int]:
    """Return what the Production version of a model predicts, and its number.

    Raises:
        NotFoundError: There is no such model, or none in Production.
        RegistryError: Its files are not what was registered, or hold no ONNX model.
    """
    version = ModelRegistry(project).find(name, Stage.PRODUCTION)
    if version is None:
        raise NotFoundError(f"No version of {name!r} is in Production.", "run make example-rf, or promote one")
    with lease_version(project, version, cache=cache_for(project, True)) as lease:
        files = sorted(lease.folder.rglob("model.onnx"))
        if not files:
            raise RegistryError(f"{name} version {version.version} holds no model.onnx.", "register an ONNX model")
        return predictor(files[0]), version.version


def locate_unseen(predict: Predict, count: int, seed: int = UNSEEN_SEED) -> tuple[_Floats, _Floats, _Floats]:
    """Simulate scenes and locate them: (N, 2) degrees, (N, 2) km, and the truth, (N, 2) degrees."""
    config = SimulatorConfig()
    found: list[tuple[_Floats, _Floats, _Floats]] = []
    for start in range(0, count, _CHUNK):
        scenes = simulate(config, seed, min(_CHUNK, count - start), start)
        features = extract(scenes.iq, scenes.detected, config)
        found.append((*predict(features.images, features.measurements), scenes.positions))
    positions, sigmas, truth = (np.concatenate(part) for part in zip(*found, strict=True))
    return positions, sigmas, truth


def describe(positions: _Floats, sigmas: _Floats, truth: _Floats) -> dict[str, Any]:
    """Return how far off it was, and how many of the true positions lie in the regions."""
    error = haversine_km(positions, truth)
    squared = (((FRAME.to_km(truth) - FRAME.to_km(positions)) / sigmas) ** 2).sum(-1)
    covered = {f"coverage_{round(100 * level)}": float((squared <= -2 * np.log1p(-level)).mean()) for level in LEVELS}
    return {"scenes": len(error), **{f"{name}_km": value for name, value in quantiles(error).items()}, **covered}


def main(arguments: Sequence[str] | None = None) -> int:
    """Locate; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m holdfast_examples.rf_localization.serve")
    parser.add_argument("--name", default=NAME, help=f"the registered model [{NAME}]")
    parser.add_argument("--scenes", type=int, default=100, help="how many are simulated and located [100]")
    parser.add_argument("--map", type=Path, help="write a picture of where they are")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    options = parser.parse_args(arguments)
    out = get_output(options.json)
    try:
        began_s = time.monotonic()
        predict, version = load_production(open_project(load_settings()), options.name)
        loaded_s = time.monotonic() - began_s
    except HoldfastError as error:
        out.error(error.message, error.hint)
        return error.exit_code
    located = locate_unseen(predict, options.scenes)
    told = {
        "name": options.name,
        "version": version,
        "loaded_s": round(loaded_s, 3),
        "with_torch": "torch" in sys.modules,
    }
    told |= describe(*located)
    if options.map is not None:
        from .maps import draw_positions

        draw_positions(*located).savefig(options.map, bbox_inches="tight")
        told["map"] = str(options.map)
    if options.json:
        out.data(told)
    out.table(f"{options.name} version {version}", ["", ""], [[key, str(value)] for key, value in told.items()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
