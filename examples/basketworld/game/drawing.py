"""Pictures of a game, drawn with Pillow: a wooden floor, the lines, the players as numbered discs, and the ball."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw, ImageFont

from holdfast.errors import InvalidInputError

from .court import get_court
from .outlines import Floats, centres, corners, edge_of_floor, extent, three_point_line
from .rules import Rules
from .view import View

if TYPE_CHECKING:
    from .games import Games

TEAM_COLOURS = ("#1c5fb0", "#b3263a")  # the offence's, the defence's
BALL_COLOUR = "#ef8a1d"
_PAPER, _INK, _MUTED, _TRACK = "#fbf8f2", "#22303c", "#7a8894", "#e4dccd"
_WOOD, _WOOD_DARK, _LANE, _LINE = (226, 190, 140), (122, 82, 42), (176, 92, 52), (255, 252, 244)
_SEAM, _RIM = "#5a2c06", "#e2571e"
_FINER = 3  # everything is drawn so many times as large, and shrunk: soft edges
_HEADER = 0.11  # share of the picture's height
_MARGIN = 0.02
_LEAST_PX = 96


@dataclass(frozen=True)
class _Sheet:
    """How the court lies on the enlarged picture."""

    side: int
    step: float
    left: float
    top: float

    def at(self, points: Floats) -> list[tuple[float, float]]:
        placed = np.asarray(points) * self.step + (self.left, self.top)
        return [(float(x), float(y)) for x, y in placed.reshape(-1, 2)]


def picture(
    game: Games | View,
    index: int,
    rules: Rules,
    *,
    size_px: int = 480,
    colours: Sequence[str] = TEAM_COLOURS,
    title: str = "",
    before: View | None = None,
) -> npt.NDArray[np.uint8]:
    """Draw one game.

    Args:
        game: A batch of games, or a view of one.
        index: Which game of the batch; a view has one alone.
        rules: Of that game.
        size_px: Width and height; multiples of 16 suit films.
        colours: Of the offence and of the defence, as "#rrggbb" or a name.
        title: Words above the court; what does not fit beside the clock is cut.
        before: The moment before, whose steps and pass are drawn as trails.

    Returns:
        (size_px, size_px, 3) bytes.

    Raises:
        InvalidInputError: The picture is too small, a colour is unknown, or the game does not fit the rules.
    """
    if size_px < _LEAST_PX:
        raise InvalidInputError(f"a picture of {size_px} pixels is too small", hint=f"take {_LEAST_PX} or more")
    view = game if isinstance(game, View) else View.of(game, index)
    teams = _checked_colours(colours)
    for one in (view, before or view):
        _check_fits(one, rules)
    sheet = _sheet(rules.size, size_px)
    image = _floor(rules.size, rules.three_distance, size_px).copy()
    pen = ImageDraw.Draw(image, "RGBA")
    if before is not None:
        _draw_trails(pen, sheet, before, view, teams, rules)
    _draw_players(pen, sheet, view, teams, rules)
    _draw_header(pen, sheet, view, title, rules)
    return np.asarray(image.reduce(_FINER))


def _checked_colours(colours: Sequence[str]) -> tuple[tuple[int, int, int], ...]:
    try:
        offense, defense = (ImageColor.getrgb(colour)[:3] for colour in colours)
    except (ValueError, AttributeError) as error:
        raise InvalidInputError(
            f"these are no two colours: {colours!r:.80}", hint="give the offence's and the defence's, as \"#1c5fb0\""
        ) from error
    return (offense[0], offense[1], offense[2]), (defense[0], defense[1], defense[2])


def _check_fits(view: View, rules: Rules) -> None:
    if view.players != rules.players or not all(0 <= cell < rules.size**2 for cell in view.cells):
        raise InvalidInputError(
            f"players at cells {view.cells} do not fit {rules.players} a side on a court of size {rules.size}",
            hint="draw a game with the rules that it is played by",
        )


@functools.lru_cache(maxsize=16)
def _sheet(size: int, size_px: int) -> _Sheet:
    left, top, right, bottom = extent(size)
    side = size_px * _FINER
    room = side * (1 - _HEADER - _MARGIN)
    step = min(side * (1 - 2 * _MARGIN) / (right - left), room / (bottom - top))
    beside = (side - step * (right - left)) / 2
    above = side * _HEADER + (room - step * (bottom - top)) / 2
    return _Sheet(side, step, beside - step * left, above - step * top)


@functools.lru_cache(maxsize=16)
def _floor(size: int, three_distance: int, size_px: int) -> Image.Image:
    """Draw what is the same in every picture of a court."""
    sheet, court = _sheet(size, size_px), get_court(size)
    image = Image.new("RGB", (sheet.side, sheet.side), _PAPER)
    hexagons = [sheet.at(one) for one in corners(centres(size))]
    mask = Image.new("L", image.size, 0)
    for one in corners(centres(size), 1.01):
        ImageDraw.Draw(mask).polygon(sheet.at(one), fill=255)
    image.paste(_planks(sheet), mask=mask)
    pen = ImageDraw.Draw(image, "RGBA")
    for cell in np.flatnonzero(court.lane(three_distance)):
        pen.polygon(hexagons[cell], fill=(*_LANE, 70))
    for one in hexagons:
        pen.line([*one, one[0]], fill=(*_WOOD_DARK, 42), width=max(2, round(sheet.step * 0.025)))
    for line in edge_of_floor(size):
        # A closed line ends a corner late: a joint is drawn there too.
        pen.line(
            sheet.at(np.concatenate([line, line[1:2]])),
            fill=(*_WOOD_DARK, 255),
            width=max(3, round(sheet.step * 0.07)),
            joint="curve",
        )
    for line in three_point_line(size, three_distance):
        pen.line(sheet.at(line), fill=(*_LINE, 255), width=max(3, round(sheet.step * 0.085)), joint="curve")
    _draw_basket(pen, sheet, centres(size)[court.basket])
    return image


def _planks(sheet: _Sheet) -> Image.Image:
    """Make a floor of planks that runs toward the basket, each of its own tone, with a fine grain."""
    random = np.random.default_rng(7)
    thick, long = max(4, round(sheet.step * 0.42)), max(16, round(sheet.step * 3.1))
    rows, columns = np.indices((sheet.side, sheet.side), sparse=True)
    shift = random.integers(long, size=sheet.side // thick + 1)
    tone = random.normal(0, 6, (sheet.side // thick + 1, sheet.side // long + 2))
    plank = rows // thick
    light = tone[plank, (columns + shift[plank]) // long]
    grain = np.repeat(random.normal(0, 2.2, (sheet.side, sheet.side // 24 + 1)), 24, 1)[:, : sheet.side]
    light = light + grain - 9.0 * (rows % thick < _FINER)
    return Image.fromarray(np.clip(np.array(_WOOD) + light[..., None], 0, 255).astype(np.uint8))


def _draw_basket(pen: ImageDraw.ImageDraw, sheet: _Sheet, middle: Floats) -> None:
    [(x, y)] = sheet.at(middle)
    step = sheet.step
    pen.line([(x - step * 0.34, y - step * 0.36), (x - step * 0.34, y + step * 0.36)], fill=_INK, width=round(step / 9))
    pen.line([(x - step * 0.34, y), (x - step * 0.2, y)], fill=_RIM, width=round(step / 12))
    _disc(pen, (x, y), step * 0.24, fill=(255, 255, 255, 90), outline=_RIM, width=round(step * 0.09))


def _draw_trails(
    pen: ImageDraw.ImageDraw,
    sheet: _Sheet,
    before: View,
    view: View,
    teams: tuple[tuple[int, int, int], ...],
    rules: Rules,
) -> None:
    old, new = (sheet.at(centres(rules.size)[list(one.cells)]) for one in (before, view))
    for player, ends in enumerate(zip(old, new, strict=True)):
        pen.line(ends, fill=(*teams[player // rules.players], 120), width=round(sheet.step * 0.14))
        _disc(pen, ends[0], sheet.step * 0.13, fill=(*teams[player // rules.players], 150))
    if min(before.holder, view.holder) >= 0 and before.holder != view.holder:
        start, end = np.array(old[before.holder]), np.array(new[view.holder])
        dots = max(2, round(float(np.hypot(*(end - start))) / (sheet.step * 0.3)))
        for share in np.linspace(0, 1, dots):
            _disc(pen, tuple(start + share * (end - start)), sheet.step * 0.06, fill=BALL_COLOUR)


def _draw_players(
    pen: ImageDraw.ImageDraw, sheet: _Sheet, view: View, teams: tuple[tuple[int, int, int], ...], rules: Rules
) -> None:
    step = sheet.step
    font = ImageFont.load_default(step * 0.46)
    for player, (x, y) in enumerate(sheet.at(centres(rules.size)[list(view.cells)])):
        colour = teams[player // rules.players]
        _disc(pen, (x + step * 0.03, y + step * 0.06), step * 0.42, fill=(40, 22, 8, 80))
        _disc(pen, (x, y), step * 0.39, fill=colour, outline="white", width=round(step * 0.06))
        ink = "white" if np.dot(colour, (0.299, 0.587, 0.114)) < 150 else _INK
        pen.text((x, y), str(player % rules.players + 1), fill=ink, font=font, anchor="mm")
    if view.holder >= 0:
        [(x, y)] = sheet.at(centres(rules.size)[view.cells[view.holder]])
        _draw_ball(pen, x + step * 0.29, y + step * 0.27, step * 0.2)


def _draw_ball(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float) -> None:
    seam = max(1, round(radius * 0.14))
    _disc(pen, (x, y), radius, fill=BALL_COLOUR, outline=_SEAM, width=seam)
    pen.line([(x - radius, y), (x + radius, y)], fill=_SEAM, width=seam)
    pen.line([(x, y - radius), (x, y + radius)], fill=_SEAM, width=seam)


def _draw_header(pen: ImageDraw.ImageDraw, sheet: _Sheet, view: View, title: str, rules: Rules) -> None:
    """Write the title, and the clock as a number and as a bar that runs empty."""
    high, edge = sheet.side * _HEADER, sheet.side * _MARGIN * 1.5
    large, small = ImageFont.load_default(high * 0.44), ImageFont.load_default(high * 0.26)
    right = sheet.side - edge
    wide = sheet.side * 0.24
    share = min(max(view.clock / rules.shot_clock, 0.0), 1.0)
    colour = _INK if view.clock > 5 else "#b3263a"
    pen.text((right, high * 0.42), str(view.clock), fill=colour, font=large, anchor="rm")
    pen.text((right - wide, high * 0.42), "shot clock", fill=_MUTED, font=small, anchor="lm")
    bar = (right - wide, high * 0.78, right, high * 0.86)
    pen.rounded_rectangle(bar, high * 0.04, fill=_TRACK)
    if share > 0:
        pen.rounded_rectangle((right - wide * share, *bar[1:]), high * 0.04, fill=colour)
    room = right - wide - 2 * edge
    font = ImageFont.load_default(high * 0.34)
    pen.text((edge, high * 0.55), _cut(title, font, room), fill=_INK, font=font, anchor="lm")


def _cut(words: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float) -> str:
    line = " ".join(words.split())
    if font.getlength(line) <= room:
        return line
    while line and font.getlength(line + "…") > room:
        line = line[:-1]
    return line.rstrip() + "…"


def _disc(
    pen: ImageDraw.ImageDraw,
    middle: tuple[float, ...],
    radius: float,
    fill: str | tuple[int, ...],
    outline: str | None = None,
    width: int = 1,
) -> None:
    x, y = middle
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline=outline, width=width)
