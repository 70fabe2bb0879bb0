"""The state of the random generators that a training process draws from."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from typing import Any

import torch

State = dict[str, Any]


def capture(generators: Sequence[torch.Generator] = ()) -> State:
    """Return the state of Python's, NumPy's and PyTorch's global generators, as plain values and tensors.

    Args:
        generators: More of them, whose states are kept with it.
    """
    version, words, gauss = random.getstate()
    state: State = {
        "python": [version, list(words), gauss],
        "torch": torch.get_rng_state(),
        "generators": [one.get_state() for one in generators],
    }
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        name, keys, position, has_gauss, cached = numpy.random.get_state(legacy=True)
        state["numpy"] = [name, [int(key) for key in keys], int(position), int(has_gauss), float(cached)]
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore(state: State, generators: Sequence[torch.Generator] = ()) -> None:
    """Set the generators to a state that `capture` returned; those of devices that are not here are left out.

    Args:
        state: As returned.
        generators: Those that were given then, or their like in another process.
    """
    set_states(generators, state.get("generators", ()))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    torch.set_rng_state(state["torch"].cpu())
    if "numpy" in state:
        import numpy as np

        name, keys, position, has_gauss, cached = state["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    if "cuda" in state and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])


def set_states(generators: Sequence[torch.Generator], states: Sequence[torch.Tensor]) -> None:
    """Set generators to states that they, or their like in another process, had."""
    for generator, state in zip(generators, states, strict=False):
        generator.set_state(state)
