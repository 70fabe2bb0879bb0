"""Chromium, driven by Playwright: for pictures of the page and for its tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from holdfast.errors import MissingDependencyError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def find_chromium() -> str:
    """Return the path of Chromium.

    Raises:
        MissingDependencyError: There is none.
    """
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise MissingDependencyError(
            f"Chromium is not installed: none of {', '.join(_NAMES)} is on the PATH.", "apt-get install chromium"
        )
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium, without a window.

    Raises:
        MissingDependencyError: Playwright or Chromium is not installed.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise MissingDependencyError("Playwright is not installed.", "pip install playwright") from None
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()
