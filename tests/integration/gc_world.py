"""Shared by the tests of clean-up: a project with runs to be deleted, and ways to look at it that are not ours."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "migration"))

from migrating import World, contents, keys_of
from sqlalchemy import create_engine, inspect, select, table, text

from holdfast.core.cleanup.plan import Plan
from holdfast.core.cleanup.rules import CleanupRules
from holdfast.maintenance.applying import Outcome, apply
from holdfast.maintenance.asking import Asked
from holdfast.maintenance.survey import survey
from holdfast.project import Project
from holdfast.testing import Account
from holdfast.testing import S3Access as Server

FILES = {"model/weights": b"12345", "log.txt": b"12"}
_tables: dict[str, list[str]] = {}
NOW = CleanupRules(older_than_s=0, grace_s=0)


@dataclass
class GcWorld(World):
    """A project whose files lie in a folder or a bucket.

    Attributes:
        server: The S3 server of its bucket, if it has one.
        bucket: The bucket.
        account: Its keys.
    """

    server: Server | None = None
    bucket: str = ""
    account: Account | None = field(default=None, repr=False)
    _project: Project | None = field(default=None, repr=False)
    _client: Any = field(default=None, repr=False)

    @property
    def s3(self) -> Any:
        assert self.server is not None
        return self.server.client()

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

    def place(self, run_id: str) -> str:
        return str(self.client.get_run(run_id).info.artifact_uri)

    def plan(self, rules: CleanupRules = NOW) -> Plan:
        found = survey(self.project(), Asked(rules))
        assert not [one for one in found.troubles if one.place.startswith(self.root)]
        return found.plan

    def apply(self, plan: Plan, **more: Any) -> Outcome:
        return apply(self.project(**more), plan, Asked(plan.rules))

    def s3_put(self, key: str) -> None:
        self._kept_client().put_object(Bucket=self.bucket, Key=key, Body=b"12")

    def _kept_client(self) -> Any:
        if self._client is None:
            self._client = self.s3
        return self._client

    def project(self, **more: str) -> Project:
        if more:
            return super().project(**more)
        if self._project is None or self._project.settings.tracking_uri != self.tracking_uri:
            self._project = super().project()
        return self._project

    def forget(self) -> GcWorld:
        """Return the same without open connections, for a child that was forked."""
        return replace(self, _project=None, _client=None)

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

    def rows_naming(self, *texts: str) -> dict[str, int]:
        """Return in which tables rows name one of some ids."""
        found = {
            table: sum(any(text in str(value) for value in row for text in texts) for row in rows)
            for table, rows in self.dump().items()
        }
        return {table: count for table, count in found.items() if count}


def in_bucket(server: Server, folder: Path, tracking_uri: str, versioned: bool = False) -> GcWorld:
    """Return a project with a bucket of its own."""
    name = f"gc-{secrets.token_hex(5)}"
    account = server.add_account(name, [name])
    if versioned:
        server.client().put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return GcWorld(
        folder, tracking_uri, f"s3://{name}/root", keys_of(account, server.endpoint_url), server, name, account
    )


def ids(items: Iterable[Any]) -> set[str]:
    return {item.id for item in items}
