"""`holdfast gc --plan`: plans that are written to files and pipes, and applied from there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from gc_calls import ALL, add_run, code, files, gc, run_ids, store_in
from mlflow import MlflowClient

from holdfast.cli.gc_plan import check_store, store_of
from holdfast.core.cleanup.plan import Plan, from_text
from holdfast.core.cleanup.rules import CleanupRules
from holdfast.errors import InvalidInputError
from holdfast.settings import load_settings


@pytest.fixture
def client(sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return store_in(tmp_path, sqlite_uri, monkeypatch)


def test_a_plan_is_written_kept_and_applied(client: MlflowClient, tmp_path: Path) -> None:
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
    assert gc(*ALL, "--plan", "my plan").exit_code == 0  # a plan takes the place of one that was carried out
    assert {item.id for item in from_text(path.read_text()).items} == {later}
    assert [found.name for found in Path().iterdir() if found.name.startswith(".holdfast-plan")] == []


def test_a_plan_through_a_pipe(client: MlflowClient) -> None:
    gone = add_run(client)
    text = gc(*ALL, "--plan", "-").stdout
    assert [item.id for item in from_text(text).items] == [gone]
    assert gc("--apply", "--plan", "-", "--yes", input=text).exit_code == 0
    assert run_ids(client) == set()


def test_a_plan_takes_the_place_of_nothing_else(client: MlflowClient) -> None:
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


def test_a_plan_that_waits_to_be_carried_out_is_left_alone(client: MlflowClient) -> None:
    add_run(client)
    assert gc(*ALL, "--plan", "plan").exit_code == 0
    text = Path("plan").read_text()
    done = gc(*ALL, "--plan", "plan")
    assert code(done) == 2
    assert "was not carried out" in str(done.exception)
    assert Path("plan").read_text() == text
    gc("--apply", "--plan", "plan", "--yes")
    for _ in range(2):  # that of nothing may be replaced too
        assert gc(*ALL, "--plan", "plan").exit_code == 0
        assert from_text(Path("plan").read_text()).items == ()


def test_a_plan_of_another_store_is_refused(client: MlflowClient, sqlite_uri: str, canary: str) -> None:
    gone = add_run(client)
    shown = gc(*ALL, "--plan", "plan", "--tracking-uri", sqlite_uri).stderr
    assert f"holdfast gc --apply --plan plan --tracking-uri {sqlite_uri}" in shown
    other = f"http://me:{canary}@127.0.0.1:9"
    shutil.copy(sqlite_uri.removeprefix("sqlite:///"), "other.db")
    for uri in (other, "sqlite:///other.db"):
        done = gc("--apply", "--plan", "plan", "--yes", "--tracking-uri", uri)
        assert code(done) == 2
        assert "was made for another tracking store" in str(done.exception)
        assert canary not in f"{done.output}{done.exception}"
    assert run_ids(client) == {gone}
    relative = os.path.relpath(sqlite_uri.removeprefix("sqlite:///"))
    assert gc("--apply", "--plan", "plan", "--yes", "--tracking-uri", f"sqlite:///{relative}").exit_code == 0
    assert run_ids(client) == set()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("postgresql://ann:secret@db/mlflow", "postgresql+psycopg://bob:p%40ss@db/mlflow"),
        ("http://token@mlflow:5000", "http://mlflow:5000/"),
        ("postgresql:///m?host=/run&user=ann&password=x", "postgresql+psycopg:///m?user=bob&host=/run"),
    ],
)
def test_a_plan_is_of_a_store_whoever_applies_it(one: str, other: str) -> None:
    plan = Plan(0, CleanupRules(), store=store_of(load_settings(tracking_uri=one)))
    check_store(plan, load_settings(tracking_uri=other))
    assert not any(part in plan.store for part in ("@", "ann", "bob"))
    with pytest.raises(InvalidInputError):
        check_store(plan, load_settings(tracking_uri=f"{other}2"))


def test_other_ends_of_lines_say_nothing(client: MlflowClient) -> None:
    add_run(client)
    gc(*ALL, "--plan", "plan")
    Path("plan").write_bytes(b"\xef\xbb\xbf" + Path("plan").read_bytes().replace(b"\n", b"\r\n"))
    assert gc("--apply", "--plan", "plan", "--yes").exit_code == 0
    assert run_ids(client) == set()


def test_a_plan_that_was_carried_out_is_told_so(client: MlflowClient) -> None:
    add_run(client, "first"), add_run(client, "second")
    gc(*ALL, "--plan", "plan")
    gc("--apply", "--plan", "plan", "--yes")
    again = gc("--apply", "--plan", "plan")  # and nothing is asked
    assert again.exit_code == 0
    assert "Nothing of this plan is left: it was carried out by " in again.stdout
    assert "first" not in again.stdout
    assert json.loads(gc("--apply", "--plan", "plan", "--json").stdout)["status"] == "nothing to do"
    shutil.rmtree(".holdfast")  # as in somebody else's checkout
    again = gc("--apply", "--plan", "plan", "--yes")
    assert again.exit_code == 0
    assert "Nothing of the plan was left to do" in again.stdout


def test_what_is_asked_is_what_is_left_of_a_plan(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.maintenance.ledger import begin_ledger

    add_run(client, "first"), add_run(client, "second")
    gc(*ALL, "--plan", "plan")
    begin_ledger(Path(".holdfast/gc").resolve(), from_text(Path("plan").read_text())).finish([0])
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda _: True)
    asked = gc("--apply", "--plan", "plan", input="n\n").stderr
    assert "1 item of 2 done already, by " in asked
    assert "Delete 1 run with 1 object" in asked


def test_all_that_a_clean_up_notes_is_for_its_owner(client: MlflowClient) -> None:
    add_run(client)
    gc(*ALL, "--apply", "--yes")
    noted = [path for path in Path(".holdfast/gc").rglob("*") if path.is_file()]
    assert "plan.jsonl" in {path.name for path in noted}
    assert {path.stat().st_mode & 0o077 for path in noted} == {0}


def test_a_plan_that_was_edited_cut_or_is_none_is_refused(client: MlflowClient) -> None:
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


def test_what_contradicts_a_plan_is_refused(client: MlflowClient) -> None:
    gc("--plan", "plan")
    for option in ("--older-than 0s", "--grace 1d", "--orphans", "--retention", "--trash", "-e old", "--run-ids a"):
        done = gc("--apply", "--plan", "plan", "--yes", *option.split())
        assert done.exit_code == 2
        assert "contradicts" in done.output
