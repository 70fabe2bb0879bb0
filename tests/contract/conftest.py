"""Which backends a suite runs on, where not on all of them."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the backends that a test's mark `backends` does not name."""
    left_out = [item for item in items if not _runs_on_its_backend(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def _runs_on_its_backend(item: pytest.Item) -> bool:
    mark = item.get_closest_marker("backends")
    params = getattr(getattr(item, "callspec", None), "params", {})
    return mark is None or params.get("tracking_uri") in (None, *mark.args)
