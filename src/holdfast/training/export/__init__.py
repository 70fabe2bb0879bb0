"""ONNX export: checked, compared with PyTorch, timed, registered. Public names are loaded when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.lazy import lazily
from holdfast.training.extras import need

if TYPE_CHECKING:
    from holdfast.training.export.best import Chosen, find_module
    from holdfast.training.export.exporting import OnnxExport, export_onnx
    from holdfast.training.export.failure import ExportError
    from holdfast.training.export.parity import ParityReport
    from holdfast.training.export.publishing import Publication, publish
    from holdfast.training.export.rules import ParityRule, QuantizeRule

__all__ = [
    "Chosen",
    "ExportError",
    "OnnxExport",
    "ParityReport",
    "ParityRule",
    "Publication",
    "QuantizeRule",
    "export_onnx",
    "find_module",
    "publish",
]

_HOMES = {
    "Chosen": "best",
    "ExportError": "failure",
    "OnnxExport": "exporting",
    "ParityReport": "parity",
    "ParityRule": "rules",
    "Publication": "publishing",
    "QuantizeRule": "rules",
    "export_onnx": "exporting",
    "find_module": "best",
    "publish": "publishing",
}


def _check(name: str) -> None:
    need(("torch", "onnx", "onnxruntime", "onnxscript"), "ONNX export", "onnx")


__getattr__, __dir__ = lazily(__name__, _HOMES, _check)
