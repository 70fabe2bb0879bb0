"""An exported model on its way: to its run, to the registry, to a stage."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.backend.entities import MetricPoint, ModelVersion, Run
from holdfast.backend.onnx_model import save_onnx_model
from holdfast.backend.tracking import now_ms
from holdfast.core.names import check_model_name
from holdfast.core.stages import Stage, parse_stage
from holdfast.errors import BackendError
from holdfast.project import Project
from holdfast.registry import ModelRegistry
from holdfast.tracking import MLflowTracker
from holdfast.training.export.exporting import OnnxExport
from holdfast.training.export.facts import sha256_of
from holdfast.training.export.failure import ExportError

_EXAMPLE_ROWS = 2


@dataclass(frozen=True)
class Publication:
    """Where an exported model is now.

    Attributes:
        run_id: The run it was logged to.
        artifact_path: Its folder among the run's artifacts.
        model_uri: `runs:/ID/path`.
        metrics: What was logged to the run.
        version: The registered version as it is now; None where it was not registered.
        stage: The stage it is in; None where it was not registered.
    """

    run_id: str
    artifact_path: str
    model_uri: str
    metrics: dict[str, float]
    version: ModelVersion | None = None
    stage: Stage | None = None


def publish(
    tracker_or_project: MLflowTracker | Project,
    export: OnnxExport,
    run_id: str,
    *,
    model_name: str | None,
    stage: str | Stage | None = Stage.STAGING,
    description: str | None = None,
    tags: Mapping[str, object] | None = None,
    artifact_path: str = "onnx",
) -> Publication:
    """Log an exported model to the run it comes from, register it, and move it to a stage.

    The run's artifacts get an MLflow model that `mlflow.pyfunc`, `mlflow.onnx` and `holdfast.load_model` load, with
    `metadata.json`, the parity report `parity.json` and, where there is one, `model.int8.onnx` in its folder. The run
    gets metrics `onnx/…`; its status stays as it is, and no other run is begun.

    Args:
        tracker_or_project: Where.
        export: What `export_onnx` returned.
        run_id: The run that trained the module.
        model_name: The registered model; created where it is missing. None does not register it.
        stage: Where the version goes, its gates willing; None leaves it where it is.
        description: What this version is.
        tags: Tags of the version, besides `onnx.sha256`, `onnx.opset` and `onnx.parity.max_abs_error`.
        artifact_path: The folder among the run's artifacts. Where there is a model in it, the first free of `onnx-2`,
            `onnx-3` … is used: an earlier version's files never change.

    Raises:
        ExportError: The exported files are not what was measured any more.
        PromotionRefusedError: A gate says no; the version is registered then, and in no stage.
        BackendError: There is no such run, it is deleted, or the store cannot be reached.
        ArtifactError: The files could not be stored; nothing is registered then.
    """
    project = tracker_or_project if isinstance(tracker_or_project, Project) else tracker_or_project._project
    target = parse_stage(stage)
    if model_name is not None:
        check_model_name(model_name)
    check_files(export)
    project.settle()
    run = _run(project, run_id)
    path = _free_path(project, run, artifact_path)
    with tempfile.TemporaryDirectory(prefix="holdfast-onnx-") as scratch:
        folder = Path(scratch) / "model"
        _write_model(export, folder, run, path)
        project.artifacts.upload_folder(folder, run.artifact_uri, path)
    metrics = metrics_of(export)
    project.runs.log(run_id, [MetricPoint(name, value, 0, now_ms()) for name, value in metrics.items()])
    published = Publication(run_id, path, f"runs:/{run_id}/{path}", metrics)
    if model_name is None:
        return published
    return _registered(ModelRegistry(project), published, model_name, target, description, _labels(export, tags))


def check_files(export: OnnxExport) -> None:
    """Make sure that the files are those that were measured.

    Raises:
        ExportError: One is missing, or has changed.
    """
    wanted = {export.path: export.sha256} | ({export.int8.path: export.int8.sha256} if export.int8 else {})
    for path, sha256 in wanted.items():
        found = sha256_of(path) if path.is_file() else "missing"
        if found != sha256:
            raise ExportError(
                f"{path} is not what was exported and compared: its SHA-256 was {sha256[:12]}…, and is {found[:12]}.",
                "export it again",
                step="publish",
            )


def metrics_of(export: OnnxExport) -> dict[str, float]:
    """Return what the run gets: errors, sizes, and milliseconds a batch of the smallest size timed."""
    found = {
        "onnx/max_abs_error": export.parity.max_abs_error,
        "onnx/max_rel_error": export.parity.max_rel_error,
        "onnx/size_bytes": float(export.size_bytes),
        "onnx/parameters": float(export.parameters),
    }
    if export.timings:
        first = export.timings[0]
        found |= {
            "onnx/latency_ms": first.onnx_ms,
            "onnx/latency_torch_ms": first.torch_ms,
            "onnx/latency_batch_size": float(first.batch_size),
        }
    if export.int8:
        found |= {
            "onnx/int8/mean_error": export.int8.parity.mean_error,
            "onnx/int8/max_abs_error": export.int8.parity.max_abs_error,
            "onnx/int8/size_bytes": float(export.int8.size_bytes),
        }
    return found


def _run(project: Project, run_id: str) -> Run:
    run = project.runs.get_run(run_id)
    if run.deleted:
        raise BackendError(f"Run {run_id} is deleted.", f"mlflow runs restore --run-id {run_id}")
    return run


def _free_path(project: Project, run: Run, wanted: str) -> str:
    number, path = 1, wanted
    while project.artifacts.list_files(run.artifact_uri, path):
        number += 1
        path = f"{wanted}-{number}"
    return path


def _write_model(export: OnnxExport, folder: Path, run: Run, path: str) -> None:
    fixed = all(isinstance(size, int) for item in export.inputs for size in item.dims)
    rows = None if fixed else _EXAMPLE_ROWS
    short = {"sha256": export.sha256, "opset": export.opset, "parameters": export.parameters, "module": export.module}
    save_onnx_model(
        [export.path, *export.data_paths],
        folder,
        {name: np.ascontiguousarray(value[:rows]) for name, value in export.example.items()},
        export.example_outputs,
        fixed,
        run.run_id,
        path,
        short,
    )
    about = export.metadata | {"run_id": run.run_id}
    _write_json(folder / "metadata.json", about)
    reports: dict[str, Any] = {"float32": asdict(export.parity)}
    if export.int8 is not None:
        reports["int8"] = asdict(export.int8.parity)
        (folder / export.int8.path.name).write_bytes(export.int8.path.read_bytes())
    _write_json(folder / "parity.json", reports)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(_finite(content), indent=2) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    """Return a value as JSON has it: an infinity, of which JSON knows none, as its name."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value if not isinstance(value, float) or np.isfinite(value) else str(value)


def _labels(export: OnnxExport, tags: Mapping[str, object] | None) -> dict[str, object]:
    own = {
        "onnx.sha256": export.sha256,
        "onnx.opset": export.opset,
        "onnx.parity.max_abs_error": f"{export.parity.max_abs_error:.3g}",
    }
    return {**own, **(tags or {})}


def _registered(
    registry: ModelRegistry,
    published: Publication,
    name: str,
    stage: Stage,
    description: str | None,
    tags: Mapping[str, object],
) -> Publication:
    version = registry.register(name, published.model_uri, description, tags)
    if stage is not Stage.NONE:
        version = registry.promote(name, version.version, stage, reason="exported, and compared with PyTorch").version
    return Publication(
        published.run_id, published.artifact_path, published.model_uri, published.metrics, version, version.stage
    )
