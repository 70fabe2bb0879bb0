"""How long the trash of a clean-up is protected from the next ones."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from gc_world import NOW, TRASH, ids, in_bucket
from sqlalchemy import create_engine, text

from holdfast.maintenance.asking import Asked
from holdfast.maintenance.survey import survey
from holdfast.maintenance.undoing import undo
from holdfast.testing import S3Access as Server


def test_as_long_as_deleted_runs_are(s3_server: Server, sqlite_uri: str, tmp_path: Path) -> None:
    world = in_bucket(s3_server, tmp_path / "project", sqlite_uri, versioned=True)
    gone, day, project = world.deleted(2), Asked(replace(NOW, older_than_s=86_400)), world.project()
    engine = create_engine(world.tracking_uri)
    with engine.begin() as connection:
        connection.execute(text("UPDATE runs SET deleted_time = 3"))
    engine.dispose()
    assert ids(survey(project, day).plan.items) == set(gone)
    outcome = world.apply(world.plan(TRASH))
    now_ms = time.time_ns() // 1_000_000
    soon = survey(project, day, now_ms=now_ms + 80_000_000).plan
    assert (soon.items, {one.id for one in soon.kept}) == ((), set(gone))
    assert all(f"holdfast gc undo {outcome.gc_id}" in one.why for one in soon.kept)
    late = survey(project, day, now_ms=now_ms + 87_000_000).plan
    at_once = world.plan()
    assert ids(late.items) == ids(at_once.items) == set(gone)
    assert [outcome.gc_id in said for said in (*late.told, *at_once.told)] == [True, True]
    undo(project)
    assert world.plan().told == ()
