"""What MLflow's autologging could not log, which it tells its own log alone, and not even that with `silent=True`."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.logs import get_logger

_log = get_logger(__name__)
_MLFLOW = "mlflow.utils.autologging_utils"
_FAILED = "Encountered unexpected error during"
_KEPT = re.compile(r"Param with key='(?P<key>[^']*)' was already logged .{0,2000}? for run ID='(?P<run>[^']*)'", re.S)


@contextmanager
def failures_told(library: str) -> Iterator[None]:
    """Warn of each fit of this thread in the block that MLflow did not log as a whole.

    Args:
        library: What is fitted, for the warning.
    """
    told = _Teller(library)
    logger = logging.getLogger(_MLFLOW)
    logger.addHandler(told)
    try:
        yield
    finally:
        logger.removeHandler(told)


class _Teller(logging.Handler):
    def __init__(self, library: str) -> None:
        super().__init__(logging.WARNING)
        self._library = library
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.thread != self._thread or not text.startswith(_FAILED):
            return
        kept = list(_KEPT.finditer(text.replace("\\", "")))
        if not kept:
            _log.warning("MLflow has not logged all of a fit; silent=False shows why", library=self._library)
            return
        _log.warning(
            "the run has params of an earlier fit and keeps them; give each fit a run: tracker.run(nested=True)",
            params=", ".join(sorted({found["key"] for found in kept})),
            run=kept[0]["run"],
        )
