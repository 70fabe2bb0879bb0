"""Asking before something is done; where nobody can be asked, nothing is done, and nothing hangs."""

from __future__ import annotations

import signal
import sys

import typer


def is_sure(question: str, yes: bool = False, nothing: str = "Nothing was changed") -> bool:
    """Ask whether to go on.

    Args:
        question: What to ask.
        yes: Whether it was said already.
        nothing: What to say where there is nobody to ask, or where Ctrl-C is the answer.

    Raises:
        InvalidInputError: There is nobody to ask.
        typer.Exit: Ctrl-C was the answer: with its code, of which typer would make that of no answer.
    """
    from holdfast.errors import InvalidInputError

    if yes:
        return True
    if not sys.stdin.isatty():
        raise InvalidInputError(f"{nothing}: there is no terminal to ask on.", "say so with --yes")
    try:
        return typer.confirm(question, err=True)
    except typer.Abort as abort:
        if not isinstance(abort.__context__, KeyboardInterrupt):
            raise
        typer.echo(f"\n{nothing}.", err=True)
        raise typer.Exit(128 + signal.SIGINT) from None
