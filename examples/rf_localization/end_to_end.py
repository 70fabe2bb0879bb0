"""From nothing to a served model: `make example-rf`.

    python -m holdfast_examples.rf_localization.end_to_end

simulates scenes, trains two candidates (a network that finds coordinates by itself, and one that corrects a
least-squares solution), takes the better run, exports it to ONNX, registers it, has the gates examine it, promotes it
to Production, and lets a fresh process locate transmitters with it. `--tiny` does all of that in a minute, for CI.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.cli.output import Output, get_output
from holdfast.core.policy import PromotionPolicy, parse_policy
from holdfast.core.uris import mask_uri
from holdfast.errors import HoldfastError, RegistryError
from holdfast.project import open_project
from holdfast.registry import ModelRegistry
from holdfast.settings import Settings, load_settings
from holdfast.tracking import MLflowTracker
from holdfast.training.config import load_training_config
from holdfast.training.extras import need

from .dataset import Arrays
from .evaluate import MODEL, Evaluation, Predict, evaluate, load_checkpoint, predict_all, show
from .local_frame import haversine_km
from .serve import NAME, predictor

EXPERIMENT = "rf-localization"
_TAG = "rf.example"


@dataclass(frozen=True)
class Plan:
    """How much is simulated and learnt, and what is asked of the result.

    Attributes:
        scenes: For training, validation and test together.
        candidates: By the run's name, the options of the model and of the training.
        of_best_trivial: The most that the model's median error may be, as a share of the better centroid's.
        coverage: Between which shares that of the 68 % region must lie.
        unseen: How many new scenes the fresh process locates.
        repeats: How often the exported model is timed at each batch size.
    """

    scenes: int
    candidates: dict[str, dict[str, Any]]
    of_best_trivial: float
    coverage: tuple[float, float]
    unseen: int
    repeats: int


_ALONE = {"solver": False, "learning_rate": 2e-3, "weight_decay": 0.05}
_SOLVING = {"solver": True}
FULL = Plan(
    scenes=6000,
    candidates={"network alone": {**_ALONE, "epochs": 24}, "network and solver": {**_SOLVING, "epochs": 10}},
    of_best_trivial=0.5,
    coverage=(0.63, 0.73),
    unseen=300,
    repeats=20,
)
# Of 45 test scenes the share that a 68 % region holds is uncertain by 14 points, and so is what it was fitted on.
TINY = Plan(
    scenes=300,
    candidates={"network and solver": {**_SOLVING, "epochs": 2, "log_every_n_steps": 1}},
    of_best_trivial=1.0,
    coverage=(0.4, 0.95),
    unseen=25,
    repeats=3,
)


@dataclass
class Story:
    """What has happened so far.

    Attributes:
        out: Where it is told.
        plan: What is done.
        settings: Whose project.
        name: The registered model.
        folder: Of checkpoints, pictures and exports.
        told: What `--json` prints.
    """

    out: Output
    plan: Plan
    settings: Settings
    name: str
    folder: Path
    told: dict[str, Any] = field(default_factory=dict)

    def took(self, what: str, began_s: float) -> None:
        """Note how long a part took."""
        self.told.setdefault("took_s", {})[what] = round(time.monotonic() - began_s, 1)


@dataclass(frozen=True)
class Candidate:
    """A trained run."""

    name: str
    checkpoint: Path
    found: Evaluation


def main(arguments: Sequence[str] | None = None) -> int:
    """Tell the whole story; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m holdfast_examples.rf_localization.end_to_end")
    parser.add_argument("--tiny", action="store_true", help="a minute instead of some, for CI; the model is poor")
    parser.add_argument("--name", help=f"the registered model [{NAME}; with --tiny {NAME}-tiny]")
    parser.add_argument("--output-dir", type=Path, default=Path("outputs"), help="where checkpoints go [outputs]")
    parser.add_argument("--data-dir", help="where simulated scenes are kept [.cache/rf_localization]")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    options = parser.parse_args(arguments)
    out = get_output(options.json)
    try:
        need(("torch", "lightning", "transformers"), "this example", "lightning")
        need(("onnx", "onnxruntime", "onnxscript"), "this example", "onnx")
        name = options.name or (f"{NAME}-tiny" if options.tiny else NAME)
        story = Story(out, TINY if options.tiny else FULL, _settings(), name, options.output_dir)
        tell(story, options.data_dir)
    except HoldfastError as error:
        out.error(error.message, error.hint)
        return error.exit_code
    if options.json:
        out.data(story.told)
    return 0


