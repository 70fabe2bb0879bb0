"""Tables for the screen, and the same figures for a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Cell = str | float | int | None


@dataclass
class Table:
    """One topic's figures.

    Attributes:
        title: What was measured, and in which units.
        columns: The heads; one that begins with × holds ratios.
        rows: A label and its figures; None is a figure that there is not.
        notes: What a reader must know.
    """

    title: str
    columns: Sequence[str]
    rows: list[list[Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        """Append a row; missing cells at its end are empty."""
        self.rows.append([*cells, *[None] * (len(self.columns) - len(cells))])

    def note(self, label: str, text: str) -> None:
        """Say something below the table about one row, once."""
        line = f"{label}: {text}" if label else text
        if text and line not in self.notes:
            self.notes.append(line)

    def render(self) -> str:
        """Return the table as text."""
        grid = [list(self.columns), *([_text(cell, head) for cell, head in self._pairs(row)] for row in self.rows)]
        widths = [max(len(row[i]) for row in grid) for i in range(len(self.columns))]
        lines = [
            "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(pairs))
            for pairs in (list(zip(row, widths, strict=True)) for row in grid)
        ]
        rule = "-" * len(lines[0])
        return "\n".join([self.title, rule, lines[0], rule, *lines[1:], *(f"  {note}" for note in self.notes), ""])

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain data."""
        return {"title": self.title, "columns": list(self.columns), "rows": self.rows, "notes": self.notes}

    def _pairs(self, row: list[Cell]) -> list[tuple[Cell, str]]:
        return list(zip(row, self.columns, strict=True))


def ratio(theirs: float | None, ours: float | None) -> float | None:
    """Return theirs / ours, or None where one is missing."""
    return theirs / ours if theirs is not None and ours else None


def _text(cell: Cell, head: str) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    return f"{_number(cell) if cell >= 1 else f'{cell:.2g}'}×" if head.startswith("×") else _number(cell)


def _number(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
