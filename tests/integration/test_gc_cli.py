"""`holdfast gc`: what it shows, asks, writes, prints, and with which code it ends."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner, Result

from holdfast.cli.app import app
from holdfast.core.cleanup.plan import from_text
from holdfast.errors import CredentialsError, HoldfastError, InvalidInputError, NotFoundError
from holdfast.testing import S3Access

Gc = Callable[..., Result]
ALL = ("--older-than", "0s", "--grace", "0s")


@pytest.fixture
def gc() -> Gc:
    def call(*arguments: str, **how: Any) -> Result:
        done = CliRunner().invoke(app, ["gc", *arguments], **how)
        if done.exception is not None and not isinstance(done.exception, SystemExit | HoldfastError):
            raise done.exception
        return done

    return call


@pytest.fixture
def client(sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A store whose experiment keeps its files in a folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri)
    client = MlflowClient(sqlite_uri)
    client.create_experiment("old", artifact_location=str(tmp_path / "files" / "old"))
    return client


def add_run(client: MlflowClient, name: str = "run", experiment: str = "old", is_deleted: bool = True) -> str:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    run = client.create_run(found.experiment_id, run_name=name)
    client.log_text(run.info.run_id, "content", "a.txt")
    client.set_terminated(run.info.run_id)
    if is_deleted:
        client.delete_run(run.info.run_id)
    return str(run.info.run_id)


def add_production(client: MlflowClient) -> str:
    """Register what a run has, and delete that run."""
    run_id = add_run(client, "champion", is_deleted=False)
    client.create_registered_model("fraud")
    client.create_model_version("fraud", f"{client.get_run(run_id).info.artifact_uri}", run_id)
    client.set_registered_model_alias("fraud", "champion", "1")
    client.delete_run(run_id)
    return run_id


def run_ids(client: MlflowClient) -> set[str]:
    experiments = [found.experiment_id for found in client.search_experiments(view_type=3)]
    return {run.info.run_id for run in client.search_runs(experiments, run_view_type=3)}


def files(tmp_path: Path) -> list[str]:
    return sorted(path.parts[-3] for path in (tmp_path / "files").rglob("*") if path.is_file())


def code(done: Result) -> int:
    """Return the code that the process would end with."""
    return done.exception.exit_code if isinstance(done.exception, HoldfastError) else done.exit_code


# -- showing ---------------------------------------------------------------------------


def test_a_plan_says_what_why_how_large_and_what_is_protected(gc: Gc, client: MlflowClient, tmp_path: Path) -> None:
    gone, kept, alive = add_run(client, "loser"), add_production(client), add_run(client, is_deleted=False)
    for arguments in (ALL, (*ALL, "--dry-run")):
        done = gc(*arguments)
        assert done.exit_code == 0
        assert f"loser ({gone})" in done.stdout
        assert "deleted" in done.stdout
        assert "to be reclaimed" in done.stdout
        assert f"champion ({kept})" in done.stdout
        assert "fraud version 1 (alias champion) needs it" in done.stdout
        assert alive not in done.stdout
        assert "nothing was changed" in done.stderr
    assert run_ids(client) == {gone, kept, alive}
    assert len(files(tmp_path)) == 3
    assert not Path(".holdfast").exists()


def test_what_is_young_stays_by_default(gc: Gc, client: MlflowClient) -> None:
    add_run(client)
    assert "Nothing is to be cleaned up." in gc().stdout
    Path("pyproject.toml").write_text('[tool.holdfast.gc]\nolder-than = "0s"\ngrace = "0s"\n')
    assert "to be reclaimed" in gc().stdout
    assert "Nothing is to be cleaned up." in gc("--older-than", "1m").stdout


def test_a_plan_as_json_is_one_document(gc: Gc, client: MlflowClient, sqlite_uri: str) -> None:
    gone, kept = add_run(client, "loser"), add_production(client)
    told = json.loads(gc(*ALL, "--json").stdout)
    assert told["status"] == "planned"
    assert told["tracking_uri"] == sqlite_uri
    (item,) = told["plan"]["items"]
    assert (item["kind"], item["id"], item["name"], item["action"]) == ("run", gone, "loser", "purge")
    assert item["holding"]["objects"] == 1
    assert item["holding"]["all_bytes"] == len("content")
    (protected,) = told["plan"]["kept"]
    assert (protected["id"], protected["why"]) == (kept, "fraud version 1 (alias champion) needs it")
    assert told["plan"]["totals"]["items"] == {"run": 1}
    assert (told["troubles"], told["outcome"]) == ([], None)


def test_only_so_many_lines_are_shown(gc: Gc, client: MlflowClient) -> None:
    names = {add_run(client, f"run-{number}") for number in range(5)}
    shown = gc(*ALL, "--limit-shown", "2").stdout
    assert sum(name in shown for name in names) == 2
    assert "and 3 more" in shown
    assert all(name in gc(*ALL, "--limit-shown", "0").stdout for name in names)
    assert len(json.loads(gc(*ALL, "--limit-shown", "2", "--json").stdout)["plan"]["items"]) == 5


def test_experiments_and_runs_narrow_it(gc: Gc, client: MlflowClient, tmp_path: Path) -> None:
    client.create_experiment("other", artifact_location=str(tmp_path / "files" / "other"))
    one, two, other = add_run(client), add_run(client), add_run(client, experiment="other")
    alive = add_run(client, is_deleted=False)

    def planned(*arguments: str) -> set[str]:
        return {item["id"] for item in json.loads(gc(*ALL, "--json", *arguments).stdout)["plan"]["items"]}

    assert planned() == {one, two, other}
    assert planned("-e", "other") == {other}
    assert planned("-e", "other", "-e", "old") == {one, two, other}
    assert planned("--run-ids", f"{one}, {other}") == {one, other}
    assert planned("-e", "old", "--run-ids", f"{one},{other}") == {one}
    told = gc(*ALL, "--run-ids", f"{one},{alive},missing").stderr
    assert "there is no run missing" in told
    assert f"run {alive} is not deleted" in told


# -- doing -----------------------------------------------------------------------------


def test_applying_asks_and_says_what_it_did(
    gc: Gc, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, kept = add_run(client), add_production(client)
    refused = gc(*ALL, "--apply")  # a script that forgot --yes neither hangs nor deletes
    assert isinstance(refused.exception, InvalidInputError)
    assert refused.exception.hint == "say so with --yes"
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda _: True)
    no = gc(*ALL, "--apply", input="n\n")
    assert no.exit_code == 1
    assert "Delete 1 run with 1 object (7 bytes) for good?" in no.stderr
    assert run_ids(client) == {gone, kept}
    done = gc(*ALL, "--apply", input="y\n")
    assert done.exit_code == 0, done.output
    assert "Done: 1 run\nDeleted: 1 object\n" in done.stdout
    assert "Reclaimed: 7 bytes" in done.stdout
    assert run_ids(client) == {kept}
    assert files(tmp_path) == [kept]
    assert "Nothing is to be cleaned up." in gc(*ALL, "--apply").stdout  # and nothing is asked


def test_applying_as_json(gc: Gc, client: MlflowClient) -> None:
    gone = add_run(client)
    told = json.loads(gc(*ALL, "--apply", "--yes", "--json").stdout)
    assert told["status"] == "applied"
    outcome = told["outcome"]
    assert [item["id"] for item in outcome["done"]] == [gone]
    assert outcome["reclaimed"]["objects"] == 1
    assert outcome["rows"]["runs"] == 1
    assert (outcome["skipped"], outcome["refused"], outcome["left"], outcome["error"]) == ([], [], 0, None)
    assert json.loads(gc(*ALL, "--apply", "--json").stdout)["status"] == "nothing to do"


def test_the_tracking_uri_overrides_the_settings(
    gc: Gc, client: MlflowClient, sqlite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = add_run(client)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    done = gc(*ALL, "--tracking-uri", sqlite_uri, "--apply", "-y")
    assert done.exit_code == 0
    assert gone not in run_ids(client)


def test_a_stop_between_two_things_is_told(gc: Gc, client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.artifacts.transfer import Silent

    class Impatient(Silent):
        def begin(self, files: int, size_bytes: int) -> None:
            if threading.current_thread() is threading.main_thread():
                os.kill(os.getpid(), signal.SIGINT)

    gone = add_run(client)
    monkeypatch.setattr(
        "holdfast.artifacts.progress.meter_for",
        lambda doing: Impatient() if doing == "delete" else Silent(),
    )
    done = gc(*ALL, "--apply", "--yes")
    assert done.exit_code == 130
    assert "ending after what is under way" in done.stderr
    assert "1 item of 1 were not begun" in done.stderr
    assert gone in run_ids(client)
    monkeypatch.undo()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    assert gc(*ALL, "--apply", "--yes").exit_code == 0
    assert gone not in run_ids(client)


# -- plans as files --------------------------------------------------------------------


def test_a_plan_is_written_kept_and_applied(gc: Gc, client: MlflowClient, tmp_path: Path) -> None:
    first, second = add_run(client, "first"), add_run(client, "second")
    done = gc(*ALL, "--plan", "my plan")
    assert done.exit_code == 0
    assert "holdfast gc --apply --plan 'my plan'" in done.stderr
    path = Path("my plan")
    assert path.stat().st_mode & 0o777 == 0o600
    assert {item.id for item in from_text(path.read_text()).items} == {first, second}
    client.restore_run(second)
    later = add_run(client, "later")
    done = gc("--apply", "--plan", "my plan", "--yes")
    assert done.exit_code == 0, done.output
    assert "restored" in done.stdout
    assert run_ids(client) == {second, later}
    assert files(tmp_path) == sorted([second, later])
    assert gc(*ALL, "--plan", "my plan").exit_code == 0  # a plan takes the place of a plan
    assert {item.id for item in from_text(path.read_text()).items} == {later}
    assert [found.name for found in Path().iterdir() if found.name.startswith(".holdfast-plan")] == []


def test_a_plan_through_a_pipe(gc: Gc, client: MlflowClient) -> None:
    gone = add_run(client)
    text = gc(*ALL, "--plan", "-").stdout
    assert [item.id for item in from_text(text).items] == [gone]
    assert gc("--apply", "--plan", "-", "--yes", input=text).exit_code == 0
    assert run_ids(client) == set()


def test_a_plan_takes_the_place_of_nothing_else(gc: Gc, client: MlflowClient) -> None:
    for content in ("keep me", '{"plan": "something else"}\n', "\0\1"):
        Path("file").write_text(content)
        done = gc(*ALL, "--plan", "file")
        assert isinstance(done.exception, InvalidInputError)
        assert "is no plan" in done.exception.message
        assert Path("file").read_text() == content
    Path("file").write_text("")  # as `mktemp` makes one
    assert gc(*ALL, "--plan", "file").exit_code == 0
    assert from_text(Path("file").read_text()).items == ()
    for name in (".", "", "missing/plan"):
        assert isinstance(gc(*ALL, "--plan", name).exception, InvalidInputError)


def test_a_plan_that_was_edited_cut_or_is_none_is_refused(gc: Gc, client: MlflowClient) -> None:
    gone = add_run(client)
    gc(*ALL, "--plan", "plan")
    text = Path("plan").read_text()
    for broken in (text.replace("purge", "trash"), text[:-20], text.split("\n", 1)[1], "", "{}\n", "\0", text * 2):
        Path("plan").write_text(broken)
        done = gc("--apply", "--plan", "plan", "--yes")
        assert code(done) == 2
        assert isinstance(done.exception, InvalidInputError)
    assert code(gc("--apply", "--plan", "nowhere", "--yes")) == 2
    assert run_ids(client) == {gone}


def test_what_contradicts_a_plan_is_refused(gc: Gc, client: MlflowClient) -> None:
    gc("--plan", "plan")
    for option in ("--older-than 0s", "--grace 1d", "--orphans", "--retention", "--trash", "-e old", "--run-ids a"):
        done = gc("--apply", "--plan", "plan", "--yes", *option.split())
        assert done.exit_code == 2
        assert "contradicts" in done.output


# -- what cannot be --------------------------------------------------------------------


def test_an_age_that_is_none(gc: Gc) -> None:
    for age in ("30", "-1d", "1e9d", "", "d", "1d ago", "30D", "9999999999d", "nan", "1s1d"):
        option = "--older-than" if len(age) % 2 else "--grace"
        done = gc(option, age, "--apply", "--yes")
        assert isinstance(done.exception, InvalidInputError)
        assert option in done.exception.message
        assert "30d" in done.exception.hint
    assert isinstance(gc("--grace", "30", "--schedule").exception, InvalidInputError)


def test_an_empty_variable_does_not_mean_all(gc: Gc, client: MlflowClient) -> None:
    gone = add_run(client)
    for option in ("--run-ids", "-e", "--tracking-uri", "--backend-store-uri", "--artifacts-destination"):
        for value in ("", " "):
            assert code(gc(*ALL, "--apply", "--yes", option, value)) == 2
    assert code(gc(*ALL, "--apply", "--yes", "--run-ids", " , ")) == 2
    assert run_ids(client) == {gone}


def test_options_that_contradict_each_other(gc: Gc, client: MlflowClient) -> None:
    for arguments in (
        ["--dry-run", "--apply"],
        ["--json", "--plan", "-"],
        ["--apply", "undo"],
        ["--older-than", "1d", "log"],
        ["log", "--keys"],
        ["--limit-shown", "-1"],
        ["--no-such"],
    ):
        assert gc(*arguments).exit_code == 2, arguments


def test_an_experiment_that_there_is_not(gc: Gc, client: MlflowClient) -> None:
    done = gc("-e", "nowhere")
    assert isinstance(done.exception, NotFoundError)
    assert "nowhere" in done.exception.message


def test_a_store_that_there_is_not(gc: Gc, tmp_path: Path) -> None:
    done = gc("--tracking-uri", f"sqlite:///{tmp_path}/none.db")
    assert isinstance(done.exception, NotFoundError)
    assert not (tmp_path / "none.db").exists()


def test_a_server_that_is_away_is_tried_again_later(
    gc: Gc, canary: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = gc("--tracking-uri", f"http://me:{canary}@127.0.0.1:9")
    assert code(done) == 3
    assert canary not in f"{done.output}{done.exception}{caplog.text}"


def test_there_is_no_trash_in_a_folder(gc: Gc, client: MlflowClient, tmp_path: Path) -> None:
    gone = add_run(client)
    done = gc(*ALL, "--trash", "--apply", "--yes")
    assert done.exit_code == 1, done.output
    assert "NotVersioned" in done.stdout
    assert files(tmp_path) == [gone]
    assert run_ids(client) == {gone}


def test_what_could_not_be_looked_at_is_told(
    gc: Gc, client: MlflowClient, s3_server: S3Access, unique: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(s3_server, unique, monkeypatch, EVERYTHING)
    client.create_experiment("lost", artifact_location="s3://no-such-bucket-here/lost")
    found = client.get_experiment_by_name("lost")
    assert found is not None
    lost = client.create_run(found.experiment_id).info.run_id
    client.set_terminated(lost)
    client.delete_run(lost)
    gone = add_run(client)
    shown = gc(*ALL)
    assert shown.exit_code == 1
    assert "NoSuchBucket" in shown.stdout
    told = json.loads(gc(*ALL, "--apply", "--yes", "--json").stdout)
    assert [trouble["code"] for trouble in told["troubles"]] == ["NoSuchBucket"]
    assert [item["id"] for item in told["outcome"]["done"]] == [gone]
    assert run_ids(client) == {lost}
    assert files(tmp_path) == []


# -- the log, and taking it back ---------------------------------------------------------


EVERYTHING = {"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::*"]}


def use(server: S3Access, account: str, monkeypatch: pytest.MonkeyPatch, *statements: Mapping[str, Any]) -> None:
    made = server.add_account(account, policy={"Version": "2012-10-17", "Statement": list(statements)})
    monkeypatch.setenv("MLFLOW_AWS_ACCESS_KEY_ID", made.access_key_id)
    monkeypatch.setenv("MLFLOW_AWS_SECRET_ACCESS_KEY", made.secret_access_key)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", server.endpoint_url)


@pytest.fixture
def versioned(
    client: MlflowClient, s3_server: S3Access, unique: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, str]:
    """A bucket that keeps versions, in which the experiment `kept` has its files."""
    bucket = f"gc-{unique[-8:]}"
    use(s3_server, unique, monkeypatch, EVERYTHING)
    admin = s3_server.client()
    admin.create_bucket(Bucket=bucket)
    admin.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.create_experiment("kept", artifact_location=f"s3://{bucket}/kept")
    return admin, bucket


def visible(versioned: tuple[Any, str]) -> list[str]:
    admin, bucket = versioned
    return [found["Key"] for found in admin.list_objects_v2(Bucket=bucket).get("Contents", ())]


def add_stored(client: MlflowClient, versioned: tuple[Any, str], count: int = 2) -> str:
    admin, bucket = versioned
    run_id = client.create_run(client.get_experiment_by_name("kept").experiment_id).info.run_id  # type: ignore[union-attr]
    for number in range(count):
        admin.put_object(Bucket=bucket, Key=f"kept/{run_id}/artifacts/{number}", Body=b"content")
    client.set_terminated(run_id)
    client.delete_run(run_id)
    return str(run_id)


def test_trash_undo_and_the_log(gc: Gc, client: MlflowClient, versioned: tuple[Any, str]) -> None:
    run_id = add_stored(client, versioned)
    before = visible(versioned)
    assert code(gc("undo")) == 2
    assert "There was no clean-up" in gc("log").stdout
    done = gc(*ALL, "--trash", "--apply", "--yes")
    assert done.exit_code == 0, done.output
    assert "Reclaimed: 0 bytes" in done.stdout
    assert visible(versioned) == []
    assert run_ids(client) == {run_id}
    (told,) = json.loads(gc("log", "--json").stdout)
    assert (told["hidden"], told["undone"], told["counts"]["done"]) == (2, False, 1)
    assert told["gc_id"] in done.stderr
    keys = gc("log", told["gc_id"], "--keys").stdout.splitlines()
    assert sorted(line.split("\t")[1].partition("/kept/")[2] for line in keys) == [key[5:] for key in before]
    assert {line.split("\t")[0] for line in keys} == {"hidden"}
    back = gc("undo", told["gc_id"])
    assert back.exit_code == 0, back.output
    assert "2 objects can be seen again" in back.stdout
    assert visible(versioned) == before
    assert json.loads(gc("log", "--json").stdout)[0]["undone"] is True
    assert "undone" in gc("log").stdout
    assert code(gc("undo")) == 2  # there is nothing more


def test_what_was_written_again_since_is_told(gc: Gc, client: MlflowClient, versioned: tuple[Any, str]) -> None:
    admin, bucket = versioned
    add_stored(client, versioned)
    first, _ = visible(versioned)
    gc(*ALL, "--trash", "--apply", "--yes")
    admin.put_object(Bucket=bucket, Key=first, Body=b"new")
    told = gc("undo", "--json")
    assert told.exit_code == 1
    document = json.loads(told.stdout)
    assert document["objects"] == 1
    assert [failure["code"] for failure in document["failures"]] == ["WrittenAgain"]
    assert admin.get_object(Bucket=bucket, Key=first)["Body"].read() == b"new"


def test_the_log_of_what_is_gone(gc: Gc, client: MlflowClient, versioned: tuple[Any, str]) -> None:
    run_id = add_stored(client, versioned)
    (gc_id,) = json.loads(gc(*ALL, "--apply", "--yes", "--json").stdout)["outcome"]["gc_id"].split()
    shown = gc("log", gc_id)
    assert shown.exit_code == 0
    assert run_id in shown.stdout
    assert "Deleted: 2 keys" in shown.stdout
    told = json.loads(gc("log", gc_id, "--keys", "--json").stdout)
    assert [(item["id"], item["how"]) for item in told["items"]] == [(run_id, "done")]
    assert {key["what"] for key in told["keys"]} == {"deleted"}
    assert all(key["version_id"] for key in told["keys"])
    assert told["rows"]["runs"] == 1
    assert code(gc("undo", gc_id)) == 2
    assert code(gc("log", "20200101-000000-0000")) == 2


def test_every_refused_key_is_named(
    gc: Gc, client: MlflowClient, versioned: tuple[Any, str], s3_server: S3Access, unique: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    _, bucket = versioned
    run_id = add_stored(client, versioned, 25)
    deny = {"Effect": "Deny", "Action": "s3:DeleteObjectVersion", "Resource": f"arn:aws:s3:::{bucket}/*"}
    use(s3_server, f"{unique}-2", monkeypatch, EVERYTHING, deny)
    done = gc(*ALL, "--apply", "--yes")
    assert done.exit_code == 1, done.output
    assert "25 keys of 1 item were refused" in done.stderr
    assert "and 5 more" in done.stdout
    assert "AccessDenied" in done.stdout
    assert run_ids(client) == {run_id}
    assert len(visible(versioned)) == 25
    told = json.loads(gc(*ALL, "--apply", "--yes", "--json").stdout)["outcome"]
    assert len(told["refused"][0]["failures"]) == 25
    lines = gc("log", told["gc_id"], "--keys").stdout.splitlines()
    assert len([line for line in lines if line.startswith("refused\t")]) >= 25


def test_keys_that_are_none(gc: Gc, client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_AWS_ACCESS_KEY_ID", "half")
    assert isinstance(gc(*ALL).exception, CredentialsError)


def test_another_clean_up_is_under_way(gc: Gc, client: MlflowClient) -> None:
    from holdfast.maintenance.ledger import taken

    gone = add_run(client)
    with taken(Path(".holdfast/gc").resolve()):
        done = gc(*ALL, "--apply", "--yes")
        assert done.exit_code == 3
        assert "under way" in done.stderr
        assert gc(*ALL).exit_code == 0  # looking is always allowed
    assert run_ids(client) == {gone}
