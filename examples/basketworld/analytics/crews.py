"""Who does the work of a command: this process, several, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from holdfast.errors import InvalidInputError

from .progress import progress
from .workers import Alone, Crew, Processes, Unit, available_cores

# Units under way at once on a cluster, where nobody says how many.
_ON_A_CLUSTER = 64
# More processes than this a processor core are never faster, and each takes memory and its time to start.
_A_CORE = 2


def crew_for(units: int, workers: int | None = None, ray: str | None = None) -> AbstractContextManager[Any]:
    """Return who does the work, to be entered before the checkpoints are downloaded.

    Args:
        units: How many units of work there will be; no more workers than that are started.
        workers: How many processes; None for as many as there are processor cores. Twice as many are the most.
        ray: The address of a Ray cluster, `auto` or `local`; None to stay on this machine.

    Raises:
        InvalidInputError: There are no workers, or an empty address.
        MissingDependencyError: Ray is wanted and not installed.
    """
    if workers is not None and workers < 1:
        raise InvalidInputError(f"There are {workers} workers.", "give one or more: --workers 2")
    if ray is not None:
        return _cluster(ray.strip(), min(units, workers or _ON_A_CLUSTER))
    cores = available_cores()
    count = min(units, workers or cores, _A_CORE * cores)
    return Alone() if count <= 1 else Processes(count)


def _cluster(address: str, workers: int) -> AbstractContextManager[Any]:
    from .cluster import LOCAL, Cluster

    if not address:
        raise InvalidInputError("The address of the Ray cluster is empty.", "--ray auto, --ray local or host:port")
    return Cluster(address, min(workers, available_cores()) if address == LOCAL else workers)


def do(crew: Crew, units: Sequence[Unit], what: str) -> list[Any]:
    """Do all units and show how far they are; return their results in the order of the units."""
    with progress(what, len(units)) as advance:
        return crew.work(units, lambda _: advance())
