"""Shared by the tests of clean-up: a project with runs to be deleted, and ways to look at it that are not ours."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "migration"))

from botocore.loaders import create_loader
from migrating import World, contents, keys_of
from sqlalchemy import create_engine, inspect, select, table, text

from holdfast.core.cleanup.plan import Plan
from holdfast.core.cleanup.rules import CleanupRules
from holdfast.maintenance.applying import Outcome, apply
from holdfast.maintenance.asking import Asked
from holdfast.maintenance.survey import survey
from holdfast.maintenance.working import Worker
from holdfast.project import Project
from holdfast.testing import Account
from holdfast.testing import S3Access as Server

FILES = {"model/weights": b"12345", "log.txt": b"12"}
_tables: dict[str, list[str]] = {}
NOW = CleanupRules(older_than_s=0, grace_s=0)
TRASH = replace(NOW, trash=True)
# A slow machine's answers are waited for.
_PATIENT = {"HOLDFAST_TRANSFER_DEADLINE": "60"}


@dataclass
class GcWorld(World):
    """A project whose files lie in a folder or a bucket.

    Attributes:
        server: The S3 server of its bucket, if it has one.
        bucket: The bucket.
    """

    server: Server | None = None
    bucket: str = ""
    _project: Project | None = field(default=None, repr=False)

    @property
    def s3(self) -> Any:
        assert self.server is not None
        return _admin_of(self.server)

    @property
    def client(self) -> Any:
        return self.project().connection.client

    def runs(self, count: int, experiment: str = "one", files: Mapping[str, bytes] = FILES) -> list[str]:
        return [self.run(experiment, files).run_id for _ in range(count)]

    def deleted(self, count: int, experiment: str = "one", files: Mapping[str, bytes] = FILES) -> list[str]:
        found = self.runs(count, experiment, files)
        self.delete(found)
        return found

    def delete(self, run_ids: Iterable[str]) -> None:
        client = self.client
        for run_id in run_ids:
            client.delete_run(run_id)

    def write(self, place: str, files: Mapping[str, bytes]) -> None:
        """Store files: in folders and buckets without Holdfast, which compares with what is there first."""
        for path, content in files.items():
            if place.startswith("s3://"):
                self.s3.put_object(Bucket=self.bucket, Key=self.key(place, path), Body=content)
            elif place.startswith("/"):
                file = Path(place, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        if not place.startswith(("s3://", "/")):
            super().write(place, files)

    def key(self, place: str, path: str) -> str:
        return f"{place[5:].partition('/')[2]}/{path}"

    def place(self, run_id: str) -> str:
        return str(self.client.get_run(run_id).info.artifact_uri)

    def plan(self, rules: CleanupRules = NOW) -> Plan:
        found = survey(self.project(), Asked(rules))
        assert not [one for one in found.troubles if one.place.startswith(self.root)]
        return found.plan

    def apply(self, plan: Plan, **more: Any) -> Outcome:
        return apply(self.project(**more), plan, Asked(plan.rules))

    def project(self, **more: str) -> Project:
        if more:
            return super().project(**more)
        if self._project is None or self._project.settings.tracking_uri != self.tracking_uri:
            self._project = super().project()
        return self._project

    def forget(self) -> GcWorld:
        """Return the same without open connections, for a child that was forked."""
        return replace(self, _project=None)

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return all rows of all tables that are not empty; which tables there are is looked up once a session."""
        engine = create_engine(self.tracking_uri)
        try:
            if engine.dialect.name not in _tables:
                _tables[engine.dialect.name] = inspect(engine).get_table_names()
            with engine.connect() as connection:
                found = {
                    name: sorted(
                        (tuple(row) for row in connection.execute(select(text("*")).select_from(table(name)))), key=repr
                    )
                    for name in _tables[engine.dialect.name]
                }
        finally:
            engine.dispose()
        return {name: rows for name, rows in found.items() if rows}

    def stored(self) -> set[tuple[str, str]]:
        """Return all that is stored: in a bucket each version and marker."""
        if not self.bucket:
            return set(contents(Path(self.root)).items()) if Path(self.root).exists() else set()
        answer = self.s3.list_object_versions(Bucket=self.bucket, MaxKeys=1000)
        assert not answer["IsTruncated"]
        found = [*answer.get("Versions", ()), *answer.get("DeleteMarkers", ())]
        uploads = self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ())
        return {(one["Key"], one["VersionId"]) for one in found} | {(one["Key"], one["UploadId"]) for one in uploads}

    def readable(self) -> set[str]:
        """Return what a reader sees."""
        if not self.bucket:
            return {path for path, _ in self.stored()}
        return {one["Key"] for one in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", ())}

    def left_of(self, run_ids: Iterable[str]) -> set[str]:
        """Return what a reader sees of some runs."""
        return {path for path in self.readable() if any(run_id in path for run_id in run_ids)}

    def rows_naming(self, *texts: str) -> dict[str, int]:
        """Return in which tables rows name one of some ids."""
        found = {
            table: sum(any(text in str(value) for value in row for text in texts) for row in rows)
            for table, rows in self.dump().items()
        }
        return {table: count for table, count in found.items() if count}


@cache
def _admin_of(server: Server) -> Any:
    return server.client()


@cache
def _account_of(server: Server) -> Account:
    """Return keys for all buckets of these tests."""
    anywhere = {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::gc-*"}
    policy = {"Version": "2012-10-17", "Statement": [anywhere]}
    return server.add_account(f"gc-{secrets.token_hex(5)}", policy=policy)


@cache
def _loader(search_path: str | None = None) -> Any:
    return create_loader(search_path)


def in_bucket(server: Server, folder: Path, tracking_uri: str, versioned: bool = False) -> GcWorld:
    """Return a project with a bucket of its own."""
    name = f"gc-{secrets.token_hex(5)}"
    admin = _admin_of(server)
    admin.create_bucket(Bucket=name)
    if versioned:
        admin.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    settings = {**keys_of(_account_of(server), server.endpoint_url), **_PATIENT}
    return GcWorld(folder, tracking_uri, f"s3://{name}/root", settings, server, name)


def on(*kinds: str) -> pytest.MarkDecorator:
    """Run a test in the worlds of these kinds: `local`, `unversioned`, `versioned`."""
    return pytest.mark.parametrize("world", kinds, indirect=True)


def world_for(request: pytest.FixtureRequest) -> GcWorld:
    """Return the world that a test asks for by `on`; for a fixture named `world`."""
    # botocore reads its descriptions of services anew for each session, which takes longer than what is tested here.
    request.getfixturevalue("monkeypatch").setattr("botocore.session.create_loader", _loader)
    folder, uri = request.getfixturevalue("tmp_path"), request.getfixturevalue("sqlite_uri")
    if request.param == "local":
        return GcWorld(folder / "project", uri, str(folder / "root"), dict(_PATIENT))
    return in_bucket(request.getfixturevalue("s3_server"), folder / "project", uri, request.param == "versioned")


def ids(items: Iterable[Any]) -> set[str]:
    return {item.id for item in items}


def whole(outcome: Outcome, plan: Plan) -> bool:
    """Whether all of a plan is done."""
    said = (outcome.error, outcome.skipped, outcome.refused, outcome.left)
    assert said == (None, (), (), 0)
    return set(outcome.done) == set(plan.items)


@contextmanager
def just_before(monkeypatch: pytest.MonkeyPatch, name: str, do: Callable[[], object], time: int = 1) -> Iterator[None]:
    """Do something when a worker comes to one of its steps for the first, or second, … time."""
    step, times = getattr(Worker, name), [0]

    def counted(self: Any, *arguments: Any) -> Any:
        times[0] += 1
        if times[0] == time:
            do()
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Worker, name, counted)
        yield
