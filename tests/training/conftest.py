"""The tier of training: Lightning and what trains without it, in small."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# What the files of this tier share (`small_training`) is imported by its name, by children too.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _deliver_by_a_thread(_clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process would import MLflow once more, for each test that logs to a database."""
    monkeypatch.setenv("HOLDFAST_SHIPPER", "thread")
