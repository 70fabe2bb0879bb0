"""A Ray cluster that plays. Policies travel through Ray's object store; settings and keys do not."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.training.extras import need
from holdfast.training.ray_cluster import ray_cluster

from .workers import Done, Unit, WorkerError, by_length

LOCAL = "local"
_KNOCK_S = 5.0
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}


class Cluster:
    """The machines of a Ray cluster; a context manager, which leaves the cluster.

    Args:
        address: `auto` for the cluster of this machine, `host:port` or `ray://host:port`, or `local` to start one here
            for as long as the work lasts.
        workers: How many units are under way at once, at most.

    Raises:
        MissingDependencyError: Ray is not installed.
    """

    def __init__(self, address: str, workers: int) -> None:
        need(("ray",), "work on a Ray cluster", "ray")
        self._address = address
        self._workers = workers
        self._leaves = contextlib.ExitStack()
        self._sent: dict[str, Any] = {}

    def __enter__(self) -> Cluster:
        """Connect.

        Raises:
            WorkerError: There is no such cluster.
        """
        self._leaves.enter_context(_connected(self._address, self._workers))
        return self

    def __exit__(
        self, error: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaves.__exit__(error, value, trace)

    def work(self, units: Sequence[Unit], tell: Done) -> list[Any]:
        """Do all units, the longest first.

        Raises:
            WorkerError: A worker ended, or failed in a way that nobody foresaw.
            HoldfastError: What a unit raised.
        """
        import ray

        do = ray.remote(num_cpus=1, max_retries=1)(_do)
        results: list[Any] = [None] * len(units)
        waiting = by_length(units)[::-1]
        under_way: dict[Any, int] = {}
        while waiting or under_way:
            while waiting and len(under_way) < self._workers:
                number = waiting.pop()
                unit = units[number]
                under_way[do.remote(unit, unit.paths, *map(self._send, unit.paths))] = number
            for reference in ray.wait(list(under_way))[0]:
                number = under_way.pop(reference)
                results[number] = _result(reference)
                tell(number)
        return results

    def _send(self, path: str) -> Any:
        """Put a policy's file where other machines can have it, once."""
        import ray

        if path not in self._sent:
            self._sent[path] = ray.put(Path(path).read_bytes())
        return self._sent[path]


def _knock(address: str) -> None:
    """Raise `OSError` where nobody listens: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        with socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S):
            pass


@contextlib.contextmanager
def _connected(address: str, workers: int) -> Iterator[None]:
    with contextlib.ExitStack() as leaves:
        try:
            if address == LOCAL:
                leaves.enter_context(ray_cluster(address=LOCAL, num_cpus=workers, **_QUIET))
            else:
                _knock(address)
                leaves.enter_context(ray_cluster(address=address, **_QUIET))
        except (OSError, OverflowError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise WorkerError(
                f"The Ray cluster {address!r} cannot be joined: {reason}",
                "start one with `ray start --head`, give its address as host:port, or say --ray local",
                retryable=True,
            ) from None
        yield


def _result(reference: Any) -> Any:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        result, error = ray.get(reference)
    except RayTaskError as failed:
        text = str(failed).strip().splitlines()[-1][:300]
        raise WorkerError(
            f"A worker of Ray failed: {text}", "are Holdfast and its examples installed on each of its machines?"
        ) from None
    except RayError as failed:
        raise WorkerError(
            f"A worker of Ray ended: {type(failed).__name__}.", "see `ray status`", retryable=True
        ) from None
    if error is not None:
        raise error
    return result


# -- in a worker ----------------------------------------------------------------------


def _do(unit: Unit, paths: Sequence[str], *contents: bytes) -> tuple[Any, HoldfastError | None]:
    from .sides import take_in
    from .workers import one_thread

    with one_thread():
        try:
            for path, content in zip(paths, contents, strict=True):
                take_in(path, content)
            return unit.work(), None
        except HoldfastError as error:
            return None, error
