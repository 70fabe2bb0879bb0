"""From `best:val/loss` to a module with its best weights, and inputs for it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule

from holdfast.backend.entities import Run
from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.project import Project
from holdfast.tracking.best import BestRun, check_mode, find_best
from holdfast.training.export.checkpoint import load_checkpoint
from holdfast.training.export.failure import ExportError, in_short
from holdfast.training.lightning.checkpoint_file import NAME, contents
from holdfast.training.lightning.mirror import safe_name
from holdfast.training.resume import FOLDER, MODULE_TAG, stored

_DTYPES = {
    name: getattr(torch, name) for name in ("float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool")
}
_HOW = "say best:val/loss, best:val/acc:max, a run's id, or the path of a checkpoint"
_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Chosen:
    """What is to be exported.

    Attributes:
        module: With the weights of the checkpoint.
        sample_inputs: One batch, as `export_onnx` takes it.
        input_names: Names for them: those given, or the parameters of `forward`.
        checkpoint: The file it came from, on this machine.
        run_id: The run that saved it; None where the checkpoint does not say.
        value: What the run's metric was, where it was chosen by one.
    """

    module: LightningModule
    sample_inputs: Any
    input_names: tuple[str, ...]
    checkpoint: Path
    run_id: str | None
    value: float | None = None


def find_module(
    project: Project,
    source: str,
    scratch: Path,
    *,
    module: str | None = None,
    inputs: Sequence[str] = (),
    trust_checkpoint: bool = False,
) -> Chosen:
    """Find a run's best checkpoint, and rebuild the module from it.

    Args:
        project: Where runs are; the experiment is the configured one.
        source: `best:METRIC` or `best:METRIC:max` for the experiment's best run by its best value, `run:ID` or the id
            alone, or the path of a checkpoint. Of a run it is the best checkpoint by the metric that its training
            watched.
        scratch: A folder for what comes from the artifact store.
        module: The class, as `package.module:Class`; that of the run's tag `holdfast.training.module` if not given. It
            is imported, and built with the hyper-parameters that the checkpoint holds.
        inputs: Sample inputs as `NAME:DTYPE:DIMS` (`x:float32:1x3x128x32`), drawn normally with a fixed seed (integers:
            0 and 1); the module's `example_input_array` if not given.
        trust_checkpoint: Whether a checkpoint may hold Python objects, which can run code when it is loaded.

    Raises:
        InvalidInputError: `source`, `module` or `inputs` have another form, or there are no sample inputs.
        NotFoundError: There is no such run, no run with that metric, or no such checkpoint.
        ExportError: The checkpoint is damaged, holds Python objects, or does not fit the class.
    """
    run, path, value = _find_checkpoint(project, source, scratch, trust_checkpoint)
    content = load_checkpoint(path, trust_checkpoint)
    said = content.get("holdfast")
    run_id = run.run_id if run else said.get("run_id") if isinstance(said, Mapping) else None
    if run is None and run_id is not None and module is None:
        run = project.runs.get_run(run_id)
    kind = _import(module or (run.tags.get(MODULE_TAG) if run else None))
    made = _build(kind, path, trust_checkpoint)
    sample, names = _parse_inputs(inputs) if inputs else _own_inputs(made)
    return Chosen(made, sample, names, path, run_id, value)


# -- which checkpoint -----------------------------------------------------------------


def _find_checkpoint(
    project: Project, source: str, scratch: Path, trust: bool
) -> tuple[Run | None, Path, float | None]:
    kind, _, rest = source.partition(":")
    if kind == "best" and rest:
        run, value = _best_run(project, rest)
        return run, _checkpoint_of(project, run, scratch, trust), value
    path = Path(source)
    run_id = rest if kind == "run" else source if _RUN_ID.fullmatch(source) and not path.exists() else ""
    if run_id:
        run = project.runs.get_run(run_id)
        return run, _checkpoint_of(project, run, scratch, trust), None
    if not source or not path.is_file():
        raise NotFoundError(f"There is no checkpoint {source!r}.", _HOW)
    return None, path, None


def _best_run(project: Project, wanted: str) -> tuple[Run, float]:
    name, colon, word = wanted.rpartition(":")
    metric, mode = (name, check_mode(word)) if colon and word in ("min", "max") else (wanted, check_mode("min"))
    experiment = project.runs.find_experiment(project.settings.experiment_name)
    ids = [experiment.experiment_id] if experiment and not experiment.deleted else []
    # A pipeline logs the value of the best checkpoint; the last one of the metric is that of the last epoch.
    found = [find_best(project, ids, one, mode) for one in (f"best/{metric}", metric)]
    pairs = [(item.run, item.value) for item in found if item.run is not None and item.value is not None]
    if not pairs and metric == wanted and colon and word:
        # Names of metrics may hold colons: only where no run has one of that name is it a mode.
        raise InvalidInputError(
            f"{word!r} is neither min nor max, and no run of experiment {project.settings.experiment_name!r} has a "
            f"number for {wanted!r}.",
            f"say --from best:{name}:min or --from best:{name}:max",
        )
    if not pairs:
        raise _no_run(project, metric, found[1])
    return (min if mode == "min" else max)(pairs, key=lambda pair: pair[1])


def _no_run(project: Project, metric: str, found: BestRun) -> NotFoundError:
    return NotFoundError(
        f"No run of experiment {project.settings.experiment_name!r} has a number for {metric!r} "
        f"({len(found.lacking)} without one).",
        "see `holdfast runs list`, or name a run: --from RUN_ID",
    )


def _checkpoint_of(project: Project, run: Run, scratch: Path, trust: bool) -> Path:
    """Bring a run's best checkpoint here; the file that was written on this machine is used where it is still there."""
    project.settle_files(run.run_id)
    names = sorted(name for file in stored(project, run) if (name := Path(file.path).name).endswith(".ckpt"))
    if NAME in names:
        best = _noted_best(_fetch(project, run, NAME, scratch), trust)
        if best is not None and _is_of(best[0], run.run_id, trust):
            return best[0]
        if best is not None and best[1] in names:
            return _fetch(project, run, best[1], scratch)
    others = [name for name in names if name != NAME]
    if len(others) != 1:
        raise NotFoundError(
            f"Run {run.run_id} has {len(others)} checkpoints besides {NAME} ({', '.join(others) or 'none'}), and "
            "nothing says which is the best.",
            f"fetch one (holdfast files get {run.run_id} {FOLDER}/NAME) and give its path",
        )
    return _fetch(project, run, others[0], scratch)


