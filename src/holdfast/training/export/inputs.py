"""The inputs of a module: how it is called with them, and random ones of any batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from holdfast.errors import InvalidInputError
from holdfast.training.export.rules import Arrays


@dataclass(frozen=True)
class Inputs:
    """One batch of inputs, on the CPU.

    Attributes:
        names: Of the inputs in the exported model.
        tensors: One each; the first dimension of each is the batch.
        keys: The parameters of `forward` they are given by, or None where they are given by position.
    """

    names: tuple[str, ...]
    tensors: tuple[Tensor, ...]
    keys: tuple[str, ...] | None = None

    @property
    def batch_size(self) -> int:
        """The size of the batch."""
        return int(self.tensors[0].shape[0])

    @property
    def args(self) -> tuple[Tensor, ...]:
        """What is given by position."""
        return self.tensors if self.keys is None else ()

    @property
    def kwargs(self) -> dict[str, Tensor]:
        """What is given by name."""
        return {} if self.keys is None else dict(zip(self.keys, self.tensors, strict=True))

    def arrays(self) -> Arrays:
        """Return what onnxruntime is fed with."""
        return {name: tensor.numpy() for name, tensor in zip(self.names, self.tensors, strict=True)}

    def resized(self, size: int) -> Inputs:
        """Return a batch of another size, of the same samples over and over."""
        rows = torch.arange(size) % self.batch_size
        return Inputs(self.names, tuple(tensor[rows].contiguous() for tensor in self.tensors), self.keys)

    def drawn(self, size: int, generator: torch.Generator) -> Inputs:
        """Return a random batch in the likeness of this one."""
        return Inputs(self.names, tuple(_drawn(tensor, size, generator) for tensor in self.tensors), self.keys)


def as_inputs(sample: Any, names: Sequence[str] | None, like: Inputs | None = None) -> Inputs:
    """Return sample inputs as a batch.

    Args:
        sample: A tensor, a sequence of tensors by position, or a mapping of tensors by the names of the parameters.
        names: Of the inputs in the exported model; those of the mapping, or `input`, `input_1` … if not given.
        like: The sample inputs, where this is a further batch that must be of their kind.

    Raises:
        InvalidInputError: Says everything that is wrong.
    """
    keys = tuple(map(str, sample)) if isinstance(sample, Mapping) else None
    tensors = _each(sample)
    default = keys or tuple("input" if place == 0 else f"input_{place}" for place in range(len(tensors)))
    chosen = default if names is None else tuple(names)
    problems = _problems(tensors, chosen) or ([] if like is None else _unlike(tensors, keys, like))
    if problems:
        raise InvalidInputError(
            f"The inputs cannot be used: {'; '.join(problems)}.",
            "give a tensor, a tuple of tensors, or a dictionary of them, each with the batch as first dimension and "
            "of a type such as float32",
        )
    return Inputs(chosen, tuple(tensor.detach().cpu() for tensor in tensors), keys)


def _each(sample: Any) -> tuple[Any, ...]:
    if isinstance(sample, Mapping):
        return tuple(sample.values())
    return tuple(sample) if isinstance(sample, list | tuple) else (sample,)


def _problems(tensors: tuple[Any, ...], names: tuple[str, ...]) -> list[str]:
    if not tensors:
        return ["there is none"]
    # What an input is named is worth saying only where each has a name.
    shown = names if len(names) == len(tensors) else tuple(map(str, range(len(tensors))))
    problems = [problem for name, tensor in zip(shown, tensors, strict=True) if (problem := _unfit(name, tensor))]
    if problems:
        return problems
    if len(names) != len(tensors):
        problems.append(f"there are {len(tensors)} and {len(names)} names for them ({', '.join(names)})")
    if len(set(names)) != len(names) or not all(names):
        problems.append(f"their names are empty, or not all different ({', '.join(names)})")
    sizes = sorted({tensor.shape[0] if tensor.ndim else 0 for tensor in tensors})
    if len(sizes) > 1 or 0 in sizes:
        problems.append(f"their batch sizes are {', '.join(map(str, sizes))}; one size of 1 or more is wanted")
    return problems


def _unfit(name: str, tensor: Any) -> str:
    """Return why an input cannot be one; nothing where it can."""
    if tensor is None:
        return f"input {name} is None, no tensor"
    if not isinstance(tensor, Tensor):
        return f"input {name} is a {type(tensor).__name__}, no tensor"
    if not in_numpy(tensor):
        return f"input {name} is {name_of(tensor.dtype)}, a type that NumPy has not"
    return ""


def in_numpy(tensor: Tensor) -> bool:
    """Whether NumPy has a tensor's type; it has neither bfloat16 nor the floats of 8 bits."""
    try:
        torch.empty(0, dtype=tensor.dtype).numpy()
    except (TypeError, RuntimeError):
        return False
    return True


def name_of(dtype: torch.dtype) -> str:
    """Return a type's name, as `bfloat16`."""
    return str(dtype).removeprefix("torch.")


def _unlike(tensors: tuple[Tensor, ...], keys: tuple[str, ...] | None, like: Inputs) -> list[str]:
    if keys != like.keys:
        return [f"they are given by {keys or 'position'}, the sample by {like.keys or 'position'}"]
    return [
        f"{name} is {_kind(given)}, in the sample {_kind(sample)}"
        for name, given, sample in zip(like.names, tensors, like.tensors, strict=True)
        if _kind(given) != _kind(sample)
    ]


def _kind(tensor: Tensor) -> str:
    return f"{name_of(tensor.dtype)} {('batch', *tensor.shape[1:])}".replace("'", "")


def _drawn(tensor: Tensor, size: int, generator: torch.Generator) -> Tensor:
    shape = (size, *tensor.shape[1:])
    if tensor.dtype == torch.bool:
        return torch.rand(shape, generator=generator) < 0.5
    if not tensor.is_floating_point():
        low, high = int(tensor.min()), int(tensor.max())
        return torch.randint(low, high + 1, shape, generator=generator, dtype=tensor.dtype)
    values = tensor.double()
    spread = float(values.std(correction=0)) or 1.0
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * spread + values.mean()).to(tensor.dtype)
