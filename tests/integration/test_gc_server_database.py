"""Clean-up of what a server keeps, in the database behind it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from gc_world import NOW, GcWorld, ids

from holdfast.errors import SettingsError
from holdfast.maintenance.applying import apply
from holdfast.maintenance.asking import Asked
from holdfast.maintenance.survey import survey
from holdfast.server import ServerOptions
from holdfast.testing import LocalMlflowServer


@pytest.fixture
def world(sqlite_uri: str, tmp_path: Path) -> Iterator[GcWorld]:
    """A project of a server; the database behind it is at `sqlite_uri`."""
    destination = str(tmp_path / "served")
    with LocalMlflowServer(ServerOptions(sqlite_uri, artifacts_destination=destination, port=0)) as server:
        yield GcWorld(tmp_path / "project", server.url, "mlflow-artifacts:/root")


def test_rows_go_from_the_database_of_the_server_and_of_no_other(
    world: GcWorld, sqlite_uri: str, tmp_path: Path
) -> None:
    kept, gone = world.runs(1), world.deleted(2)
    shutil.copy(sqlite_uri.removeprefix("sqlite:///"), tmp_path / "copy.db")
    asked = Asked(NOW, backend_store_uri=sqlite_uri)
    plan = survey(world.project(), asked).plan
    assert ids(plan.items) == set(gone)
    world.deleted(1)
    with pytest.raises(SettingsError, match="an old copy of it"):
        survey(world.project(), Asked(NOW, backend_store_uri=f"sqlite:///{tmp_path}/copy.db"))
    outcome = apply(world.project(), plan, asked)
    assert (outcome.error, outcome.refused, outcome.skipped) == (None, (), ())
    assert outcome.rows["runs"] == 2
    behind = GcWorld(world.folder, sqlite_uri, world.root)
    assert not behind.rows_naming(*gone)
    assert behind.rows_naming(*kept)["runs"] == 1
    files = [path for path in (tmp_path / "served").rglob("*") if path.is_file()]
    assert sum(kept[0] in str(path) for path in files) == 2
    assert not any(run_id in str(path) for path in files for run_id in gone)


def test_a_destination_that_is_not_the_servers_is_refused(world: GcWorld, sqlite_uri: str, tmp_path: Path) -> None:
    """All files would look as if they were gone already, and the rows would go; where no run has any, nothing shows."""
    (tmp_path / "wrong" / "root").mkdir(parents=True)
    wrong = Asked(NOW, backend_store_uri=sqlite_uri, artifacts_destination=str(tmp_path / "wrong"))
    right = replace(wrong, artifacts_destination=str(tmp_path / "served"))
    without = world.deleted(2, files={})
    assert ids(survey(world.project(), wrong).plan.items) == set(without)
    told = gone = world.deleted(1)
    for _ in range(2):
        with pytest.raises(SettingsError, match=f"run {told[0]} that are not below {tmp_path}/wrong"):
            survey(world.project(), wrong)
        told = world.runs(1)  # live ones are asked for first
    found = survey(world.project(), right)
    assert (found.troubles, ids(found.plan.items)) == ((), {*without, *gone})
