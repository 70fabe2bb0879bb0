"""`python -m holdfast_examples.basketworld.app.screenshots`: the documentation's pictures of the page.

    python -m holdfast_examples.basketworld.app.screenshots --run RUN --out docs/images/basketworld

starts the app, plays the last policy of the run against its first in Chromium, and writes choosing.png, playing.png,
take-over.png, shot-chart.png, dark.png and phone.png.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli.output import get_output
from holdfast.errors import HoldfastError, ServerError

from .browser import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_SIZE = {"width": 1280, "height": 800}
_PHONE = {"width": 390, "height": 844}
_SETTLED_MS = 700


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the pictures; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m holdfast_examples.basketworld.app.screenshots")
    parser.add_argument("--run", help="the run whose policies play; random and greedy play without one")
    parser.add_argument("--out", type=Path, default=Path("docs/images/basketworld"), help="the folder for the pictures")
    parser.add_argument("--seed", type=int, default=7, help="of the first episode [7]")
    parser.add_argument("--episodes", type=int, default=40, help="played for the shot chart [40]")
    options = parser.parse_args(arguments)
    out = get_output()
    try:
        with _app(options.run) as address, chromium() as browser:
            names = take_pictures(browser, address, options.run, options.out, options.seed, options.episodes)
    except HoldfastError as error:
        out.error(error.message, error.hint)
        return error.exit_code
    out.line(f"{options.out}: {', '.join(names)}")
    return 0


def take_pictures(browser: Browser, address: str, run: str | None, out: Path, seed: int, episodes: int) -> list[str]:
    """Play on a page, and write what it looks like.

    Args:
        browser: Chromium.
        address: Of the app.
        run: The run that is chosen, if any.
        out: The folder.
        seed: Of the first episode.
        episodes: How many are played for the shot chart.

    Returns:
        The names of the pictures.
    """
    out.mkdir(parents=True, exist_ok=True)
    page = browser.new_page(viewport=_SIZE, device_scale_factor=1.5, color_scheme="light")  # type: ignore[arg-type]
    page.goto(address)
    _choose(page, run, seed)
    _shoot(page, out, "choosing")
    page.click("#start")
    page.wait_for_selector("#court .player")
    _press(page, "ArrowRight", "ArrowRight")
    _shoot(page, out, "playing")
    _press(page, "t")
    _shoot(page, out, "take-over")
    _press(page, "t")
    _play(page, episodes)
    _press(page, "c")
    _shoot(page, out, "shot-chart")
    _press(page, "c", "l")
    _shoot(page, out, "dark")
    _press(page, "l")
    page.set_viewport_size(_PHONE)  # type: ignore[arg-type]
    _shoot(page, out, "phone")
    page.close()
    return sorted(path.name for path in out.glob("*.png"))


def _choose(page: Page, run: str | None, seed: int) -> None:
    page.wait_for_selector("#runs:not([aria-busy]) .run")
    if run is not None:
        page.check(f'#runs input[value="{run}"]')
        page.wait_for_selector("#player-a option:nth-child(3)", state="attached")
    page.fill("#setup-seed", str(seed))


def _play(page: Page, episodes: int) -> None:
    """Play some episodes as fast as the server answers, and two turns of the next."""
    for _ in range(episodes):
        while page.is_hidden("#verdict"):
            _press(page, "ArrowRight")
        _press(page, "n")
    _press(page, "ArrowRight", "ArrowRight")


def _press(page: Page, *keys: str) -> None:
    """Press keys, each when the one before it has been answered."""
    for key in keys:
        page.wait_for_selector("body:not([data-waits])", state="attached")
        page.keyboard.press(key)
    page.wait_for_selector("body:not([data-waits])", state="attached")


def _shoot(page: Page, out: Path, name: str) -> None:
    page.wait_for_timeout(_SETTLED_MS)  # until everybody has arrived
    page.screenshot(path=out / f"{name}.png")


@contextmanager
def _app(run: str | None) -> Iterator[str]:
    command = [sys.executable, "-m", "holdfast_examples.basketworld.app", *(["--run", run] if run else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as app:
        try:
            line = app.stdout.readline() if app.stdout else ""
            if not line.strip():
                raise ServerError("The app did not start.", "see what it said above")
            yield line.removeprefix("BasketWorld: ").strip()
        finally:
            app.terminate()


if __name__ == "__main__":
    sys.exit(main())
