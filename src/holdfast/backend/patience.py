"""Waiting where a database turns a writer back: the transaction is rolled back then, so that the call may be repeated.

SQLite lets one process at a time write. MLflow waits 20 seconds for its lock and then fails the call with `database is
locked`, as happens where many write at once: SQLite's waiting is no queue. PostgreSQL and MySQL end one of two
transactions that wait for each other, as two moves of stages that archive each other's versions do.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from holdfast.core.dice import draw

T = TypeVar("T")

LIMIT_S = 100.0
_LONGEST_PAUSE_S = 0.2
_TURNED_BACK = re.compile(
    r"database is locked|deadlock (detected|found)|could not serialize access|lock wait timeout exceeded", re.IGNORECASE
)


def patiently(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return what a call returns, made again for 100 seconds as long as the database turns it back.

    Raises:
        Exception: What the call raised; after that time, that the database is locked.
    """
    end = time.monotonic() + LIMIT_S
    with _quietly():
        while True:
            try:
                return call(*args, **kwargs)
            except Exception as error:
                if not _may_be_repeated(error) or time.monotonic() > end:
                    raise
            time.sleep(draw(0, _LONGEST_PAUSE_S))


class Patient:
    """An object each of whose methods is called patiently.

    Args:
        target: The object, MLflow's client for instance.
    """

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return partial(patiently, getattr(self._target, name))


def is_turned_back(said: str) -> bool:
    """Whether a database says that the call may be made again."""
    return _TURNED_BACK.search(said.partition("\n[SQL")[0]) is not None  # behind it stands what users wrote


def _may_be_repeated(error: Exception) -> bool:
    # MLflow's own refusals quote what users wrote.
    is_mlflows = getattr(error, "error_code", None) in ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS")
    return not is_mlflows and is_turned_back(str(error))


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep off the screen the traceback that MLflow logs each time."""
    logger = logging.getLogger("mlflow.store.db.utils")
    logger.addFilter(_is_else)
    try:
        yield
    finally:
        logger.removeFilter(_is_else)


def _is_else(record: logging.LogRecord) -> bool:
    return _TURNED_BACK.search(record.getMessage()) is None
