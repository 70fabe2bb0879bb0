"""What libraries say of a training that is not for whoever started it."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

_LOGGERS = ("lightning.pytorch", "lightning.fabric")
# The loaders can go on in the middle of an epoch; the folder is the run's own, and its lock lies in it; and what
# Lightning asks torch for is between those two.
_UNTRUE = (
    ".*resum.*dataloader.*|.*dataloader.*resum.*",
    ".*does not have many workers.*",
    "Checkpoint directory .* exists and is not empty.*",
    ".*LeafSpec.* is deprecated.*",
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's notes and advertisements away, and those of its warnings that are not true of a `Session`.

    Its loggers write warnings and errors alone meanwhile, unless somebody has set them to something else than INFO,
    which is what Lightning itself sets.
    """
    noted = [logger for logger in map(logging.getLogger, _LOGGERS) if logger.level in (logging.INFO, logging.NOTSET)]
    levels = [logger.level for logger in noted]
    for logger in noted:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in _UNTRUE:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(noted, levels, strict=True):
            logger.setLevel(level)
