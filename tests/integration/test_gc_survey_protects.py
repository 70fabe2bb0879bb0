"""Surveys of real stores: what stays, and why."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from gc_survey_world import ORPHANS, World, going, on_disk, opened, why_kept
from histories import register, run_of

from holdfast import open_project
from holdfast.backend.history import EXPERIMENT, HISTORY_TAG, INDEX_EXPERIMENT
from holdfast.core.cleanup.plan import Kind
from holdfast.delivery.identity import RunAbout, save_about
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import LOCAL_PREFIX


@pytest.fixture
def local(sqlite_uri: str, tmp_path: Path) -> World:
    return on_disk(tmp_path, sqlite_uri)


def test_versions_protect_however_they_are_registered(local: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    mlflow.set_tracking_uri(local.project.connection.tracking_uri)
    local.client.create_registered_model("net")
    runs = {how: local.run(deleted=False) for how in ("runs", "model", "path", "link", "none")}
    model = local.model(runs["model"])
    os.symlink(local.place(runs["link"]), local.folder / "link")
    sources = {
        "runs": f"runs:/{runs['runs']}/0.txt",
        "model": f"models:/{model}",
        "path": f"{local.place(runs['path'])}/0.txt",
        "link": f"file://{local.folder}/link/1.txt",
    }
    for source in sources.values():
        local.client.create_model_version("net", source)
    local.client.set_registered_model_alias("net", "champion", 1)
    for run_id in runs.values():
        local.client.delete_run(run_id)
    found = local.look(ORPHANS)
    assert going(found) == {runs["none"]}
    assert why_kept(found, runs["runs"]) == "net version 1 (alias champion) needs it"
    assert all("needs it" in why_kept(found, runs[how]) for how in sources)
    assert going(found, Kind.MODEL) == going(found, Kind.ORPHAN) == set()


def test_histories_protect(local: World) -> None:
    """Rollback targets, approvals, versions that went around Holdfast, and the histories themselves."""
    registry = register(local.project, "net", local.folder / "net", versions=3)
    of_net = local.client.get_model_version("net", "1").run_id
    for number in (1, 2):
        registry.promote("net", number, "Production", reason="better")
    registry.request("net", 3, "Production", reason="please")
    register(local.project, "gone", local.folder / "gone")
    around = local.client.get_model_version("gone", "1").run_id
    local.client.delete_model_version("gone", "1")
    local.client.delete_run(of_net)
    local.client.delete_run(around)
    for name in (EXPERIMENT, INDEX_EXPERIMENT):
        local.client.delete_experiment(local.experiment(name))
    found = local.look(ORPHANS)
    assert found.troubles == ()
    assert found.plan.items == ()
    reasons = {need.why for need in found.state.needs if need.run_id == of_net}
    assert {why.split(" of net")[0] for why in reasons} == {"the way back", "the open request for approval"}
    assert "still has version 1" in why_kept(found, around)
    assert "history of registered models" in why_kept(found, run_of(local.project, "net"))


def test_a_history_that_cannot_be_read(local: World) -> None:
    register(local.project, "net", local.folder / "net")
    run_id = local.client.get_model_version("net", "1").run_id
    other = local.run()
    local.client.set_registered_model_tag("net", HISTORY_TAG, "0" * 32)
    local.client.delete_run(run_id)
    found = local.look()
    assert going(found) == {other}
    assert [trouble.place for trouble in found.troubles] == ["history of net"]
    assert "cannot be read" in why_kept(found, run_id)


def test_copies_of_histories_outlive_their_experiment(local: World, sqlite_template: Path, tmp_path: Path) -> None:
    """In a database that was made anew, with the same artifact root."""
    register(local.project, "net", local.folder / "net")
    shutil.copyfile(sqlite_template, tmp_path / "new.db")
    new = World(opened(tmp_path, f"sqlite:///{tmp_path}/new.db", str(tmp_path / "art")), tmp_path)
    new.run(deleted=False)
    found = new.look(ORPHANS)
    assert len(going(found, Kind.ORPHAN)) == 1
    assert not any(EXPERIMENT in place for place in going(found, Kind.ORPHAN))


def test_what_waits_in_the_journal(local: World) -> None:
    """Records, and files of runs begun offline, on the server by now or not."""
    settings = local.project.settings.model_copy(update={"delivery": "journal", "shipper": "none"})
    project = open_project(settings, journaled=True)
    delivered, logged, offline = (local.run(name) for name in ("a", "b", "c"))
    project.connection.client.log_metric(logged, "loss", 1.0)
    assert project.delivery is not None
    paths = project.delivery.journal.paths
    for name, begun_in in ((f"{LOCAL_PREFIX}1", local.experiment("c")), (f"{LOCAL_PREFIX}2", local.experiment("d"))):
        save_about(OsFileSystem(), paths.run(name), RunAbout(name, experiment_id=begun_in))
        (paths.run(name).folder / "artifacts").mkdir()
        (paths.run(name).folder / "artifacts" / "net.pt").write_text("12345")
    known = {"run_id": offline, "experiment_id": local.experiment("c"), "artifact_uri": local.place(offline)}
    paths.run(f"{LOCAL_PREFIX}1").resolved.write_text(json.dumps(known))
    local.client.delete_experiment(local.experiment("d"))
    found = local.look()
    assert going(found) == {delivered}
    for thing in (logged, offline, local.experiment("d")):
        assert "waits in the journal" in why_kept(found, thing)
    assert going(found, Kind.EXPERIMENT) == set()


def test_a_migration_under_way(local: World) -> None:
    local.run(deleted=False)
    root = local.folder / "art"
    for name in ("moved", "done", "lost"):
        local.fill(str(root / "runs" / name), files=1)
    folder = Path(local.project.settings.project_root, ".holdfast", "migrations", "abc")
    folder.mkdir(parents=True)
    records: list[dict[str, Any]] = [
        *({"is": "place", "old": f"/old/{name}", "new": str(root / "runs" / name)} for name in ("moved", "done")),
        {"is": "rewriting", "at": "", "places": ["/old/done"]},
    ]
    lines = [json.dumps(record) for record in records]
    (folder / "ledger.jsonl").write_text("\n".join([*lines, '{"is": "pla']))
    found = local.look(ORPHANS)
    assert {Path(place).name for place in going(found, Kind.ORPHAN)} == {"done", "lost"}
