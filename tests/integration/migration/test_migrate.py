"""Moving what is stored: every byte arrives, MLflow finds it there, and nothing is lost or rewritten by half."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from migrating import MIB, ODD, World, contents, env_file, keys_of, moved, sums
from typer.testing import CliRunner

from holdfast.cli.app import app
from holdfast.errors import ArtifactError, InvalidInputError, NotFoundError
from holdfast.testing import S3Access as Server
from holdfast.testing.swift import SwiftAccess

pytestmark = pytest.mark.timeout(120)


# -- there and back ---------------------------------------------------------------------


def test_there_and_back(database: str, tmp_path: Path, bucket: tuple[str, dict[str, str]]) -> None:
    name, keys = bucket
    world = World(tmp_path / "project", database, str(tmp_path / "old root"), keys)
    run = world.run("one")
    empty = world.run("none", {})
    world.register("model", f"{run.artifact_uri}/deep", run.run_id)
    before, files = world.dump(), contents(Path(world.root))
    to = f"s3://{name}/team/models"
    outcome = world.migrate(to)
    assert (outcome.status, outcome.tally.files, outcome.rows) == ("moved", len(ODD), 6)
    assert world.dump() == moved(before, world.root, to)
    assert world.files(to, tmp_path / "fetched") == files == contents(Path(world.root))
    found = world.project().runs.get_run(run.run_id)
    assert found.artifact_uri == f"{to}/one/{run.run_id}/artifacts"
    assert world.files(found.artifact_uri, tmp_path / "of the run") == sums(ODD)
    assert (outcome.left_files, outcome.left_since != "") == (len(ODD), True)
    # And back, to another folder.
    back = tmp_path / "new root"
    world.root = to
    again = world.migrate(str(back))
    assert (again.status, again.tally.files, again.rows) == ("moved", len(ODD), 6)
    assert contents(back) == files
    assert world.dump() == moved(before, str(tmp_path / "old root"), str(back))
    assert world.project().runs.get_run(empty.run_id).artifact_uri.startswith(str(back))


def test_models_load_from_the_new_place(world: World, bucket: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    import mlflow

    name, keys = bucket
    world.more = keys
    project = world.project()
    project.experiment("models")
    mlflow.set_tracking_uri(world.tracking_uri)
    mlflow.set_registry_uri(world.tracking_uri)
    mlflow.set_experiment("models")

    class Twice(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, context: Any, model_input: list[str]) -> list[str]:
            return [text * 2 for text in model_input]

    with mlflow.start_run() as run:
        mlflow.pyfunc.log_model(
            name="twice", python_model=Twice(), registered_model_name="twice", pip_requirements=["mlflow"]
        )
        mlflow.log_text("text", "notes.txt")
    to = f"s3://{name}/moved"
    assert world.migrate(to).status == "moved"
    shutil.rmtree(world.root)
    project = world.project()
    claim = project.claim(to)
    for uri in ("models:/twice/1", f"runs:/{run.info.run_id}/twice"):
        assert mlflow.pyfunc.load_model(uri).predict(["a"]) == ["aa"]
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes.txt") == "text"
    assert claim is not None
    claim.release()


def test_between_servers(
    sqlite_uri: str, tmp_path: Path, bucket: tuple[str, dict[str, str]], swift_server: SwiftAccess, unique: str
) -> None:
    """From moto to Swift and its other keys; the bucket there has the same name, so that no location changes."""
    name, keys = bucket
    account = swift_server.add_account(unique, [name])
    theirs = keys_of(account, swift_server.endpoint_url)
    world = World(tmp_path / "project", sqlite_uri, f"s3://{name}/root", keys)
    run = world.run("one")
    files, before = {f"one/{run.run_id}/artifacts/{path}": sum_ for path, sum_ in sums(ODD).items()}, world.dump()
    to_env = env_file(tmp_path / "theirs.env", theirs)
    outcome = world.migrate(world.root, to_env=to_env)
    assert (outcome.status, outcome.tally.files, outcome.rows) == ("moved", len(files), 0)
    assert world.files(world.root, tmp_path / "there", **theirs) == files
    assert world.dump() == before
    assert account.secret_access_key not in world.ledgers[0].read_text()
    other = f"s3://{name}/elsewhere"
    again = world.migrate(other, to_env=to_env)
    assert again.rows == 2
    assert again.unreadable is not None
    assert again.unreadable.why.startswith(f"the files are at {swift_server.endpoint_url}, and the project's settings")
    assert world.files(other, tmp_path / "elsewhere", **theirs) == files


def test_a_new_place_that_the_projects_own_keys_do_not_reach(
    s3_server: Server, sqlite_uri: str, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever moves files there with other keys is told before and after that nobody can load them by the old ones."""
    names = [f"{word}-{unique[-8:]}" for word in ("ours", "theirs")]
    ours, theirs = (
        keys_of(s3_server.add_account(f"{unique}-{name}", [name]), s3_server.endpoint_url) for name in names
    )
    world = World(tmp_path / "project", sqlite_uri, f"s3://{names[0]}/root", ours)
    world.run("one", {"a": b"1"})
    to, to_env = f"s3://{names[1]}/root", env_file(tmp_path / "theirs.env", theirs)
    planned = world.migration(to, to_env=to_env).survey().unreadable
    assert planned is not None
    assert "AccessDenied" in planned.why
    assert f"put {', '.join(theirs)} of {to_env} into the .env" in planned.remedy
    assert theirs["MLFLOW_AWS_SECRET_ACCESS_KEY"] not in str(planned)
    env_file(world.folder / ".env", {**ours, "MLFLOW_TRACKING_URI": sqlite_uri, "MLFLOW_ARTIFACT_ROOT": world.root})
    monkeypatch.chdir(world.folder)
    command = ["s3", "migrate", "--to", to, "--to-env", str(to_env)]
    shown = CliRunner().invoke(app, [*command, "--dry-run"])
    assert f"will then be at {to}, which this project's own settings do not reach" in shown.stderr
    done = CliRunner().invoke(app, [*command, "--yes", "--json"])
    said = json.loads(done.stdout)
    assert (said["status"], said["own_settings"]["reach_new_root"]) == ("moved", False)
    assert f"are now at {to}, which this project's own settings do not reach" in done.stderr
    # To a place that both may read nothing is to be told.
    both = keys_of(s3_server.add_account(f"{unique}-both", names), s3_server.endpoint_url)
    world.root, world.more = to, both
    assert world.migrate(f"s3://{names[0]}/back", to_env=env_file(tmp_path / "both.env", both)).unreadable is None


