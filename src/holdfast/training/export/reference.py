"""The module itself, as PyTorch runs it: in eval mode on the CPU, and as it was before once that is done."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.errors import InvalidInputError
from holdfast.training.export.failure import ExportError, in_short
from holdfast.training.export.inputs import Inputs, in_numpy, name_of
from holdfast.training.export.rules import Arrays


@contextmanager
def at_rest(module: nn.Module) -> Iterator[None]:
    """Have a module in eval mode and on the CPU; its modes and device, and all random states, are as before then.

    Raises:
        InvalidInputError: It lies on several devices.
    """
    modes = {part: part.training for part in module.modules()}
    device = _device_of(module)
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(), torch.no_grad():
            module.eval().cpu()
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        module.to(device)
        for part, mode in modes.items():
            part.training = mode


def _device_of(module: nn.Module) -> torch.device:
    devices = {tensor.device for tensor in (*module.parameters(), *module.buffers())}
    if len(devices) > 1:
        raise InvalidInputError(
            f"The module lies on {', '.join(sorted(map(str, devices)))}.",
            "bring it to one device before it is exported",
        )
    return devices.pop() if devices else torch.device("cpu")


def named_outputs(output: Any, names: Sequence[str] | None) -> dict[str, Tensor]:
    """Return what a module answered, by the names of the exported model's outputs.

    Args:
        output: A tensor, or tensors in mappings, tuples and lists, which may lie in one another; None is left out.
        names: The outputs' names in the order of `output`. Those of a mapping may be given in any order. If not given,
            they are its keys, those of a named tuple its fields, and else `output`, `output_1` …

    Raises:
        InvalidInputError: The names do not fit, or something in it is no tensor.
    """
    found = list(_flat(output, ""))
    own = [key or ("output" if place == 0 else f"output_{place}") for place, (key, _) in enumerate(found)]
    chosen = own if names is None or set(names) == set(own) else list(names)
    others = [type(value).__name__ for _, value in found if not isinstance(value, Tensor)]
    if others or len(chosen) != len(found) or len(set(chosen)) != len(chosen) or not found:
        raise InvalidInputError(
            f"The module gives {len(found)} outputs ({', '.join(own)}), which cannot be named {', '.join(chosen)}"
            + (f"; among them are no tensors: {', '.join(others)}." if others else "."),
            "give output_names, one different name for each, and have the module return tensors",
        )
    return {name: value for name, (_, value) in zip(chosen, found, strict=True)}


def _flat(output: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        output = dict(zip(output._fields, output, strict=True))
    if isinstance(output, Mapping):
        for name, value in output.items():
            yield from _flat(value, f"{key}.{name}" if key else str(name))
    elif isinstance(output, list | tuple):
        for place, value in enumerate(output):
            yield from _flat(value, f"{key}.{place}" if key else "")
    elif output is not None:
        yield key, output


def run_module(module: nn.Module, inputs: Inputs, names: Sequence[str] | None) -> Arrays:
    """Return the module's outputs for a batch.

    Raises:
        ExportError: It raises.
        InvalidInputError: As of `named_outputs`.
    """
    try:
        output = module(*inputs.args, **inputs.kwargs)
    except Exception as error:
        raise ExportError(
            f"PyTorch itself cannot run {type(module).__name__} on a batch of {inputs.batch_size}: {in_short(error)}.",
            "give sample_inputs that its forward takes",
            step="run",
        ) from error
    found = named_outputs(output, names)
    strange = [f"{name} is {name_of(value.dtype)}" for name, value in found.items() if not in_numpy(value)]
    if strange:
        raise ExportError(
            f"The outputs of {type(module).__name__} cannot be compared: {', '.join(strange)}, a type that NumPy has "
            "not.",
            "have forward return float32 (output.float())",
            step="run",
        )
    return {name: value.detach().numpy().copy() for name, value in found.items()}
