"""Why an export is refused."""

from __future__ import annotations

import re

from holdfast.errors import HoldfastError

_STYLE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class ExportError(HoldfastError):
    """A step of an export failed; no file is left of it, and nothing was logged or registered.

    Args:
        message: As of `HoldfastError`.
        hint: As of `HoldfastError`.
        retryable: As of `HoldfastError`.
        step: Which: `run` (the module itself), `export`, `check`, `load`, `parity`, `int8`, `publish`, `checkpoint`.
    """

    def __init__(self, message: str, hint: str = "", retryable: bool = False, step: str = "") -> None:
        super().__init__(message, hint, retryable)
        self.step = step

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.message, self.hint, self.retryable, self.step))


def in_short(error: BaseException, length: int = 400) -> str:
    """Return what an error of another library says, on one line, without a terminal's bold and colours."""
    text = " ".join(_STYLE.sub("", str(error)).split())
    shown = text if len(text) <= length else f"{text[: length - 1]}…"
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__
