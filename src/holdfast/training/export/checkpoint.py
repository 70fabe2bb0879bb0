"""Reading a checkpoint of Lightning, and saying what is wrong with one."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from holdfast.training.export.failure import ExportError, in_short

_FOREIGN = re.compile(r"GLOBAL (\S+) was not an allowed")


def load_checkpoint(path: Path, trust: bool = False) -> Mapping[str, Any]:
    """Return what a checkpoint of Lightning holds, on the CPU.

    Raises:
        ExportError: It is damaged, is none, or holds Python objects and is not trusted.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        raise ExportError(
            _refused(path, error), "if you know where it comes from: --trust-checkpoint", step="checkpoint"
        ) from None
    except Exception as error:
        raise ExportError(
            f"The checkpoint {path.name} cannot be read: {in_short(error, 200)}.",
            "fetch it again (holdfast files get)",
            step="checkpoint",
        ) from None
    if not isinstance(content, Mapping) or "state_dict" not in content:
        raise ExportError(
            f"{path.name} is no checkpoint of Lightning.", "give one that a training wrote", step="checkpoint"
        )
    return content


def _refused(path: Path, error: pickle.UnpicklingError) -> str:
    """Return why a checkpoint is not loaded: what it holds, by name, out of torch's page of advice."""
    found = _FOREIGN.search(str(error))
    if found is None:
        return f"The checkpoint {path.name} is damaged, or none, or holds Python objects in a form of its own."
    return f"The checkpoint {path.name} holds Python objects ({found[1]}), which can run code when it is loaded."
