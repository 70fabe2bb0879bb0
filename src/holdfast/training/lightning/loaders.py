"""Loaders that go on in the middle of an epoch, batch for batch as if nothing had been between.

A `DataLoader` cannot be told where to begin. Here its iteration is repeated instead: with the random state that it was
begun with, and as many batches fetched and thrown away as were used. The order of the samples and what the workers
draw are the same then, whatever sampler, dataset and number of workers it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from holdfast.training.lightning import random_state
from holdfast.training.lightning.random_state import State


@dataclass
class Position:
    """Where a loader is in its present iteration.

    Attributes:
        begun: The random state just before the iteration began; None before the first one.
        batches: How many batches it has given out.
        latest: The random state just before the latest batch was fetched, where batches are fetched ahead.
    """

    begun: State | None = None
    batches: int = 0
    latest: State | None = None

    def to_plain(self, ahead: int = 0) -> dict[str, Any]:
        """Return it for a checkpoint.

        Args:
            ahead: How many batches were fetched and not used yet; one at most.
        """
        used = max(0, self.batches - ahead)
        return {"begun": self.begun, "batches": used, "latest": self.latest if ahead else None}


class Resumption:
    """What a resumed process restores, once, when its first batch is asked for or its first epoch begins.

    Attributes:
        random: The random state to be set; None where nothing is to be restored, or it was.
        positions: For each loader, in order, where it was; a loader takes its own and leaves None.
    """

    def __init__(self) -> None:
        self.random: State | None = None
        self.positions: list[dict[str, Any] | None] = []

    def restore(self) -> None:
        """Set the random state, the first time this is called."""
        if self.random is not None:
            state, self.random = self.random, None
            random_state.restore(state)

    def take(self, number: int) -> dict[str, Any] | None:
        """Return where a loader was, the first time it asks."""
        if number >= len(self.positions):
            return None
        found, self.positions[number] = self.positions[number], None
        return found


class _Batches(Iterator[Any]):
    """One iteration of a loader; begun when its first batch is asked for."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._inner: Iterator[Any] | None = None
        # Lightning fetches one batch ahead where it cannot tell the last one otherwise.
        self._is_ahead = not _has_length(loader)

    def __next__(self) -> Any:
        if self._inner is None:
            self._inner, again = self._begin()
            if again is not None:
                return self._fetch_again(again)
        if self._is_ahead:
            self._loader.holdfast_position.latest = random_state.capture()
        return self._count(next(self._inner))

    def _count(self, batch: Any) -> Any:
        self._loader.holdfast_position.batches += 1
        return batch

    def _begin(self) -> tuple[Iterator[Any], State | None]:
        loader = self._loader
        loader.holdfast_resumption.restore()
        place, own = loader.holdfast_resumption.take(loader.holdfast_number), generators_of(loader)
        if place is None or place["begun"] is None:
            random_state.set_states(own, (place or {}).get("generators", ()))
            loader.holdfast_position = Position(random_state.capture(own))
            return loader.holdfast_plain_iter(), None
        here = random_state.capture()
        random_state.restore(place["begun"], own)
        inner = loader.holdfast_plain_iter()
        for _ in range(place["batches"]):
            next(inner, None)
        random_state.restore(here)
        loader.holdfast_position = Position(place["begun"], place["batches"])
        return inner, place["latest"]

    def _fetch_again(self, latest: State) -> Any:
        """Fetch the batch that was fetched ahead, as it was."""
        here = random_state.capture()
        random_state.restore(latest)
        try:
            return self._count(next(self._inner))  # type: ignore[arg-type]
        finally:
            random_state.restore(here)
            self._loader.holdfast_position.latest = latest


def _has_length(loader: Any) -> bool:
    try:
        len(loader)
    except (TypeError, NotImplementedError):
        return False
    return True


class _ResumableIterable:
    """Anything else that gives out batches, made to go on in the middle of an epoch.

    Args:
        inner: What gives them out.
    """

    def __init__(self, inner: Iterable[Any]) -> None:
        self._inner = inner

    def __len__(self) -> int:
        return len(self._inner)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        return _Batches(self)

    def holdfast_plain_iter(self) -> Iterator[Any]:
        return iter(self._inner)


def generators_of(loader: Any) -> list[torch.Generator]:
    """Return the generators that a loader and its samplers draw from, where they have any of their own."""
    batches = getattr(loader, "batch_sampler", None)
    parts = (loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None))
    found = [getattr(part, "generator", None) for part in parts]
    return list({id(one): one for one in found if isinstance(one, torch.Generator)}.values())


def resumable(loaders: Iterable[Any], resumption: Resumption) -> list[Any]:
    """Make loaders go on where a checkpoint says; a `DataLoader` stays one, with its own class as a base.

    Args:
        loaders: In an order that is the same in each process. One that keeps a state itself (`state_dict` and
            `load_state_dict`) is left to Lightning.
        resumption: What is restored.
    """
    return [
        loader if _keeps_its_state(loader) else _made_resumable(loader, number, resumption)
        for number, loader in enumerate(loaders)
    ]


def _keeps_its_state(loader: Any) -> bool:
    return hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")


def _made_resumable(loader: Any, number: int, resumption: Resumption) -> Any:
    if isinstance(loader, DataLoader):
        kind = type(loader)
        # One that was used in a training before is of such a class already.
        plain = kind.__bases__[0] if "holdfast_plain_iter" in vars(kind) else kind
        loader.__class__ = _class_for(plain, resumption, number)
        return loader
    if not isinstance(loader, _ResumableIterable):
        loader = _ResumableIterable(loader)
    loader.holdfast_resumption, loader.holdfast_number, loader.holdfast_position = resumption, number, Position()
    return loader


def _begin_batches(loader: Any) -> _Batches:
    return _Batches(loader)


def _class_for(kind: Any, resumption: Resumption, number: int) -> type:
    """Return a class of loaders that is another one, but for its iterations.

    Lightning makes loaders of its own from what it is given, with another sampler for each rank: of the same class, and
    from the same arguments. So this is a class without arguments of its own, which has what it restores itself, and not
    an object around the loader.
    """
    content = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "__iter__": _begin_batches,
        "holdfast_plain_iter": kind.__iter__,
        "holdfast_resumption": resumption,
        "holdfast_number": number,
        "holdfast_position": Position(),
    }
    return type(kind.__name__, (kind,), content)
