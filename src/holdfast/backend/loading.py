"""Loading a model from its files with MLflow, and reading what its MLmodel file says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from holdfast.errors import InvalidInputError, MissingDependencyError, RegistryError

# By the name in the MLmodel file; the others are called as their modules are.
_MODULES = {"python_function": "pyfunc"}
_FLAVOR = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class ModelFile:
    """What a MLmodel file says.

    Attributes:
        flavors: What the model can be loaded as: `pyfunc`, `sklearn` …
        signature: Its columns by part (`inputs`, `outputs`, `params`), each name with its type; an unnamed column has
            its position as name. Empty where the model has no signature.
        mlflow_version: The MLflow that wrote it.
    """

    flavors: tuple[str, ...]
    signature: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    mlflow_version: str = ""


def read_model_file(folder: Path) -> ModelFile:
    """Read the MLmodel file in a folder.

    Raises:
        RegistryError: There is none, or it is none.
    """
    from mlflow.models import Model

    try:
        found = Model.load(str(folder / "MLmodel"))
        flavors = tuple(sorted(_MODULES.get(name, name) for name in found.flavors or {}))
        signature = {} if found.signature is None else _columns(found.signature.to_dict())
        return ModelFile(flavors, signature, str(found.mlflow_version or ""))
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise RegistryError(
            f"The MLmodel file of this model cannot be read: {text or type(error).__name__}.",
            "see the files of its run (holdfast files list), and register it again",
        ) from None


def load_from_folder(folder: Path, flavor: str = "pyfunc") -> Any:
    """Load the model whose files lie in a folder. Loading runs code that is in them.

    MLflow's own settings, the environment and the active run are left as they are; a model with code of its own adds
    that to `sys.path`, as it does with MLflow.

    Args:
        folder: The folder with the MLmodel file.
        flavor: `pyfunc` for MLflow's common `predict`, or another of the model's flavors for the object itself.

    Raises:
        InvalidInputError: The model has no such flavor.
        MissingDependencyError: A package that it needs is not installed.
        RegistryError: It cannot be loaded.
    """
    wanted = _MODULES.get(flavor, flavor)
    known = read_model_file(folder).flavors
    if wanted not in known or not _FLAVOR.fullmatch(wanted):
        raise InvalidInputError(
            f"This model cannot be loaded as {flavor!r}.", f"it has the flavors {', '.join(known) or 'none'}"
        )
    try:
        return import_module(f"mlflow.{wanted}").load_model(str(folder))
    except ImportError as error:
        raise MissingDependencyError(
            f"This model needs {error.name or error}, which cannot be imported here.",
            f"pip install -r {folder / 'requirements.txt'}",
        ) from None
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise RegistryError(
            f"This model cannot be loaded: {type(error).__name__}: {text}",
            f"compare the packages here with {folder / 'requirements.txt'}, and the files with those that were "
            "registered (holdfast models audit)",
        ) from error


def _columns(signature: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    import json

    parts = {}
    for part in ("inputs", "outputs", "params"):
        rows = json.loads(signature.get(part) or "[]")
        parts[part] = {str(row.get("name", place)): _type(row) for place, row in enumerate(rows)}
    return {part: columns for part, columns in parts.items() if columns}


def _type(row: Mapping[str, Any]) -> str:
    """Return a column's type as one text: `double`, `tensor float64 (-1, 3)`, `string, optional`."""
    kind = str(row.get("type", ""))
    if kind == "tensor":
        tensor = row.get("tensor-spec", {})
        return f"tensor {tensor.get('dtype')} {tuple(tensor.get('shape', ()))}"
    details = {key: value for key, value in row.items() if key not in ("name", "type", "required")}
    text = f"{kind} {details}" if details else kind
    return text if row.get("required", True) else f"{text}, optional"