def _settings() -> Settings:
    settings = load_settings()
    is_named = settings.origin_of("experiment_name").kind != "default"
    return settings if is_named else load_settings(experiment_name=EXPERIMENT)


def tell(story: Story, data_dir: str | None) -> None:
    """Do everything.

    Raises:
        HoldfastError: A part failed; what was done before stays.
    """
    from .train import TrainingOptions, make_data, spare_a_core

    spare_a_core()
    began_s = time.monotonic()
    tracker = MLflowTracker(settings=story.settings)
    training = load_training_config(None, {"scenes": story.plan.scenes, "data_dir": data_dir}, TrainingOptions)
    test = make_data(None, training).splits()["test"]
    story.took("simulation", began_s)
    story.out.line(f"{story.plan.scenes:,} scenes simulated, {len(test.positions):,} of them for the test alone")
    label = uuid.uuid4().hex
    candidates = dict(_train(story, tracker, data_dir, name, label, test) for name in story.plan.candidates)
    tracker.flush()
    best = tracker.get_best_run("best/val/loss", "min", filter_string=f"tags.`{_TAG}` = '{label}'")
    if best is None:
        raise RegistryError("No run has a validation loss.", "see the runs: holdfast runs list")
    winner = candidates[best["run_id"]]
    story.told["best"] = {"run_id": best["run_id"], "name": winner.name, "val_loss": best["metric_value"]}
    story.out.line(f"The best run by validation loss: {winner.name}, {best['metric_value']:.3f}")
    version = _export(story, tracker, best["run_id"], winner, test)
    _promote(story, version)
    _serve(story, tracker, best["run_id"])
    story.took("everything", began_s)
    _sum_up(story, candidates, winner)


# -- learning ---------------------------------------------------------------------------


def _train(
    story: Story, tracker: MLflowTracker, data_dir: str | None, name: str, label: str, test: Arrays
) -> tuple[str, Candidate]:
    """Train one candidate and measure it on the test scenes, in one run."""
    from holdfast.training.pipeline import TrainingPipeline

    from .maps import save_pictures
    from .train import ModelOptions, TrainingOptions, make_data, make_model

    began_s = time.monotonic()
    given = story.plan.candidates[name]
    model = ModelOptions.model_validate({"solver": given["solver"]})
    rest = {key: value for key, value in given.items() if key != "solver"}
    options = {"scenes": story.plan.scenes, "data_dir": data_dir, **rest}
    training = load_training_config(None, options, TrainingOptions)
    with tracker.run(name, {_TAG: label}) as run_id:
        pipeline = TrainingPipeline(tracker, model, training, story.folder)
        result = pipeline.train(make_model, make_data(model, training))
        if result.best_checkpoint is None:
            raise RegistryError(f"The run {name} kept no checkpoint.", "train for more epochs")
        found = evaluate(load_checkpoint(result.best_checkpoint), test)
        tracker.log_metrics(found.metrics())
        with tempfile.TemporaryDirectory(prefix="holdfast-rf-") as scratch:
            save_pictures(found, Path(scratch))
            tracker.log_artifacts_dir(scratch, "pictures")
    story.took(name, began_s)
    median = float(np.median(found.errors_km[MODEL]))
    story.out.line(f"{name}: {result.epochs} epochs, median error {median:.2f} km on the test scenes")
    return run_id, Candidate(name, result.best_checkpoint, found)


# -- export and registry -----------------------------------------------------------------


def _export(story: Story, tracker: MLflowTracker, run_id: str, winner: Candidate, test: Arrays) -> int:
    """Export the best checkpoint, compare it with PyTorch on the test scenes, and register it; return the version."""
    import torch

    from holdfast.training.export import ParityRule, export_onnx, publish

    from .lightning_module import LocalizationModule

    began_s = time.monotonic()
    module = LocalizationModule.load_from_checkpoint(winner.checkpoint, map_location="cpu", weights_only=True).eval()
    sample = {"mel_spectrogram": test.images[:8].astype(np.float32), "measurements": np.array(test.measurements[:8])}
    with tempfile.TemporaryDirectory(prefix="holdfast-rf-") as scratch:
        made = export_onnx(
            module,
            {name: torch.from_numpy(values) for name, values in sample.items()},
            checks=ParityRule(repeats=story.plan.repeats),
            into=Path(scratch),
        )
        apart_km = apart(predictor(made.path), winner.found, test)
        with tracker.run(run_id=run_id):
            tracker.log_metrics({"onnx/position_difference_km": apart_km})
        tracker.flush()
        published = publish(
            tracker,
            made,
            run_id,
            model_name=story.name,
            stage="Staging",
            description=f"{winner.name}, trained on {story.plan.scenes:,} simulated scenes",
        )
    story.took("export", began_s)
    if published.version is None:
        raise RegistryError(f"{story.name} was not registered.", "see the log")
    version = published.version.version
    story.told["export"] = {"version": version, "position_difference_km": apart_km}
    story.out.line(f"Exported; on the test scenes its positions are at most {1e3 * apart_km:.1f} m from PyTorch's")
    return version


