"""What the tests of migrations begin with: a project with its files in a folder, and a bucket."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.testing import FaultProxy
from holdfast.testing import S3Access as Server

# What these files share (`migrating`) is imported by its name.
sys.path.insert(0, str(Path(__file__).parent))

from migrating import World, keys_of


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """A database of each kind."""
    uri: str = request.getfixturevalue("sqlite_uri" if request.param == "sqlite" else "postgres_uri")
    return uri


@pytest.fixture
def world(sqlite_uri: str, tmp_path: Path) -> World:
    """A project on SQLite with files in a folder."""
    return World(tmp_path / "project", sqlite_uri, str(tmp_path / "old root"))


@pytest.fixture
def bucket(s3_server: Server, unique: str) -> tuple[str, dict[str, str]]:
    """A bucket, and the settings with its keys."""
    name = f"m-{unique[-8:]}"
    return name, keys_of(s3_server.add_account(unique, [name]), s3_server.endpoint_url)


@pytest.fixture
def proxied(bucket: tuple[str, dict[str, str]], s3_server: Server) -> Iterator[tuple[str, dict[str, str], FaultProxy]]:
    """The same behind a network that fails on command."""
    with FaultProxy(s3_server.endpoint_url) as proxy:
        yield bucket[0], {**bucket[1], "MLFLOW_S3_ENDPOINT_URL": proxy.url}, proxy