def test_many_files_and_a_large_one(world: World, bucket: tuple[str, dict[str, str]], s3_server: Server) -> None:
    name, world.more = bucket
    files = {f"f{number:04}/{number}": str(number).encode() for number in range(1100)}
    run = world.run("many", {**files, "large.bin": os.urandom(20 * MIB + 1)})
    assert world.migrate(f"s3://{name}/r").tally.files == 1101
    pages = s3_server.client().get_paginator("list_objects_v2").paginate(Bucket=name)
    prefix = f"r/many/{run.run_id}/artifacts/"
    found = {item["Key"].removeprefix(prefix): item["Size"] for page in pages for item in page["Contents"]}
    assert found == {**{path: len(content) for path, content in files.items()}, "large.bin": 20 * MIB + 1}


# -- what is moved, and what is not -----------------------------------------------------


def test_only_what_is_meant(world: World, tmp_path: Path) -> None:
    """One experiment of two, whose root is the beginning of another's name; the other's rows and files stay."""
    run = world.run("one")
    neighbour = World(world.folder, world.tracking_uri, f"{world.root} too")
    neighbour.run("neighbour", {"x": b"1"})
    world.run("two", {"y": b"2"})
    world.register("one", run.artifact_uri, run.run_id)
    world.register("two", world.run("two", {"z": b"3"}).artifact_uri)
    before, to = world.dump(), tmp_path / "new"
    outcome = world.migrate(str(to), experiments=("one",))
    assert (outcome.status, outcome.rows) == ("moved", 4)
    assert contents(to) == sums({f"one/{run.run_id}/artifacts/{path}": content for path, content in ODD.items()})
    assert world.dump() == moved(before, f"{world.root}/one", f"{to}/one")
    assert world.migrate(str(to)).rows == 5
    assert world.dump() == moved(before, world.root, str(to))
    with pytest.raises(NotFoundError, match="no experiment 'three'"):
        world.migration(str(to), experiments=("three",)).survey()


def test_forms_of_a_folder(world: World, tmp_path: Path) -> None:
    """`file:` URIs are escaped, plain paths are not; both mean the same folder."""
    project = world.project()
    location = Path(world.root, "as a%uri").as_uri()
    made = project.runs.get_or_create_experiment("uri", location)
    run = project.runs.create_run(made.experiment_id, None, {})
    world.write(f"{world.root}/as a%uri/{run.run_id}/artifacts", ODD)
    project.runs.end_run(run.run_id, "FINISHED")
    assert run.artifact_uri.startswith("file:///")
    to = tmp_path / "new"
    assert world.migrate(str(to)).tally.files == len(ODD)
    found = world.project().runs.get_run(run.run_id).artifact_uri
    assert found == f"{to}/as a%uri/{run.run_id}/artifacts"
    assert contents(Path(found)) == sums(ODD)


