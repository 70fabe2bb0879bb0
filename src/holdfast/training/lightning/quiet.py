"""Keeps away what Lightning says to everybody and what is not so here."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

_UNTRUE = (
    ".*resum.*dataloader.*|.*dataloader.*resum.*",  # the loaders can go on in the middle of an epoch
    ".*does not have many workers.*",
    "Checkpoint directory .* exists and is not empty",  # the run's own, which was made to take them
    ".*LeafSpec.*is deprecated.*",  # of Lightning's own code
)
_ADVERTISEMENT = "Tip: For seamless"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings away that are not true of a training of ours, and advertisements."""
    spoken = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    with warnings.catch_warnings():
        for message in _UNTRUE:
            warnings.filterwarnings("ignore", message=message)
        spoken.addFilter(_is_no_advertisement)
        try:
            yield
        finally:
            spoken.removeFilter(_is_no_advertisement)


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return _ADVERTISEMENT not in record.getMessage()
