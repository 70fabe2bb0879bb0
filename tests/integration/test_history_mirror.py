"""The copies of a history in a bucket and in a folder: outages, kills, and hands in the database and in the bucket."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from histories import mirror_of, register, run_of
from journaling import Nursery, Place
from sqlalchemy import create_engine, text

from holdfast import ModelRegistry, open_project
from holdfast.core.history import Kind, broken_links, make_event, read_event
from holdfast.core.stages import Stage
from holdfast.errors import HistoryError
from holdfast.project import Project
from holdfast.registry.history.audit import audit
from holdfast.registry.history.mirror import OWED_TAG
from holdfast.registry.history.restoring import restore_history
from holdfast.testing import Account, FaultProxy, S3Access

REFUSED = "<Error><Code>NotImplemented</Code><Message>A header is not implemented</Message></Error>"


@pytest.fixture
def bucket(unique: str) -> str:
    return unique.replace("_", "-")[-40:].strip("-")


@pytest.fixture
def account(s3_server: S3Access, unique: str, bucket: str) -> Account:
    return s3_server.add_account(unique, [bucket])


@pytest.fixture
def s3_proxy(s3_server: S3Access) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server.endpoint_url) as found:
        yield found


@pytest.fixture
def project(sqlite_uri: str, s3_proxy: FaultProxy, account: Account, bucket: str, unique: str) -> Project:
    """On SQLite, with its files in a bucket."""
    return open_project(
        tracking_uri=sqlite_uri,
        artifact_root=f"s3://{bucket}/runs",
        s3_endpoint_url=s3_proxy.url,
        access_key_id=account.access_key_id,
        secret_access_key=account.secret_access_key,
        experiment_name=unique,
        delivery="direct",
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    uri: str = request.getfixturevalue("sqlite_uri" if request.param == "sqlite" else "postgres_uri")
    return uri


@pytest.fixture
def local(database: str, unique: str, tmp_path: Path) -> Project:
    """On a database, with its files in a folder."""
    return open_project(
        tracking_uri=database, artifact_root=str(tmp_path / "files"), experiment_name=unique, delivery="direct"
    )


def said(project: Project, name: str) -> list[str]:
    return [f"{problem.place}: {problem.message}" for problem in audit(project, name).problems]


def test_a_promotion_takes_one_request_more_at_the_bucket(
    project: Project, s3_proxy: FaultProxy, unique: str, tmp_path: Path
) -> None:
    registry = register(project, unique, tmp_path / "model")
    s3_proxy.forget()
    registry.promote(unique, 1, "Staging")
    assert [line.split("/")[0] for line in s3_proxy.passed] == ["PUT "], s3_proxy.passed
    s3_proxy.forget()
    # A process that has not seen the event before reads which copies there are, and writes its own.
    ModelRegistry(open_project(project.settings)).promote(unique, 1, "Production")
    assert [line.split(" ")[0] for line in s3_proxy.passed] == ["GET", "PUT"], s3_proxy.passed
    assert audit(project, unique).is_clean


def test_a_bucket_that_does_not_answer_holds_nothing_up_and_is_filled_later(
    project: Project, s3_proxy: FaultProxy, unique: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = register(project, unique, tmp_path / "model")
    s3_proxy.black_hole()
    began_s = time.monotonic()
    with caplog.at_level(logging.WARNING):
        registry.promote(unique, 1, "Staging")
    assert time.monotonic() - began_s < 10
    assert f"holdfast models repair {unique}" in caplog.text
    assert registry.get(unique, 1).stage is Stage.STAGING
    s3_proxy.pass_on()
    assert said(project, unique) == [f"copies: copy 3 is missing at {mirror_of(project, unique).place}"]
    assert project.histories.read(run_of(project, unique)).tags[OWED_TAG] == "3"
    ModelRegistry(open_project(project.settings)).promote(unique, 1, "Production")
    assert audit(project, unique).is_clean
    assert project.histories.read(run_of(project, unique)).tags[OWED_TAG] == ""


def test_a_server_without_conditional_writes_is_looked_at_first(
    project: Project, s3_proxy: FaultProxy, unique: str, tmp_path: Path
) -> None:
    registry = register(project, unique, tmp_path / "model")
    s3_proxy.fail_next(1, 501, body=REFUSED)
    s3_proxy.forget()
    registry.promote(unique, 1, "Staging")
    assert [line.split(" ")[0] for line in s3_proxy.passed] == ["GET", "PUT"]
    s3_proxy.forget()
    registry.promote(unique, 1, "Production")  # and it is not asked again
    assert [line.split(" ")[0] for line in s3_proxy.passed] == ["GET", "PUT"]
    assert project.artifacts.put_once(mirror_of(project, unique).place, "events/000001.json", b"other") is False
    assert audit(project, unique).is_clean


def test_what_stands_in_the_way_is_not_overwritten(
    project: Project, unique: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = register(project, unique, tmp_path / "model")
    mirror = mirror_of(project, unique)
    assert project.artifacts.put_once(mirror.place, "events/000003.json", b"planted")
    with caplog.at_level(logging.WARNING):
        registry.promote(unique, 1, "Staging")
    assert f"holdfast models audit {unique}" in caplog.text
    assert mirror.texts()[3] == "planted"
    assert said(project, unique) == [
        "copies: event 3: the copies are not the registry's words, which are whole",
    ]


@pytest.mark.parametrize("step", ["request", "promote"])
def test_killed_between_the_event_and_its_copy(
    step: str, local: Project, nursery: Nursery, unique: str, tmp_path: Path
) -> None:
    register(local, unique, tmp_path / "model")
    settings = local.settings
    environ = {
        "MLFLOW_ARTIFACT_ROOT": str(settings.artifact_root),
        "HOLDFAST_DELIVERY": "direct",
        "MLFLOW_EXPERIMENT_NAME": unique,
    }
    child = nursery.start(
        Place(settings.tracking_uri, tmp_path / "child", environ),
        f"""
        import os, signal
        from holdfast import ModelRegistry, open_project
        from holdfast.registry.history.mirror import Mirror

        Mirror.put = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        ModelRegistry(open_project()).{step}({unique!r}, 1, "Staging")
        """,
    )
    assert child.ends() == -9
    mirror = mirror_of(local, unique)
    assert mirror.missing() == [3]
    findings = said(local, unique)
    assert findings[0] == f"copies: copy 3 is missing at {mirror.place}"
    assert len(findings) == (1 if step == "request" else 4), findings  # stage, tag and alias as well
    # A promotion that is half done is finished by whoever looks next, though there is nothing to write for them.
    stage = "Staging" if step == "promote" else "Production"
    done = ModelRegistry(open_project(local.settings)).promote(unique, 1, stage)
    assert (done.event is None) == (step == "promote")
    assert audit(local, unique).is_clean


def change(uri: str, statement: str, **values: str) -> None:
    """Change the database directly, as somebody with its password would."""
    engine = create_engine(uri)
    with engine.begin() as connection:
        assert connection.execute(text(statement), values).rowcount == 1
    engine.dispose()


def test_hands_in_the_database_are_found(local: Project, database: str, unique: str, tmp_path: Path) -> None:
    registry = register(local, unique, tmp_path / "model")
    registry.promote(unique, 1, "Staging", reason="fine")
    run_id = run_of(local, unique)
    texts = local.histories.read(run_id).texts
    where = "WHERE run_uuid = :run AND key = :key"
    edit = f"UPDATE params SET value = :value {where}"  # noqa: S608

    def put(number: int, value: str) -> None:
        change(database, edit, value=value, run=run_id, key=f"event/{number:06d}")

    put(2, texts[1].replace(unique, "another"))
    findings = said(local, unique)
    assert "history: event 2: the registry's words are not those of the copies, which are whole" in findings
    assert any("event 2 was changed after it was written" in finding for finding in findings), findings
    with pytest.raises(HistoryError, match="damaged"):
        registry.history(unique)
    with pytest.raises(HistoryError, match="damaged"):
        registry.promote(unique, 1, "Production")  # nothing is added to a broken chain
    put(2, texts[1])

    # The last event, with a hash of its own: the chain is whole, and only the copies tell.
    forged = make_event(read_event(texts[2]).draft, unique, read_event(texts[1]))
    assert broken_links([*texts[:2], forged.to_json()]) == []
    put(3, forged.to_json())
    assert "is a whole chain, and one was made up" in said(local, unique)[0]

    change(database, f"DELETE FROM params {where}", run=run_id, key="event/000003")  # noqa: S608
    assert "history: event 3 is missing in the registry, and copied" in said(local, unique)
    assert restore_history(local, unique) == [3]
    assert audit(local, unique).is_clean
    change(database, f"DELETE FROM params {where}", run=run_id, key="event/000002")  # noqa: S608
    assert "history: event 2 is missing, and later ones are there" in said(local, unique)
    with pytest.raises(HistoryError, match="event 2 is missing"):
        registry.promote(unique, 1, "Production")
    assert mirror_of(local, unique).lost() == [2]
    assert registry.repair(unique, dry_run=True).lost == "events 2"
    assert registry.repair(unique).restored == (2,)
    assert audit(local, unique).is_clean


def test_a_history_that_mlflow_gc_took_away_comes_back(
    local: Project, database: str, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner
    from mlflow.cli import gc

    registry = register(local, unique, tmp_path / "model")
    registry.promote(unique, 1, "Production")
    before = registry.history(unique)
    run_id = run_of(local, unique)
    local.connection.client.delete_run(run_id)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    done = CliRunner().invoke(gc, ["--backend-store-uri", database, "--run-ids", run_id])
    assert done.exit_code == 0, done.output
    assert f"history: the run that keeps it, {run_id}, is gone" in said(local, unique)
    again = ModelRegistry(open_project(local.settings))
    with pytest.raises(HistoryError, match="gone"):
        again.promote(unique, 1, "Archived")
    assert restore_history(local, unique) == [1, 2, 3]
    assert again.history(unique) == before
    assert run_of(local, unique) != run_id
    assert audit(local, unique, all_files=True).is_clean
    done_again = ModelRegistry(open_project(local.settings)).promote(unique, 1, "Archived")
    assert done_again.event is not None
    assert done_again.event.number == 4
    assert audit(local, unique).is_clean
    assert restore_history(local, unique) == []


def test_it_begins_anew_only_when_told(local: Project, unique: str, tmp_path: Path) -> None:
    register(local, unique, tmp_path / "model")
    mirror = mirror_of(local, unique)
    local.models.set_model_tag(unique, "holdfast.history", "0" * 32)
    local.artifacts.delete(mirror.place)
    with pytest.raises(HistoryError, match="and so are its copies"):
        restore_history(local, unique)
    assert restore_history(local, unique, begin_anew=True) == []
    registry = ModelRegistry(open_project(local.settings))
    registry.promote(unique, 1, "Staging")
    assert registry.history(unique)[-1].kind is Kind.MOVED
