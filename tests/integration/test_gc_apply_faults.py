"""Clean-ups of stores that refuse, stumble or die: what fails is told, and the same plan goes on with the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from gc_world import GcWorld, ids, just_before, on, whole, world_for
from sqlalchemy import make_url

from holdfast.artifacts.s3 import attempts
from holdfast.testing import FaultProxy
from holdfast.testing.postgres import PostgresAccess


@pytest.fixture
def world(request: pytest.FixtureRequest) -> GcWorld:
    return world_for(request)


def deny(world: GcWorld, *keys: str, actions: tuple[str, ...] = ("s3:Delete*",)) -> dict[str, str]:
    """Return the settings of somebody who may not do all."""
    assert world.server is not None
    arn = f"arn:aws:s3:::{world.bucket}"
    resources = [f"{arn}/{key}" for key in keys] or [arn, f"{arn}/*"]
    rules = [{"Effect": "Allow", "Action": "s3:*", "Resource": [arn, f"{arn}/*"]},
             {"Effect": "Deny", "Action": list(actions), "Resource": resources}]  # fmt: skip
    policy = {"Version": "2012-10-17", "Statement": rules}
    account = world.server.add_account(f"{world.bucket}-less-{len(keys)}", policy=policy)
    return {
        "MLFLOW_AWS_ACCESS_KEY_ID": account.access_key_id,
        "MLFLOW_AWS_SECRET_ACCESS_KEY": account.secret_access_key,
    }


# -- the bucket -----------------------------------------------------------------------


@on("unversioned")
def test_one_key_is_refused(world: GcWorld) -> None:
    first, second = world.deleted(2)
    key = world.key(world.place(first), "log.txt")
    plan = world.plan()
    outcome = world.apply(plan, **deny(world, key))
    assert ids(outcome.done) == {second}
    (refused,) = outcome.refused
    assert [(one.address, one.code) for one in refused.failures] == [(f"s3://{world.bucket}/{key}", "AccessDenied")]
    assert world.readable() == {key}
    assert world.rows_naming(first)["runs"] == 1
    assert not world.rows_naming(second)
    again = world.apply(plan)  # by the same plan, with better keys
    assert (again.gc_id, ids(again.done)) == (outcome.gc_id, {first, second})
    assert (again.refused, world.stored()) == ((), set())


@on("unversioned")
@pytest.mark.parametrize("actions", [("s3:ListBucket", "s3:ListBucketVersions"), ("s3:DeleteObject",)])
def test_a_whole_bucket_is_refused(world: GcWorld, actions: tuple[str, ...]) -> None:
    denied = world.deleted(2)
    other = replace(world.forget(), root=str(world.folder.parent / "beside"), bucket="")
    gone = other.deleted(1, "elsewhere")
    plan, before = world.plan(), world.stored()
    outcome = world.apply(plan, **deny(world, actions=actions))
    assert ids(outcome.done) == set(gone)
    assert {one.item.id for one in outcome.refused} == set(denied)
    assert {failure.code for one in outcome.refused for failure in one.failures} == {"AccessDenied"}
    assert (world.stored(), world.rows_naming(*denied)["runs"]) == (before, 2)


@on("unversioned")
def test_a_bucket_that_is_gone(world: GcWorld) -> None:
    gone = world.deleted(1)
    plan = world.plan()
    for key in world.readable():
        world.s3.delete_object(Bucket=world.bucket, Key=key)
    world.s3.delete_bucket(Bucket=world.bucket)
    outcome = world.apply(plan)
    assert (ids(one.item for one in outcome.refused), outcome.done) == (set(gone), ())
    assert world.rows_naming(*gone)["runs"] == 1


@on("unversioned")
def test_a_server_with_hiccups(world: GcWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    assert world.server is not None
    world.deleted(2)
    plan = world.plan()
    with (
        FaultProxy(world.server.endpoint_url) as proxy,
        just_before(monkeypatch, "_remove", lambda: proxy.fail_next(3, 503)),
    ):
        outcome = world.apply(plan, MLFLOW_S3_ENDPOINT_URL=proxy.url)
    assert whole(outcome, plan)
    assert world.stored() == set()


@on("unversioned")
@pytest.mark.parametrize("step", ["_still_garbage", "_remove", "_end", "_begin"])
def test_a_server_that_dies_in_the_middle(world: GcWorld, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    assert world.server is not None
    # What is refused is not tried again; what is only slow has its time.
    monkeypatch.setattr(attempts, "_LONGEST_IN_DEADLINES", 0)
    gone = world.deleted(2)
    plan = world.plan()
    with FaultProxy(world.server.endpoint_url) as proxy, just_before(monkeypatch, step, proxy.refuse):
        outcome = world.apply(plan, MLFLOW_S3_ENDPOINT_URL=proxy.url)
    if step == "_end":  # all was verified by then
        assert whole(outcome, plan)
        return
    assert outcome.error is not None
    assert outcome.error.retryable
    assert (outcome.left, outcome.done) == (2, ())
    assert world.rows_naming(*gone)["runs"] == 2
    again = world.apply(plan)
    assert whole(again, plan)
    assert (again.gc_id, world.stored()) == (outcome.gc_id, set())
    assert not world.rows_naming(*gone)


# -- the database ---------------------------------------------------------------------


@pytest.mark.parametrize("is_early", [True, False], ids=["from the start", "in the middle"])
def test_rows_that_may_not_be_removed(
    postgres: PostgresAccess,
    postgres_uri: str,
    tmp_path: Path,
    canary: str,
    is_early: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = GcWorld(tmp_path / "project", postgres_uri, str(tmp_path / "root"))
    gone = world.deleted(2)
    plan, before, stored = world.plan(), world.dump(), world.stored()
    url, role = make_url(postgres_uri), f"reader_{gone[0][:8]}"
    with postgres.connect(str(url.database)) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{canary}'")
        admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")

        def revoke() -> None:
            admin.execute(f"REVOKE DELETE ON ALL TABLES IN SCHEMA public FROM {role}")

        try:
            uri = url.set(username=role, password=canary).render_as_string(hide_password=False)
            mine = replace(world, tracking_uri=uri, _project=None)
            with just_before(monkeypatch, "check" if is_early else "_end", revoke):
                outcome = mine.apply(plan)
        finally:
            admin.execute(f"DROP OWNED BY {role}")
            admin.execute(f"DROP ROLE {role}")
    assert outcome.error is not None
    assert not outcome.error.retryable
    assert (outcome.done, world.dump()) == ((), before)
    if is_early:
        assert (outcome.left, world.stored()) == (2, stored)  # it is asked before the first file goes
    else:
        assert ids(one.item for one in outcome.refused) == set(gone)
    again = world.apply(plan)
    assert whole(again, plan)
    assert not world.rows_naming(*gone)


def test_a_database_that_goes_before_the_rows(
    postgres_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(postgres_uri)
    world = GcWorld(tmp_path / "project", postgres_uri, str(tmp_path / "root"))
    gone = world.deleted(2)
    plan, before = world.plan(), world.dump()
    with FaultProxy(f"{url.host}:{url.port}", raw=True) as proxy:
        port = int(proxy.address.rpartition(":")[2])
        uri = url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
        with just_before(monkeypatch, "_end", proxy.refuse):
            outcome = replace(world, tracking_uri=uri).apply(plan)
    assert outcome.error is not None
    assert outcome.error.retryable
    assert (outcome.left, world.dump()) == (2, before)
    again = world.apply(plan)
    assert whole(again, plan)
    assert not world.rows_naming(*gone)
