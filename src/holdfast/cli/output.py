"""The one place that prints: data on stdout, everything said about it on stderr.

With `--json`, stdout holds one JSON document and nothing else, so that it can be piped.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

# Names of files may hold them; a line's end and a tab are the program's own.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x9b]")
# Columns of characters; rich makes a table as wide as its text, up to this.
_UNBOUNDED = 1_000_000


class Output:
    """Writes results for a person or for a program.

    Args:
        json: Print data as JSON; tables and lines are then left out.
    """

    def __init__(self, json: bool = False) -> None:
        self.json = json
        self._out = Console(file=sys.stdout, soft_wrap=True, emoji=False)
        self._err = Console(file=sys.stderr, soft_wrap=True, emoji=False)

    def data(self, obj: object) -> None:
        """Print `obj` as JSON on stdout; NaN and infinities become null, as JSON has none."""
        sys.stdout.write(writable(json.dumps(_plain(obj), indent=2, ensure_ascii=False)) + "\n")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table on stdout for a person; on a pipe it is as wide as its text, and nothing is wrapped."""
        if self.json:
            return
        table = Table(title=title or None, title_justify="left", header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(escape(writable(cell)) for cell in row))
        console = self._out if self._out.is_terminal else Console(file=sys.stdout, width=_UNBOUNDED, emoji=False)
        console.print(table)

    def line(self, text: str) -> None:
        """Print one line on stdout for a person."""
        if not self.json:
            self._out.print(writable(text), markup=False, highlight=False)

    def record(self, *fields: str) -> None:
        """Print one line on stdout for programs that read lines: fields with tabs between them, and none in them."""
        plain = (writable(field).replace("\t", "\\x09").replace("\n", "\\x0a") for field in fields)
        sys.stdout.write("\t".join(plain) + "\n")

    def hint(self, text: str) -> None:
        """Say on stderr what to do next."""
        self._err.print(writable(text), style="dim", markup=False, highlight=False)

    def warn(self, text: str) -> None:
        """Say on stderr what is not as it should be, though the command goes on."""
        self._err.print(writable(f"warning: {text}"), style="yellow", markup=False, highlight=False)

    def error(self, message: str, hint: str = "") -> None:
        """Say on stderr why the command failed, and what mends it."""
        self._err.print(writable(f"error: {message}"), style="red", markup=False, highlight=False)
        if hint:
            self._err.print(writable(f"  hint: {hint}"), markup=False, highlight=False)


def writable(text: str) -> str:
    """Return the text with what no terminal or file takes written as its number: half a surrogate pair, controls."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text.encode(errors="backslashreplace").decode())


def get_output(json: bool = False) -> Output:
    """Return the sink of this command."""
    return Output(json)


def _plain(obj: Any) -> Any:
    if isinstance(obj, dict):
        return {str(key): _plain(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple | set | frozenset):
        return [_plain(value) for value in obj]
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else None
    if obj is None or isinstance(obj, str | int | bool):
        return obj
    return str(obj)
