"""Waiting for SQLite, which one process at a time may write.

MLflow waits 20 seconds for the lock and then fails the call with `database is locked`, as happens where many write at
once: SQLite's waiting is no queue. The transaction is rolled back by then, so the same call may be made again.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

LIMIT_S = 100.0
_LONGEST_PAUSE_S = 0.2
_LOCKED = "database is locked"


def patiently(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return what a call returns, made again for 100 seconds as long as a SQLite database is locked.

    Raises:
        Exception: What the call raised; after that time, that the database is locked.
    """
    end = time.monotonic() + LIMIT_S
    with _quietly():
        while True:
            try:
                return call(*args, **kwargs)
            except Exception as error:
                if _LOCKED not in str(error) or time.monotonic() > end:
                    raise
            time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311


class Patient:
    """An object each of whose methods is called patiently.

    Args:
        target: The object, MLflow's client for instance.
    """

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return partial(patiently, getattr(self._target, name))


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep off the screen the traceback that MLflow logs for each lock it gave up on."""
    logger = logging.getLogger("mlflow.store.db.utils")
    logger.addFilter(_is_no_lock)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_lock)


def _is_no_lock(record: logging.LogRecord) -> bool:
    return _LOCKED not in record.getMessage()