def apart(predict: Predict, found: Evaluation, test: Arrays) -> float:
    """Return by how many km the positions of an exported model differ at most from those of an evaluation."""
    positions, _ = predict_all(predict, test)
    return float(haversine_km(positions, found.positions).max())


def gates(plan: Plan) -> PromotionPolicy:
    """Return what a version must show before it is Production: it agrees, is good enough, honest, whole, and loads."""
    low, high = plan.coverage
    return parse_policy(
        {
            "transitions": "step-by-step",
            "max": {
                "compare/of_best_trivial": plan.of_best_trivial,
                "compare/coverage_68": high,
                "onnx/position_difference_km": 0.05,
            },
            "min": {"compare/coverage_68": low},
            "description": True,
            "signature": True,
            "artifacts": True,
            "loads": {"timeout-s": 180},
            "staging": {"description": True, "signature": True},
        }
    )


def _promote(story: Story, version: int) -> None:
    """Have the gates examine a version, and promote it.

    Raises:
        PromotionRefusedError: A gate says no; names each that does. Production is as it was before.
    """
    began_s = time.monotonic()
    registry = ModelRegistry(open_project(story.settings), gates(story.plan))
    done = registry.promote(story.name, version, "Production", reason="the gates of the example")
    story.told["gates"] = [{"check": one.check, "passed": one.passed, "reason": one.reason} for one in done.answers]
    rows = [[one.check, one.reason] for one in done.answers]
    story.out.table(f"Gates passed before Production, {story.name} version {version}", ["gate", "why"], rows)
    story.told["production"] = {"name": story.name, "version": version, "archived": list(done.archived)}
    story.took("gates", began_s)


# -- serving -----------------------------------------------------------------------------


def _serve(story: Story, tracker: MLflowTracker, run_id: str) -> None:
    """Let a fresh process load what is in Production, and log the map that it draws to the run.

    Raises:
        RegistryError: It could not.
    """
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="holdfast-rf-") as scratch:
        picture = Path(scratch) / "served_map.png"
        command = [sys.executable, "-m", f"{__package__}.serve", "--name", story.name, "--json"]
        command += ["--scenes", str(story.plan.unseen), "--map", str(picture)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RegistryError(f"A fresh process cannot serve {story.name}: {done.stderr.strip()[-600:]}")
        story.told["served"] = {key: value for key, value in json.loads(done.stdout).items() if key != "map"}
        with tracker.run(run_id=run_id):
            tracker.log_artifact(picture, "pictures")
        tracker.flush()
    story.took("serving", began_s)


def _sum_up(story: Story, candidates: dict[str, Candidate], winner: Candidate) -> None:
    show(story.out, winner.found)
    story.told["figures"] = winner.found.metrics()
    story.told["candidates"] = {
        one.name: {
            "run_id": run_id,
            "median_km": float(np.median(one.found.errors_km[MODEL])),
            "coverage_68": one.found.coverage(0.68),
        }
        for run_id, one in candidates.items()
    }
    served, production = story.told["served"], story.told["production"]
    story.told["tracking_uri"] = mask_uri(story.settings.tracking_uri)
    rows = [
        *([f"{name}: median error", f"{one['median_km']:.2f} km"] for name, one in story.told["candidates"].items()),
        ["in Production", f"{production['name']} version {production['version']}"],
        [f"a fresh process, {served['scenes']} new scenes", f"median error {served['median_km']:.2f} km"],
        ["of them in the 68 % region", f"{served['coverage_68']:.1%}"],
        *([f"{what} took", f"{took} s"] for what, took in story.told["took_s"].items()),
    ]
    story.out.table("All of it", ["", ""], rows)
    story.out.line(f"The runs, with pictures, are in {story.told['tracking_uri']}")


if __name__ == "__main__":
    sys.exit(main())
