"""A comparison as one HTML page: no script, no network, nothing taken from a run as markup.

All text is escaped. Images stand in `<img>` as data URIs, where a browser runs no script of an SVG and loads nothing
for it; a content security policy says the same once more.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from html import escape

from holdfast.core.bootstrap import PairedDifference
from holdfast.registry.comparison.sides import Plot, Side
from holdfast.registry.comparison.versions import Comparison, MetricRow, TextRow

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
:root { color-scheme: light dark; --ink: #1b2230; --soft: #5b6578; --line: #dde2ea; --back: #f6f7f9; --card: #fff;
  --a: #3563c9; --b: #b4560f; --mark: #fff4d6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b5; --line: #313948; --back: #12151b;
  --card: #1a1f28; --a: #86a8ff; --b: #f0a363; --mark: #3a3115; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem clamp(1rem, 4vw, 4rem) 4rem; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 72rem; margin: 0 auto; }
h1 { font-size: 1.6rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem; }
.card, table, figure { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.card { padding: 1rem 1.2rem; border-top-width: 4px; }
.card.a { border-top-color: var(--a); } .card.b { border-top-color: var(--b); }
.card h2 { margin: 0 0 .4rem; } .a b, th.a { color: var(--a); } .b b, th.b { color: var(--b); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .9rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .4rem .8rem; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; } tr:last-child td { border-bottom: 0; }
td.n, th.n { text-align: right; white-space: nowrap; }
tr.differs td { background: var(--mark); }
td i, .none { color: var(--soft); font-style: normal; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; padding: .8rem; } figure img { width: 100%; background: #fff; border-radius: .3rem; }
figcaption { color: var(--soft); margin-top: .4rem; overflow-wrap: anywhere; }
svg { vertical-align: middle; } svg line { stroke: var(--soft); } svg .i { stroke: var(--b); stroke-width: 4; }
svg circle { fill: var(--ink); } footer { margin-top: 3rem; color: var(--soft); }
"""


def page_of(comparison: Comparison, every: bool = False) -> str:
    """Return the page.

    Args:
        comparison: What is shown.
        every: Whether to show rows that are the same on both sides too.
    """
    a, b = comparison.a, comparison.b
    title = f"{comparison.name}: version {a.version.version} and version {b.version.version}"
    text_parts = (
        ("Params", comparison.params),
        ("Tags", comparison.tags),
        ("Signature", comparison.signature),
        ("Data, code and environment", comparison.lineage),
        ("Files (bytes)", comparison.files),
    )
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<div class="sides">{_card("a", "A", a)}{_card("b", "B", b)}</div>',
        _section("Metrics", _metrics(comparison.metrics)),
        *(_section(heading, _texts(rows, every)) for heading, rows in text_parts),
        _section("Plots", _plots(comparison)),
        _section("What could not be found out", _list(comparison.problems)) if comparison.problems else "",
        "<footer>A difference is B minus A. Made by Holdfast.</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main></body></html>\n"
    )


def number(value: float | None) -> str:
    """Return a number as people read it; an empty text for None."""
    return "" if value is None else f"{value:.6g}"


def percent(value: float | None) -> str:
    """Return a share as a percentage with its sign; an empty text for None."""
    return "" if value is None else f"{value:+.3g}" if not math.isfinite(value) else f"{value:+.2%}"


def interval(paired: PairedDifference | None) -> str:
    """Return an interval as text: `-0.01 to +0.03 (95 %, 4,000 examples)`."""
    if paired is None:
        return ""
    return f"{paired.low:+.4g} to {paired.high:+.4g} ({paired.confidence:.4g}, {paired.n:,} examples)"


def _section(heading: str, content: str) -> str:
    return f"<section><h2>{escape(heading)}</h2>{content}</section>"


def _card(kind: str, letter: str, side: Side) -> str:
    version = side.version
    rows = (
        ("stage", "" if version.stage is None else version.stage.value),
        ("aliases", ", ".join(version.aliases)),
        ("description", version.description),
        ("run", version.run_id),
        ("loads as", ", ".join(side.flavors)),
        ("files", f"{len(side.files):,}, {side.size_bytes:,} bytes"),
        ("checksum", side.checksum or "not recorded"),
    )
    items = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in rows if value)
    return f'<div class="card {kind}"><h2><b>{letter}</b> · version {version.version}</h2><dl>{items}</dl></div>'


def _metrics(rows: Sequence[MetricRow]) -> str:
    if not rows:
        return '<p class="none">No metrics.</p>'
    body = "".join(_metric(row) for row in rows)
    head = (
        '<th>metric</th><th class="n a">A</th><th class="n b">B</th><th class="n">difference</th>'
        '<th class="n">relative</th><th>interval, from the same examples</th>'
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _metric(row: MetricRow) -> str:
    difference = "" if row.difference is None else f"{row.difference:+.6g}"
    told = f"{_bar(row.paired)} {escape(interval(row.paired))}" if row.paired else f"<i>{escape(row.note)}</i>"
    cells = (number(row.a), number(row.b), difference, percent(row.relative))
    return (
        f"<tr><td>{escape(row.name)}</td>"
        + "".join(f'<td class="n">{escape(cell) or "<i>–</i>"}</td>' for cell in cells)
        + f"<td>{told}</td></tr>"
    )


def _bar(paired: PairedDifference) -> str:
    """Draw an interval with 0 in its middle; each metric has a unit, and so a scale, of its own."""
    reach = max(abs(paired.low), abs(paired.high)) or 1.0
    low, high, middle = (60 + 55 * value / reach for value in (paired.low, paired.high, paired.difference))
    return (
        '<svg width="120" height="16" role="img" aria-label="interval"><line x1="60" y1="0" x2="60" y2="16"/>'
        f'<line class="i" x1="{low:.1f}" y1="8" x2="{high:.1f}" y2="8"/><circle cx="{middle:.1f}" cy="8" r="3"/></svg>'
    )


def _texts(rows: Sequence[TextRow], every: bool) -> str:
    shown = [row for row in rows if every or row.differs]
    if not shown:
        return f'<p class="none">{"The same." if rows else "None."}</p>'
    body = "".join(
        f"<tr{' class=differs' if every and row.differs else ''}><td>{escape(row.name)}</td>{_cell(row.a)}"
        f"{_cell(row.b)}</tr>"
        for row in shown
    )
    return (
        '<div class="scroll"><table><thead><tr><th></th><th class="a">A</th><th class="b">B</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(value: str | None) -> str:
    return "<td><i>–</i></td>" if value is None else f"<td>{escape(value)}</td>"


def _plots(comparison: Comparison) -> str:
    more = comparison.plots_left_out
    note = f'<p class="none">{more:,} more are too large or too many for this page.</p>' if more else ""
    if not comparison.plots:
        return note or '<p class="none">Both runs have no image under the same path.</p>'
    return "".join(_plot(plot) for plot in comparison.plots) + note


def _plot(plot: Plot) -> str:
    figures = "".join(
        f'<figure><img alt="{escape(plot.path)}" src="{_data_uri(plot.media_type, content)}">'
        f"<figcaption>{letter} · {escape(plot.path)}</figcaption></figure>"
        for letter, content in (("A", plot.a), ("B", plot.b))
    )
    return f'<div class="pair">{figures}</div><p></p>'


def _data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _list(texts: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"
