"""The drift report as a page of HTML that needs nothing else: no script, no style sheet, no font."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from holdfast.core.drift import ColumnDrift, DriftReport

HEADINGS = ("column", "drifted", "PSI", "test", "corrected p", "missing", "JS", "Wasserstein", "new / vanished")
_STYLE = (
    "body{font:15px/1.45 sans-serif;margin:2em;color:#222}table{border-collapse:collapse}"
    "th,td{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:left}tr.drifted{background:#fde8e4}"
)


def describe_column(column: ColumnDrift) -> list[str]:
    """Return the cells of a column's row, in the order of `HEADINGS`."""
    return [
        column.column,
        "yes" if column.has_drifted else "no",
        _number(column.psi),
        column.test or "",
        _number(column.corrected_p),
        _missing(column),
        _number(column.jensen_shannon),
        _number(column.wasserstein),
        _categories(column),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _missing(column: ColumnDrift) -> str:
    shares = f"{column.missing_reference:.1%} -> {column.missing_current:.1%}"
    return shares if column.missing_p is None else f"{shares} (p {column.missing_p:.3g})"


def _categories(column: ColumnDrift) -> str:
    said = [
        f"{count} {what} ({', '.join(names)}{' …' if count > len(names) else ''})"
        for what, count, names in (
            ("new", column.new_count, column.new),
            ("vanished", column.vanished_count, column.vanished),
        )
        if count
    ]
    return "; ".join([*said, *([column.note] if column.note else [])])


def summarize(report: DriftReport) -> str:
    """Return the answer in one sentence."""
    count = len(report.drifted)
    what = "no column has" if not count else "1 column has" if count == 1 else f"{count} columns have"
    rows = f"{report.rows_current:,} new rows against {report.rows_reference:,}"
    rule = f"corrected p below {report.alpha:g} and PSI of {report.min_psi:g} or more"
    return f"{what} drifted of {len(report.columns)} ({rows}; {rule}; {report.max_drifted} may)"


def make_page(report: DriftReport, title: str) -> str:
    """Return the page; whatever the columns are called is shown as text."""
    rows = [_row(describe_column(column), "td", column.has_drifted) for column in report.columns]
    apart = [
        f"<p>Only in {which}: {escape(', '.join(names))}</p>"
        for which, names in (("the reference", report.only_reference), ("the new data", report.only_current))
        if names
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    table = f"<table>{_row(HEADINGS, 'th')}{''.join(rows)}</table>"
    body = f"<h1>{escape(title)}</h1><p>{escape(summarize(report))}</p>{table}{''.join(apart)}"
    return f"<!doctype html><html><head>{head}</head><body>{body}</body></html>\n"


def _row(cells: Sequence[str], tag: str, is_drifted: bool = False) -> str:
    mark = ' class="drifted"' if is_drifted else ""
    return f"<tr{mark}>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
