"""The integration tier: real servers, real processes, real signals."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow

# What the files of this tier share (`journaling`) is imported by its name.
sys.path.insert(0, str(Path(__file__).parent))

from journaling import Nursery


@pytest.fixture(scope="session")
def session_nursery() -> Iterator[Nursery]:
    """Starts children; it takes seconds to be ready."""
    with Nursery() as found:
        yield found


@pytest.fixture(scope="module")
def nursery(session_nursery: Nursery) -> Iterator[Nursery]:
    """Starts children, which do not outlive the tests of a file."""
    yield session_nursery
    session_nursery.end_children()


@pytest.fixture
def proxy(mlflow_server: RunningMlflow) -> Iterator[FaultProxy]:
    """A network that fails on command, before the session's server."""
    with FaultProxy(mlflow_server.url) as found:
        yield found