def test_what_stays_and_why(world: World, tmp_path: Path) -> None:
    world.run("ended", {"a": b"1"})
    running = world.run("running", {"b": b"2"}, status="RUNNING")
    world.project().runs.get_or_create_experiment("proxied", "mlflow-artifacts:/proxied")
    before = world.dump()
    outcome = world.migrate(str(tmp_path / "new"))
    why = {item.what: item for item in outcome.left_out}
    assert running.run_id in why["experiment 'running'"].why
    assert "set_terminated" in why["experiment 'running'"].remedy
    assert "through the tracking server" in why["experiment 'proxied'"].why
    assert [item.what for item in outcome.left_out if item.is_for_now] == ["experiment 'running'"]
    assert world.dump() == moved(before, f"{world.root}/ended", f"{tmp_path}/new/ended")
    world.project().runs.end_run(running.run_id, "KILLED")
    outcome = world.migrate(str(tmp_path / "new"))
    assert (outcome.tally.files, outcome.rows) == (1, 2)


def test_files_in_the_journal_hold_an_experiment_back(world: World, tmp_path: Path) -> None:
    run = world.run("one", {"a": b"1"})
    settings = replace_settings(world)
    from holdfast.delivery.target import target_of
    from holdfast.journal.layout import JournalPaths
    from holdfast.journal.spool import Spool

    (tmp_path / "late").write_text("late")
    paths = JournalPaths(target_of(settings).root)
    (paths.root / "runs" / run.run_id).mkdir(parents=True)
    (paths.root / "processes").mkdir()
    Spool(paths).hand_over([(tmp_path / "late", "late")], run.run_id, run.artifact_uri, "access", "1-a-00000000")
    outcome = world.migrate(str(tmp_path / "new"))
    assert (outcome.status, outcome.rows) == ("nothing", 0)
    (held,) = [item for item in outcome.left_out if item.is_for_now]
    assert (held.remedy, "1 file waits in the journal" in held.why) == ("holdfast sync", True)


def replace_settings(world: World) -> Any:
    return world.project().settings


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("{root}", "is .* already|same place"),
        ("{root}/below", "lie in each other"),
        ("gs://bucket/x", "neither a folder nor in S3"),
        ("mlflow-artifacts:/x", "neither a folder nor in S3"),
        ("s3://models/te\nam", "holds a control character"),
        ("s3://models/${{TEAM}}", "which nothing has replaced"),
    ],
)
def test_roots_that_are_refused(world: World, to: str, words: str) -> None:
    world.project()
    with pytest.raises(InvalidInputError, match=words):
        world.migration(to.format(root=world.root))


def test_the_settings_name_the_new_root_already(world: World, tmp_path: Path) -> None:
    world.run("one", {"a": b"1"})
    world.run("two", {"a": b"1"})
    old, world.root = world.root, str(tmp_path / "new root")
    with pytest.raises(InvalidInputError, match=f"is {world.root} already; there are experiments in: {old}") as caught:
        world.migration(world.root)
    assert f"{old} (2)" in caught.value.message
    assert f"holdfast s3 migrate --from '{old}' --to '{world.root}'" in caught.value.hint
    assert world.migrate(world.root, source=old).status == "moved"
    with pytest.raises(InvalidInputError, match=r"new root already\.\n"):
        world.migration(world.root)


def test_a_location_that_is_too_long(world: World, tmp_path: Path) -> None:
    world.run("one", {"a": b"1"})
    with pytest.raises(InvalidInputError, match="database takes 200"):
        world.migration(f"{tmp_path}/{'x' * 150}").survey()


def test_the_old_root_is_missing(world: World, tmp_path: Path) -> None:
    world.run("one", {"a": b"1"})
    before = world.dump()
    os.rename(world.root, f"{world.root} unmounted")
    with pytest.raises(ArtifactError, match="does not exist"):
        world.migrate(str(tmp_path / "new"))
    assert world.dump() == before


# -- the command ------------------------------------------------------------------------


def test_the_command(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run("one")
    to = tmp_path / "new"
    monkeypatch.chdir(world.folder)
    (world.folder / ".env").write_text(f"MLFLOW_TRACKING_URI={world.tracking_uri}\nMLFLOW_ARTIFACT_ROOT={world.root}\n")
    runner = CliRunner()
    before = world.dump()
    planned = runner.invoke(app, ["s3", "migrate", "--to", str(to), "--dry-run", "--json"])
    assert (planned.exit_code, json.loads(planned.stdout)["files"]) == (0, len(ODD))
    refused = runner.invoke(app, ["s3", "migrate", "--to", str(to)])
    assert isinstance(refused.exception, InvalidInputError)
    assert (world.dump(), to.exists(), world.ledgers) == (before, False, [])
    done = runner.invoke(app, ["s3", "migrate", "--to", str(to), "--yes"])
    assert done.exit_code == 0, done.output
    assert f"{len(ODD)} files" in done.stdout
    assert f"MLFLOW_ARTIFACT_ROOT={to}" in done.stderr
    nothing = runner.invoke(app, ["s3", "migrate", "--from", str(tmp_path / "x"), "--to", str(to), "--yes"])
    assert (nothing.exit_code, "Nothing is to be moved." in nothing.stdout) == (0, True)
    world.run("two", {"a": b"1"}, status="RUNNING")
    held = runner.invoke(app, ["s3", "migrate", "--to", str(to), "--yes"])
    assert held.exit_code == 3
