"""What a tracking store answers to a person's command, as errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.core.sending import Refused, Sender, Unavailable
from holdfast.delivery.target import Target
from holdfast.errors import BackendError, BackendUnavailableError


@contextmanager
def asking(target: Target) -> Iterator[Sender]:
    """Give a way to a tracking store, closed afterwards.

    Raises:
        BackendUnavailableError: It cannot be reached.
        BackendError: It refuses what it was asked.
    """
    sender = target.sender()
    try:
        yield sender
    except Unavailable as error:
        hint = "mend what it says, and try again" if error.needs_people else "nothing is lost; try again later"
        raise BackendUnavailableError(
            f"{target.destination} cannot be reached: {error.reason}", hint, retryable=True
        ) from None
    except Refused as refusal:
        raise BackendError(f"{target.destination} refuses this: {refusal.reason}") from None
    finally:
        sender.close()
