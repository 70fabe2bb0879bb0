"""Where MLflow's tables say that files lie: read in every schema, rewritten whole or not at all, or out of reach."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from migrating import ODD, World, contents, dump, moved, sums
from typer.testing import CliRunner

from holdfast.backend.locations import Change, read_catalog, rewrite
from holdfast.cli.app import app
from holdfast.core.redaction import Redactor
from holdfast.errors import BackendError
from holdfast.testing.fixtures import RunningMlflow

pytestmark = pytest.mark.timeout(120)


# -- the tables -------------------------------------------------------------------------


def test_all_rows_or_none(world: World, database: str, tmp_path: Path) -> None:
    world.tracking_uri = database
    for name in ("one", "two"):
        world.run(name, {"a": b"1"})
    migration = world.migration(str(tmp_path / "new"))
    changes = migration.survey().plan.changes
    stale = [*changes[:-1], replace(changes[-1], location=replace(changes[-1].location, uri="/another"))]
    before = world.dump()
    with pytest.raises(BackendError, match="changed by somebody else") as found:
        rewrite(database, stale, Redactor())
    assert found.value.retryable
    assert world.dump() == before
    assert rewrite(database, changes, Redactor()) == len(changes)


def test_a_registry_with_a_database_of_its_own(world: World, sqlite_template: Path, tmp_path: Path) -> None:
    registry = f"sqlite:///{shutil.copyfile(sqlite_template, tmp_path / 'registry.db')}"
    world.more = {"MLFLOW_REGISTRY_URI": registry}
    run = world.run("one", {"a": b"1"})
    world.register("model", run.artifact_uri, run.run_id)
    before, before_registry = world.dump(), dump(registry)
    to = str(tmp_path / "new")
    assert world.migrate(to).rows == 4
    assert world.dump() == moved(before, world.root, to)
    assert dump(registry) == moved(before_registry, world.root, to)


def test_the_tables_of_mlflow_3_0(tmp_path: Path) -> None:
    """The schema of its first release has no workspaces, and fewer tables."""
    uri = f"sqlite:///{tmp_path / 'old.db'}"
    _make_tables_of(uri, "6953534de441")
    rows = {
        "experiments": {"experiment_id": 7, "name": "old", "artifact_location": "/old/x", "lifecycle_stage": "active"},
        "runs": {"run_uuid": "r", "experiment_id": 7, "status": "FINISHED", "lifecycle_stage": "active",
                 "artifact_uri": "/old/x/r/artifacts"},
        "logged_models": {"model_id": "m-1", "experiment_id": 7, "name": "m", "artifact_location": "/old/x/models/m-1",
                          "creation_timestamp_ms": 1, "last_updated_timestamp_ms": 1, "status": 2,
                          "lifecycle_stage": "active"},
        "trace_info": {"request_id": "t", "experiment_id": 7, "timestamp_ms": 1, "status": "OK"},
        "trace_tags": {"request_id": "t", "key": "mlflow.artifactLocation", "value": "/old/x/traces/t/artifacts"},
        "registered_models": {"name": "reg"},
        "model_versions": {"name": "reg", "version": 1, "source": "/old/x/r/artifacts/model", "run_id": "r",
                           "storage_location": "/old/x/r/artifacts/model"},
    }  # fmt: skip
    _insert(uri, rows)
    before = dump(uri)
    catalog = read_catalog(uri, Redactor())
    assert {found.column.table for found in catalog.locations} == {
        *("experiments", "runs", "logged_models", "trace_tags", "model_versions")
    }
    changes = [Change(found, found.uri.replace("/old", "/new")) for found in catalog.locations]
    assert rewrite(uri, changes, Redactor()) == 6
    assert dump(uri) == moved(before, "/old", "/new")


def _make_tables_of(uri: str, revision: str) -> None:
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine

    engine = create_engine(uri)
    Base.metadata.create_all(engine)
    config = _get_alembic_config(uri)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def _insert(uri: str, rows: dict[str, dict[str, Any]]) -> None:
    from sqlalchemy import MetaData, create_engine

    engine = create_engine(uri)
    known = MetaData()
    known.reflect(engine)
    with engine.begin() as connection:
        for table, row in rows.items():
            connection.execute(known.tables[table].insert().values(**row))
    engine.dispose()


def test_over_a_server_that_keeps_its_database_to_itself(
    mlflow_server: RunningMlflow, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is copied and compared; the command for where the database is is told."""
    world = World(tmp_path / "project", mlflow_server.url, str(tmp_path / "old"))
    run = world.run(unique)
    to = tmp_path / "new"
    monkeypatch.chdir(world.folder)
    (world.folder / ".env").write_text(f"MLFLOW_TRACKING_URI={world.tracking_uri}\nMLFLOW_ARTIFACT_ROOT={world.root}\n")
    command = ["s3", "migrate", "--to", str(to), "--yes", "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout)["status"] == "copied"
    assert f"holdfast s3 migrate --from {world.root} --to {to}" in done.stderr.replace("\n", "")
    assert contents(to / unique / run.run_id / "artifacts") == sums(ODD)
    assert world.project().runs.get_run(run.run_id).artifact_uri.startswith(world.root)
