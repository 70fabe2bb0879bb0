"""Writing ONNX models in MLflow's format."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("mlflow", "onnx", "onnxruntime", "numpy")


def save_onnx_model(
    files: Sequence[Path],
    folder: Path,
    example: Mapping[str, Any],
    outputs: Mapping[str, Any],
    fixed_batch: bool,
    run_id: str,
    artifact_path: str,
    metadata: Mapping[str, Any],
) -> None:
    """Write an ONNX model, its signature and an input example into a new folder.

    Args:
        files: The model's file, byte for byte what will lie in the folder as `model.onnx`, and those with its weights.
        folder: Where; it must not exist.
        example: Arrays by the names of the inputs, the batch first.
        outputs: What the model answers to them, by the names of the outputs.
        fixed_batch: Whether the model takes no other batch size than that of the example.
        run_id: The run it belongs to.
        artifact_path: Its folder among the run's artifacts.
        metadata: Kept in the MLmodel file.
    """
    import mlflow.onnx
    import onnx
    from mlflow.models import Model, ModelSignature

    signature = ModelSignature(_schema(example, fixed_batch), _schema(outputs, fixed_batch))
    mlflow.onnx.save_model(
        onnx.load(str(files[0]), load_external_data=False),
        str(folder),
        mlflow_model=Model(artifact_path=artifact_path, run_id=run_id, signature=signature),
        input_example=dict(example),
        # Named here: finding them out would start a process and load the model in it.
        pip_requirements=[f"{package}=={version(package)}" for package in _PACKAGES],
        onnx_execution_providers=["CUDAExecutionProvider", "CPUExecutionProvider"],
        metadata=dict(metadata),
        save_as_external_data=False,
    )
    for path in files:
        shutil.copyfile(path, folder / path.name)


def _schema(arrays: Mapping[str, Any], fixed_batch: bool) -> Any:
    from mlflow.types import Schema, TensorSpec

    return Schema(
        [
            TensorSpec(value.dtype, value.shape if fixed_batch or not value.ndim else (-1, *value.shape[1:]), name)
            for name, value in arrays.items()
        ]
    )
