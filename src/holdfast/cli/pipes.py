"""Standard output and error that may be closed, or whose reader may leave early (`| head`)."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# What a shell shows for a program that SIGPIPE ended. Not that signal itself: sockets cause it too.
_READER_LEFT = 141


def prepare_pipes() -> None:
    """Let output to a closed descriptor go nowhere, and end quietly, with 141, once a reader has left.

    Where the output cannot be written, as on a full disk, one line says so, and the command ends with 1.

    Ending is a `SystemExit` from within the write, which neither typer nor rich takes for an error of theirs.
    """
    for fd in (0, 1, 2):
        _fill(fd)
    sys.stdout = _patient(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _patient(sys.stderr, sys.__stderr__, 2)


class _Pipe(io.FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            self._give_up()
            sys.exit(_READER_LEFT)
        except OSError as error:
            self._give_up()
            if self.fileno() == 1:
                sys.stderr.write(f"error: cannot write the output: {error.strerror}\n")
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    sys.stderr.write("  hint: free space on the disk that it goes to, or let it go elsewhere\n")
                sys.exit(1)
            return len(memoryview(data))  # of standard error: there is nobody left who could be told

    def _give_up(self) -> None:
        """Let what is still buffered go nowhere: it must go somewhere when the interpreter ends."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())


def _fill(fd: int) -> None:
    """Open the null device in place of a closed descriptor, before a database's file gets that number."""
    try:
        os.fstat(fd)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def _patient(stream: TextIO | None, original: TextIO | None, fd: int) -> TextIO:
    if stream is not original:
        return stream or open(os.devnull, "w", encoding="utf-8")  # whoever replaced it knows why
    encoding, errors = (stream.encoding, stream.errors) if stream else ("utf-8", "backslashreplace")
    is_line_buffered = fd == 2 or os.isatty(fd)
    buffer = io.BufferedWriter(_Pipe(fd, "w", closefd=False))
    return io.TextIOWrapper(buffer, encoding, errors, line_buffering=is_line_buffered)