def _fetch(project: Project, run: Run, name: str, scratch: Path) -> Path:
    return project.artifacts.download(run.artifact_uri, f"{FOLDER}/{name}", scratch)


def _noted_best(path: Path, trust: bool) -> tuple[Path, str] | None:
    """Return what the latest checkpoint knows as the best one: its path when it was written, and its name in the store.

    The callbacks' state is plain whatever else the checkpoint holds, but it cannot be read apart from that.
    """
    states = contents(path, trust).get("callbacks", {})
    found = [state for key, state in states.items() if str(key).startswith("ModelCheckpoint")]
    best = next((state for state in found if state.get("best_model_path")), None)
    if best is None:
        return None
    path = Path(best["best_model_path"])
    return path, safe_name(path, best.get("dirpath") or path.parent)


def _is_of(path: Path, run_id: str, trust: bool) -> bool:
    """Whether a file of this machine is a checkpoint of a run; it says itself which."""
    said = contents(path, trust).get("holdfast") if path.is_file() else None
    return isinstance(said, Mapping) and said.get("run_id") == run_id


# -- the module -----------------------------------------------------------------------


def _import(name: str | None) -> type[LightningModule]:
    home, _, qualname = (name or "").partition(":")
    if not home or not qualname:
        raise InvalidInputError(
            f"It is not known of which class the module is: {name!r}.", "give --module package.module:Class"
        )
    try:
        found: Any = import_module(home)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise InvalidInputError(
            f"The module's class {name} cannot be imported: {in_short(error, 200)}.",
            "run this where it can be imported, or give --module package.module:Class",
        ) from None
    if not isinstance(found, type) or not issubclass(found, LightningModule):
        raise InvalidInputError(f"{name} is no LightningModule.", "give --module package.module:Class")
    return found


def _build(kind: type[LightningModule], path: Path, trust: bool) -> LightningModule:
    try:
        return kind.load_from_checkpoint(path, map_location="cpu", weights_only=not trust)
    except Exception as error:
        raise ExportError(
            f"{kind.__qualname__} cannot be built from {path.name}: {in_short(error)}.",
            "call save_hyperparameters() in its constructor, so that the checkpoint holds the arguments",
            step="checkpoint",
        ) from error


# -- its inputs -----------------------------------------------------------------------


def _own_inputs(module: LightningModule) -> tuple[Any, tuple[str, ...]]:
    sample = module.example_input_array
    if sample is None:
        raise InvalidInputError(
            f"{type(module).__qualname__} has no example_input_array.",
            "give --input NAME:DTYPE:DIMS for each input (x:float32:1x3x128x32)",
        )
    if isinstance(sample, Mapping):
        return sample, tuple(sample)
    count = len(sample) if isinstance(sample, list | tuple) else 1
    return sample, tuple(inspect.signature(module.forward).parameters)[:count]


def _parse_inputs(inputs: Sequence[str]) -> tuple[Any, tuple[str, ...]]:
    generator = torch.Generator().manual_seed(0)
    pairs = [_parse_input(text, generator) for text in inputs]
    return tuple(tensor for _, tensor in pairs), tuple(name for name, _ in pairs)


def _parse_input(text: str, generator: torch.Generator) -> tuple[str, torch.Tensor]:
    name, _, rest = text.partition(":")
    word, _, dims = rest.partition(":")
    sizes = dims.replace(",", "x").split("x")
    if not name or word not in _DTYPES or not all(size.isdigit() and int(size) > 0 for size in sizes):
        raise InvalidInputError(
            f"{text!r} is no input.", f"write NAME:DTYPE:DIMS, as x:float32:1x3x128x32; types: {', '.join(_DTYPES)}"
        )
    shape = [int(size) for size in sizes]
    if _DTYPES[word].is_floating_point:
        return name, torch.randn(shape, generator=generator).to(_DTYPES[word])
    # Both values are there, so that random batches are drawn from the two.
    values = torch.arange(int(torch.tensor(shape).prod())) % 2
    return name, values.reshape(shape).to(_DTYPES[word])
