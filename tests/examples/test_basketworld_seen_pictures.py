"""Pictures, films and maps of the court: sizes, colours in their places, and files that open again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageSequence

from holdfast.errors import InvalidInputError
from holdfast_examples.basketworld.game.court import get_court
from holdfast_examples.basketworld.game.drawing import BALL_COLOUR, TEAM_COLOURS, picture
from holdfast_examples.basketworld.game.films import save_gif, save_mp4
from holdfast_examples.basketworld.game.games import Games
from holdfast_examples.basketworld.game.maps import hex_map
from holdfast_examples.basketworld.game.outlines import borders, centres, edge_of_floor, extent, three_point_line
from holdfast_examples.basketworld.game.rules import Rules
from holdfast_examples.basketworld.game.view import View

RULES = Rules()
VIEW = View((77, 100, 74, 63), 0, 17)
NEXT = View((78, 101, 75, 63), 1, 16)


def rgb(colour: str) -> npt.NDArray[np.int64]:
    return np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)])


def has_colour(frame: npt.NDArray[np.uint8], colour: str, near: int = 12) -> npt.NDArray[np.bool_]:
    return np.asarray((np.abs(frame.astype(int) - rgb(colour)) <= near).all(2))


def frames_in(film: Image.Image) -> int:
    return sum(1 for _ in ImageSequence.Iterator(film))


@pytest.mark.parametrize(("size", "players", "size_px"), [(12, 2, 480), (6, 3, 320), (24, 2, 250)])
def test_a_picture_has_its_size_both_teams_and_no_blank_area(size: int, players: int, size_px: int) -> None:
    rules = Rules(size=size, players=players)
    frame = picture(Games(rules, 2, 0), 1, rules, size_px=size_px, title="first half")
    assert frame.shape == (size_px, size_px, 3)
    assert frame.dtype == np.uint8
    areas = [has_colour(frame, colour).mean() for colour in TEAM_COLOURS]
    assert min(areas) > 0.0005
    # Each piece of the floor has lines or grain.
    floor = frame[size_px // 6 : -size_px // 20, size_px // 20 : -size_px // 20].astype(float)
    pieces = [piece for row in np.array_split(floor, 6) for piece in np.array_split(row, 6, 1)]
    assert min(piece.std() for piece in pieces) > 2


def test_same_game_same_picture_and_a_moment_later_another() -> None:
    np.testing.assert_array_equal(picture(VIEW, 0, RULES), picture(VIEW, 0, RULES))
    assert (picture(VIEW, 0, RULES) != picture(NEXT, 0, RULES)).any()
    assert (picture(NEXT, 0, RULES) != picture(NEXT, 0, RULES, before=VIEW)).any()


def test_players_stand_on_their_cells_and_the_ball_is_with_its_holder() -> None:
    frame = picture(VIEW, 0, RULES, size_px=480)
    without = picture(View(VIEW.cells, -1, VIEW.clock), 0, RULES, size_px=480)
    left, top, right, _ = extent(RULES.size)
    step = 480 * 0.96 / (right - left)
    for colour, cells in zip(TEAM_COLOURS, (VIEW.cells[:2], VIEW.cells[2:]), strict=True):
        rows, columns = np.nonzero(has_colour(frame, colour) & (np.arange(480)[:, None] > 60))
        middle = (centres(RULES.size)[list(cells)] - (left, top)).mean(0) * step
        assert abs(columns.mean() - middle[0] - 480 * 0.02) < 3
        spread = centres(RULES.size)[list(cells)].std(0) * step
        assert abs(rows.std() - spread[1]) < 10
    rows, columns = np.nonzero((frame != without).any(2))
    ball = (centres(RULES.size)[VIEW.cells[0]] - (left, top)) * step
    assert abs(columns.mean() - ball[0] - 480 * 0.02) < step / 2
    assert np.ptp(rows) < step / 2


def test_a_long_title_stops_before_the_clock() -> None:
    long, short = (picture(VIEW, 0, RULES, title=title) for title in ("long words " * 30, ""))
    changed = np.nonzero((long != short).any(2))
    assert 250 < changed[1].max() < 350
    assert changed[0].max() < 60


@pytest.mark.parametrize(
    ("view", "options"),
    [
        (VIEW, {"size_px": 20}),
        (VIEW, {"colours": ("red", "of roses")}),
        (VIEW, {"colours": ("red",)}),
        (View((77, 200, 74, 63), 0, 17), {}),
        (View((1, 2, 3, 4, 5, 6), 0, 17), {}),
        (VIEW, {"before": View((1, 2, 3, 4, 5, 6), 0, 17)}),
    ],
)
def test_pictures_that_cannot_be_drawn_are_refused(view: View, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        picture(view, 0, RULES, **options)


def test_a_view_survives_json_and_wrong_ones_are_refused() -> None:
    games = Games(Rules(players=3), 4, 0)
    view = View.of(games, 2)
    assert View.from_dict(json.loads(json.dumps(view.as_dict()))) == view
    assert view.cells == tuple(games.cells[2])
    assert view.players == 3
    with pytest.raises(InvalidInputError, match="no game 4"):
        View.of(games, 4)
    for wrong in ({}, {"cells": [1, 2, 3], "holder": 0, "clock": 1}, {"cells": 3, "holder": 0, "clock": 1}):
        with pytest.raises(InvalidInputError, match="view"):
            View.from_dict(wrong)


def test_a_gif_opens_again_with_every_frame_and_the_teams_colours(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    places = [tuple(rng.choice(144, 4, replace=False).tolist()) for _ in range(12)]
    frames = [picture(View(cells, turn % 2, 16 - turn), 0, RULES, size_px=240) for turn, cells in enumerate(places)]
    path = save_gif(frames, tmp_path / "films" / "game.gif", fps=4)
    with Image.open(path) as film:
        assert frames_in(film) == len(frames)
        film.seek(0)
        assert film.size == (240, 240)
        assert film.info["duration"] == 250
        assert film.info["loop"] == 0
        for index, frame in enumerate(frames):
            film.seek(index)
            shown = np.asarray(film.convert("RGB"))
            assert np.abs(shown.astype(int) - frame).mean() < 4
            for colour in (*TEAM_COLOURS, BALL_COLOUR):
                there = has_colour(frame, colour, near=2)
                middle = np.median(shown[there], 0)
                assert np.abs(middle - rgb(colour)).max() <= 8


def test_a_frame_that_stays_lasts_longer(tmp_path: Path) -> None:
    frames = [picture(view, 0, RULES, size_px=96) for view in (VIEW, NEXT, NEXT, NEXT)]
    with Image.open(save_gif(frames, tmp_path / "stays.gif", fps=10)) as film:
        assert frames_in(film) == 2
        film.seek(1)
        assert film.info["duration"] == 300


def test_an_mp4_is_a_film_with_even_sides(tmp_path: Path) -> None:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    frames = [picture(view, 0, RULES, size_px=161) for view in (VIEW, NEXT) * 3]
    path = save_mp4(frames, tmp_path / "game.mp4", fps=5)
    reader = imageio_ffmpeg.read_frames(str(path))
    about = next(reader)
    assert about["size"] == (162, 162)
    assert about["fps"] == 5
    shown = [np.frombuffer(one, np.uint8).reshape(162, 162, 3)[:161, :161] for one in reader]
    assert len(shown) == len(frames)
    assert np.abs(shown[0].astype(int) - frames[0]).mean() < 10


@pytest.mark.parametrize("save", [save_gif, save_mp4])
def test_films_of_nothing_or_of_two_sizes_are_refused(save: Any, tmp_path: Path) -> None:
    small, large = np.zeros((32, 32, 3), np.uint8), np.zeros((48, 32, 3), np.uint8)
    for frames, fps in (([], 4), ([small, large], 4), ([small], 0)):
        with pytest.raises(InvalidInputError, match="no film"):
            save(frames, tmp_path / "films" / "film", fps)
    assert not (tmp_path / "films").exists()


def test_the_three_point_line_runs_between_twos_and_threes() -> None:
    to_basket = get_court(12).to_basket
    lines = three_point_line(12, 4)
    assert len(lines) == 1
    places = (lines[0][1:] + lines[0][:-1]) / 2
    apart = np.linalg.norm(places[:, None] - centres(12)[None], axis=2)
    beside = np.sort(to_basket[np.argsort(apart, 1)[:, :2]], 1)
    assert (beside == [3, 4]).all()
    assert three_point_line(12, 40) == ()


def test_borders_are_closed_around_cells() -> None:
    one = np.zeros(144, bool)
    one[78] = True
    [line] = borders(12, one)
    assert line.shape == (7, 2)
    np.testing.assert_allclose(line[0], line[-1])
    np.testing.assert_allclose(line[:-1].mean(0), centres(12)[78])
    [edge] = edge_of_floor(12)
    np.testing.assert_allclose(edge[0], edge[-1])
    shown = extent(12)
    np.testing.assert_allclose([*edge.min(0), *edge.max(0)], shown)


def test_maps_are_saved_as_png_and_svg(tmp_path: Path) -> None:
    to_basket = get_court(12).to_basket
    values = np.where(to_basket < 9, 0.6 - 0.05 * to_basket, np.nan)
    counts = np.maximum(0, 40 - 6 * to_basket.astype(int))
    chart = hex_map(
        values, RULES, title="Shots", label="made", counts=counts, percent=True, cmap="RdYlBu_r", centre=0.4
    )
    drawn = chart.axes[0].collections[-2]
    assert len(drawn.get_paths()) == ((counts > 0) & np.isfinite(values)).sum()
    assert len(chart.axes) == 2
    assert chart.axes[1].get_ylabel() == "made"
    for name in ("chart.png", "chart.svg"):
        chart.savefig(tmp_path / name)
    with Image.open(tmp_path / "chart.png") as image:
        assert np.asarray(image.convert("L")).std() > 10


@pytest.mark.parametrize(
    ("values", "counts", "drawn"),
    [(np.full(144, np.nan), None, 0), (np.zeros(144), np.zeros(144, int), 0), (np.zeros(144), None, 144)],
    ids=["no value", "no count", "one value"],
)
def test_maps_of_nothing_or_of_one_value_can_be_drawn(
    values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64] | None, drawn: int, tmp_path: Path
) -> None:
    figure = hex_map(values, RULES, title="Empty", label="share", counts=counts)
    [hexagons] = (one for one in figure.axes[0].collections if one.get_array() is not None)
    assert len(hexagons.get_paths()) == drawn
    assert hexagons.norm.vmin < hexagons.norm.vmax  # else the colour bar would have no length
    figure.savefig(tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as image:
        assert np.asarray(image.convert("L")).std() > 10


def test_maps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="values of shape"):
        hex_map(np.zeros(100), RULES, title="", label="")
    with pytest.raises(InvalidInputError, match="counts of shape"):
        hex_map(np.zeros(144), RULES, title="", label="", counts=np.zeros(3, int))
    with pytest.raises(InvalidInputError, match="not in order"):
        hex_map(np.zeros(144), RULES, title="", label="", limits=(1.0, 0.0))
