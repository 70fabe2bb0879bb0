"""How `holdfast gc` ends: early when it is told to, and with the code that says what is left."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from holdfast.cli.output import Output
    from holdfast.errors import HoldfastError
    from holdfast.maintenance.applying import Outcome
    from holdfast.maintenance.survey import Trouble
    from holdfast.maintenance.undoing import Undone

FOR_GOOD, LATER = 1, 3


@dataclass
class Stop:
    """Whether a clean-up is to end early.

    Attributes:
        event: Ends it between two batches.
        number: The signal that asked for it; 0 while none did.
    """

    event: threading.Event = field(default_factory=threading.Event)
    number: int = 0


@contextmanager
def stopping(out: Output) -> Iterator[Stop]:
    """Let Ctrl-C, SIGTERM and SIGHUP end a clean-up after what is under way; the second Ctrl-C ends it at once."""
    stop = Stop()

    def listen(number: int, frame: FrameType | None) -> None:
        if stop.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.number = stop.number or number
        stop.event.set()
        out.hint("ending after what is under way; Ctrl-C ends it at once")

    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, listen)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def later_if_retryable(out: Output) -> Iterator[None]:
    """End with 3 for an error after which the same command may succeed, where its own code does not say so."""
    from holdfast.errors import HoldfastError

    try:
        yield
    except HoldfastError as error:
        if not (error.retryable and error.exit_code == FOR_GOOD):
            raise
        out.error(error.message, error.hint)
        raise typer.Exit(LATER) from None


def end_interrupted(number: int) -> NoReturn:
    """End as a shell expects it of a command that a signal ended."""
    raise typer.Exit(128 + number)


def end(troubles: Sequence[Trouble], outcome: Outcome | None = None, out: Output | None = None) -> None:
    """End with what is left undone: 1 for good, 3 for now; return where nothing is.

    What ended it early is said as an error, since whoever reads only the last line must see it.
    """
    retryable = [trouble.retryable for trouble in troubles]
    if outcome is not None:
        retryable += [failure.retryable for refused in outcome.refused for failure in refused.failures]
        retryable += _early(outcome.error, outcome.left, out)
    _end_with(retryable)


def end_undone(undone: Undone, number: int, out: Output) -> None:
    """End with what was not brought back, as `end` does; `number` is the signal that ended it, or 0."""
    retryable = [failure.retryable for failure in undone.failures]
    retryable += _early(undone.error, 0 if number else undone.left, out)
    if number:
        end_interrupted(number)
    _end_with(retryable)


def _early(error: HoldfastError | None, left: int, out: Output | None) -> list[bool]:
    if error is None:
        return [True] if left else []
    if out is not None:
        out.error(error.message, error.hint)
    return [error.retryable or error.exit_code == LATER]


def _end_with(retryable: Sequence[bool]) -> None:
    if retryable:
        raise typer.Exit(LATER if all(retryable) else FOR_GOOD)
