"""`holdfast gc`: what it shows, asks, does and prints, and with which code it ends."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest
from gc_calls import ALL, EVERYTHING, add_production, add_run, code, files, gc, run_ids, store_in, use
from mlflow import MlflowClient

from holdfast.errors import InvalidInputError, NotFoundError, SettingsError
from holdfast.testing import S3Access


@pytest.fixture
def client(sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return store_in(tmp_path, sqlite_uri, monkeypatch)


# -- showing ---------------------------------------------------------------------------


def test_a_plan_says_what_why_how_large_and_what_is_protected(client: MlflowClient, tmp_path: Path) -> None:
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


def test_what_is_young_stays_by_default(client: MlflowClient) -> None:
    add_run(client)
    assert "Nothing is to be cleaned up." in gc().stdout
    Path("pyproject.toml").write_text('[tool.holdfast.gc]\nolder-than = "0s"\ngrace = "0s"\n')
    assert "to be reclaimed" in gc().stdout
    assert "Nothing is to be cleaned up." in gc("--older-than", "1m").stdout


def test_a_plan_as_json_is_one_document(client: MlflowClient, sqlite_uri: str) -> None:
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


def test_only_so_many_lines_are_shown(client: MlflowClient) -> None:
    names = {add_run(client, f"run-{number}") for number in range(5)}
    shown = gc(*ALL, "--limit-shown", "2").stdout
    assert sum(name in shown for name in names) == 2
    assert "and 3 more" in shown
    assert all(name in gc(*ALL, "--limit-shown", "0").stdout for name in names)
    assert len(json.loads(gc(*ALL, "--limit-shown", "2", "--json").stdout)["plan"]["items"]) == 5


def test_experiments_and_runs_narrow_it(client: MlflowClient, tmp_path: Path) -> None:
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
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_ctrl_c_at_the_question_is_told_from_no_answer(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> str:
        raise KeyboardInterrupt

    gone = add_run(client)
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda _: True)
    with monkeypatch.context() as patch:
        patch.setattr("typer.testing._NamedTextIOWrapper.__next__", interrupt)
        done = gc(*ALL, "--apply")
    assert done.exit_code == 130
    assert "Nothing was deleted" in done.stderr
    assert gc(*ALL, "--apply", input="").exit_code == 1
    assert run_ids(client) == {gone}


def test_applying_as_json(client: MlflowClient) -> None:
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
    client: MlflowClient, sqlite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = add_run(client)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    done = gc(*ALL, "--tracking-uri", sqlite_uri, "--apply", "-y")
    assert done.exit_code == 0
    assert gone not in run_ids(client)


def test_the_database_by_the_option_of_mlflow_gc(
    client: MlflowClient, sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_run(client)
    done = gc(*ALL, "--backend-store-uri", f"sqlite:///{tmp_path}/other.db")
    assert isinstance(done.exception, InvalidInputError)
    assert "--tracking-uri" in done.exception.hint
    assert gc(*ALL, "--backend-store-uri", sqlite_uri).exit_code == 0
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert "1 run" in gc(*ALL, "--backend-store-uri", sqlite_uri, "--apply", "--yes").output
    assert run_ids(client) == set()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    done = gc(*ALL, "--backend-store-uri", f"sqlite:///{tmp_path}/none.db")
    assert isinstance(done.exception, NotFoundError)
    assert not (tmp_path / "none.db").exists()


def test_a_stop_between_two_things_is_told(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert "1 item of 1 was not finished; the same command goes on" in done.stderr
    assert gone in run_ids(client)
    monkeypatch.undo()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    assert gc(*ALL, "--apply", "--yes").exit_code == 0
    assert gone not in run_ids(client)


# -- what cannot be --------------------------------------------------------------------


def test_an_age_that_is_none() -> None:
    for age in ("30", "-1d", "1e9d", "", "d", "1d ago", "30D", "9999999999d", "nan", "1s1d"):
        option = "--older-than" if len(age) % 2 else "--grace"
        done = gc(option, age, "--apply", "--yes")
        assert isinstance(done.exception, InvalidInputError)
        assert option in done.exception.message
        assert "30d" in done.exception.hint
    assert isinstance(gc("--grace", "30", "--schedule").exception, InvalidInputError)


def test_an_empty_variable_does_not_mean_all(client: MlflowClient) -> None:
    gone = add_run(client)
    for option in ("--run-ids", "-e", "--tracking-uri", "--backend-store-uri", "--artifacts-destination"):
        for value in ("", " "):
            assert code(gc(*ALL, "--apply", "--yes", option, value)) == 2
    assert code(gc(*ALL, "--apply", "--yes", "--run-ids", " , ")) == 2
    assert run_ids(client) == {gone}


def test_options_that_contradict_each_other(client: MlflowClient) -> None:
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


def test_an_experiment_that_there_is_not(client: MlflowClient) -> None:
    done = gc("-e", "nowhere")
    assert isinstance(done.exception, NotFoundError)
    assert "nowhere" in done.exception.message


def test_a_store_that_there_is_not(tmp_path: Path) -> None:
    done = gc("--tracking-uri", f"sqlite:///{tmp_path}/none.db")
    assert isinstance(done.exception, NotFoundError)
    assert not (tmp_path / "none.db").exists()


def test_a_server_that_is_away_is_tried_again_later(
    canary: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = gc("--tracking-uri", f"http://me:{canary}@127.0.0.1:9")
    assert code(done) == 3
    assert canary not in f"{done.output}{done.exception}{caplog.text}"


def test_there_is_no_trash_in_a_folder(client: MlflowClient, tmp_path: Path) -> None:
    gone = add_run(client)
    done = gc(*ALL, "--trash", "--apply", "--yes")
    assert done.exit_code == 1, done.output
    assert "NotVersioned" in done.stdout
    assert files(tmp_path) == [gone]
    assert run_ids(client) == {gone}


def test_what_could_not_be_looked_at_is_told(
    client: MlflowClient, s3_server: S3Access, unique: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
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
    for arguments in ((), ("--apply",)):
        shown = gc(*ALL, *arguments)
        assert shown.exit_code == 1
        assert "Nothing could be planned: 1 place could not be looked at" in shown.stdout


def test_retention_without_anything_to_keep_is_told(client: MlflowClient) -> None:
    add_run(client, is_deleted=False)
    done = gc(*ALL, "--retention")
    assert done.exit_code == 0
    assert "there are no rules in [tool.holdfast.gc]" in done.stderr
    rule = '[[tool.holdfast.gc.rules]]\nname = "{}"\nexperiments = ["{}"]\nkeep-last = 5\n'
    Path("pyproject.toml").write_text(rule.format("sweeps", "swep-*") + rule.format("olds", "ol*"))
    told = gc(*ALL, "--retention").stderr
    assert "retention rule sweeps takes nothing: there is no experiment 'swep-*'" in told
    assert "olds" not in told
    assert len(json.loads(gc(*ALL, "--retention", "--json").stdout)["plan"]["told"]) == 1
    assert "sweeps" not in gc(*ALL).stderr


def test_rules_that_are_not_valid_are_told_once(client: MlflowClient) -> None:
    Path("pyproject.toml").write_text('[[tool.holdfast.gc.rules]]\nname = "a"\n')
    refused = gc("--retention").exception
    assert isinstance(refused, SettingsError)
    assert refused.message.startswith("[tool.holdfast.gc] is not valid: rule 1 (a) would take every run")
    assert (refused.message.count("not valid"), refused.message.count("mend")) == (1, 0)
    assert refused.hint == "mend [tool.holdfast.gc]"
