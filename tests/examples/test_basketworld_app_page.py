"""The page in Chromium, as a person uses it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from holdfast.errors import MissingDependencyError
from holdfast_examples.basketworld.app.browser import chromium
from holdfast_examples.basketworld.app.screenshots import take_pictures

sys.path.insert(0, str(Path(__file__).parent))
from basketworld_page import RUN, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Read before the tests' clean environment takes it away.
_IS_SKIPPED = os.environ.get("HOLDFAST_NO_BROWSER") == "1"
pytestmark = pytest.mark.skipif(_IS_SKIPPED, reason="HOLDFAST_NO_BROWSER=1")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        with chromium() as browser:
            yield browser
    except MissingDependencyError as error:
        pytest.fail(f"{error.message} {error.hint}; or set HOLDFAST_NO_BROWSER=1 to go without these tests")


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page with a game of policy 3 against policy 1; it fails the test if anything is logged as wrong."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(60_000)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    _begin(page, address)
    yield page
    context.close()
    assert wrong == []


def _begin(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("#runs:not([aria-busy]) .run")
    page.fill("#search", "a1b2")
    page.get_by_text("just-begun").wait_for(state="detached")
    page.check(f'#runs input[value="{RUN}"]')
    page.select_option("#player-a", "policy 3")
    page.select_option("#player-b", "policy 1")
    page.fill("#setup-seed", "11")
    page.click("#start")
    page.wait_for_selector("#court .player")


def _press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)
        page.wait_for_selector("body:not([data-waits])", state="attached")


def _at(page: Page) -> int:
    return int(page.get_attribute("body", "data-at") or -1)


def _places(page: Page) -> list[str]:
    return list(page.eval_on_selector_all("#court .player", "all => all.map(one => one.style.transform)"))


def test_watch_step_back_and_replay(page: Page) -> None:
    assert "policy 3" in page.inner_text("#name-a")
    assert page.input_value("#seed") == "11"
    seen = [_places(page)]
    while page.is_hidden("#verdict") and len(seen) < 6:
        _press(page, "ArrowRight")
        seen.append(_places(page))
    for before in reversed(seen[:-1]):
        _press(page, "ArrowLeft")
        assert _places(page) == before
    assert page.is_disabled("#back")
    for after in seen[1:]:
        page.click("#step")
        page.wait_for_selector("body:not([data-waits])", state="attached")
        assert _places(page) == after
    page.fill("#speed", "5")
    page.click("#first")  # replays from the start, and goes on
    page.wait_for_selector("#play:text('Pause')")
    page.wait_for_selector("body[data-episode='2']", timeout=60_000)
    page.click("#play")
    assert page.inner_text("#play") == "Play"


def test_take_a_team_over_by_mouse_and_by_keyboard(page: Page) -> None:
    page.click("#take-a")
    page.wait_for_selector("#court .option")
    page.uncheck("#at-once")
    if page.get_attribute('#chips [data-player="0"]', "aria-pressed") != "true":
        page.click('#chips [data-player="0"]')
    page.locator("#court .option").first.click()
    page.wait_for_selector("#court .player.ordered")
    assert _at(page) == 0
    page.click("#go")
    page.wait_for_selector("body[data-at='1']")
    page.check("#at-once")
    page.keyboard.press("Escape")
    page.locator("#court").focus()
    _press(page, "0", "s")
    assert _at(page) == 2 or page.is_visible("#verdict")
    if page.is_hidden("#verdict"):
        _press(page, "f")
    page.wait_for_selector("#verdict:not([hidden])")
    assert page.locator("#log li").count() >= 2


def test_orders_that_are_not_legal_are_explained(page: Page) -> None:
    page.locator("#court").focus()
    _press(page, "f")
    assert "not yours to play" in page.inner_text("#notice")
    page.keyboard.press("t")
    page.wait_for_selector("#orders:not([hidden])")
    holder = page.locator("#chips button:has(.has)").get_attribute("data-player")
    page.keyboard.press("2" if holder == "0" else "1")
    page.keyboard.press("f")
    assert "cannot do that now: shoot" in page.inner_text("#notice")


def test_chances_quality_and_chart_are_shown(page: Page) -> None:
    assert page.locator("#bars li").count() > 3
    assert page.locator("#court .arrow").count() > 1
    assert page.locator("#quality .row").count() == 2
    assert page.locator("#court .worth").count() == 2
    page.click("#show-chances")
    assert page.locator("#court .arrow").count() == 0
    page.fill("#speed", "5")
    page.click("#play")
    page.wait_for_selector("body[data-episode='3']", timeout=60_000)
    page.click("#play")
    page.click("#show-chart")
    assert page.is_visible("#legend")
    shots = page.locator("#court .spot").count()
    assert (shots > 0) == ("no shots" not in page.inner_text("#chart-sum"))


def test_a_lost_connection_and_a_reload_take_the_session_up_again(page: Page) -> None:
    _press(page, "ArrowRight")
    places, score = _places(page), page.inner_text(".points")
    page.reload()
    page.wait_for_selector("#court .player")
    assert _at(page) == 1
    assert (_places(page), page.inner_text(".points")) == (places, score)


def test_seed_and_film(page: Page) -> None:
    page.fill("#seed", "77")
    page.click("#seed-form button")
    page.wait_for_selector("body[data-episode='1']")
    assert "seed 77" in page.inner_text("#turn")
    with page.expect_download() as download:
        page.click("#film")
    assert download.value.path().read_bytes()[:4] == b"GIF8"
    assert download.value.suggested_filename == "basketworld-seed-77.gif"


def test_it_fits_the_window(page: Page) -> None:
    for width, height in ((1280, 800), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width > 1000:
            assert page.evaluate("document.documentElement.scrollHeight") <= height
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, select')].filter(one => !one.closest('dialog') && "
        "!(one.ariaLabel || one.textContent.trim() || one.labels?.length)).map(one => one.id)"
    )
    assert unnamed == []


def test_an_unknown_run_is_told_in_the_dialog(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    page.wait_for_selector("#runs:not([aria-busy]) .run")
    page.check(f'#runs input[value="{"f" * 32}"]')
    page.wait_for_selector("#setup-problem:not([hidden])")
    assert "There is no run" in page.inner_text("#setup-problem")
    page.check('#runs input[value=""]')
    page.click("#start")
    page.wait_for_selector("#court .player")
    page.close()


def test_the_pictures_of_the_documentation(browser: Browser, address: str, tmp_path: Path) -> None:
    names = take_pictures(browser, address, RUN, tmp_path, seed=7, episodes=1)
    assert names == ["choosing.png", "dark.png", "phone.png", "playing.png", "shot-chart.png", "take-over.png"]
