"""Asking before something is done; where nobody can be asked, nothing is done, and nothing hangs."""

from __future__ import annotations

import sys

import typer


def is_sure(question: str, yes: bool = False, nothing: str = "Nothing was changed") -> bool:
    """Ask whether to go on.

    Args:
        question: What to ask.
        yes: Whether it was said already.
        nothing: What to say where there is nobody to ask.

    Raises:
        InvalidInputError: There is nobody to ask.
    """
    from holdfast.errors import InvalidInputError

    if yes:
        return True
    if not sys.stdin.isatty():
        raise InvalidInputError(f"{nothing}: there is no terminal to ask on.", "say so with --yes")
    return typer.confirm(question, err=True)
