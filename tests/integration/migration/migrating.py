"""Shared by the tests of migrations: a project with experiments, runs and models, and all that its tables say."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData, create_engine, select

from holdfast.artifacts.transfer import SILENT, Item, Meter
from holdfast.backend.entities import Run
from holdfast.bucket.migration.moving import Migration, Outcome, Request
from holdfast.project import Project
from holdfast.settings import load_settings
from holdfast.testing import Account

MIB = 1 << 20
# Names that are hard on somebody: blanks, unicode, what URIs escape, dots at the end.
ODD = {
    "plain.txt": b"plain",
    "empty": b"",
    "deep/er/still.bin": b"\0\1\2" * 100,
    "a b/c d.txt": b"blanks",
    "\u00fcml\u00e4ut/\u6f22\u5b57.txt": "\u00fc".encode(),
    "100%.txt": b"percent",
    "%41%2f.txt": b"looks escaped",
    "a+b=c&d;e.txt": b"signs",
    "ends..": b"dots",
    "#hash?query.txt": b"not a query",
}


@dataclass
class World:
    """A project, and ways to look at it that are not ours.

    Attributes:
        folder: The project's folder.
        tracking_uri: Its database.
        root: Its artifact root.
        more: Further settings.
    """

    folder: Path
    tracking_uri: str
    root: str
    more: dict[str, str] = field(default_factory=dict)

    def project(self, **more: str) -> Project:
        environ = {
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "MLFLOW_ARTIFACT_ROOT": self.root,
            "HOLDFAST_TRANSFER_DEADLINE": "5",
            **self.more,
            **more,
        }
        self.folder.mkdir(exist_ok=True)
        (self.folder / "pyproject.toml").touch()
        return Project(load_settings(start=self.folder, environ=environ))

    def run(self, experiment: str, files: Mapping[str, bytes] | None = None, status: str = "FINISHED") -> Run:
        """Log a run with files; return it."""
        project = self.project()
        run = project.runs.create_run(project.experiment(experiment).experiment_id, None, {})
        self.write(run.artifact_uri, ODD if files is None else files)
        if status != "RUNNING":
            project.runs.end_run(run.run_id, status)
        return run

    def write(self, place: str, files: Mapping[str, bytes]) -> None:
        local = self.folder / "to-be-stored"
        local.mkdir(exist_ok=True)
        items = []
        for number, (path, content) in enumerate(files.items()):
            (local / str(number)).write_bytes(content)
            items.append(Item(local / str(number), f"{place}/{path}"))
        self.project().artifacts.upload(items)

    def register(self, name: str, source: str, run_id: str | None = None) -> None:
        models = self.project().models
        models.ensure_model(name)
        models.create_version(name, source, run_id, await_s=5)

    def migration(self, to: str, **more: Any) -> Migration:
        return Migration(self.project(), Request(to, **more))

    def migrate(self, to: str, meter: Meter = SILENT, **more: Any) -> Outcome:
        return self.migration(to, **more).run(meter)

    def files(self, place: str, into: Path, **settings: str) -> dict[str, str]:
        """Fetch all files below an address; return their SHA-256 by path."""
        self.project(**settings).artifacts.download(place, "", into)
        return contents(into)

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return all rows of all tables."""
        return dump(self.tracking_uri)

    @property
    def ledgers(self) -> list[Path]:
        return sorted((self.folder / ".holdfast" / "migrations").glob("*/ledger.jsonl"))


def keys_of(account: Account, endpoint_url: str) -> dict[str, str]:
    """Return the settings that make an account a project's own."""
    return {
        "MLFLOW_S3_ENDPOINT_URL": endpoint_url,
        "MLFLOW_AWS_ACCESS_KEY_ID": account.access_key_id,
        "MLFLOW_AWS_SECRET_ACCESS_KEY": account.secret_access_key,
        "MLFLOW_AWS_DEFAULT_REGION": "us-east-1",
    }


def contents(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of all files below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sums(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of contents."""
    return {path: hashlib.sha256(content).hexdigest() for path, content in sorted(files.items())}


def dump(uri: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables of a database."""
    engine = create_engine(uri)
    known = MetaData()
    try:
        known.reflect(engine)
        with engine.connect() as connection:
            return {
                name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
                for name, table in known.tables.items()
            }
    finally:
        engine.dispose()


def moved(rows: Mapping[str, list[tuple[Any, ...]]], old: str, new: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return rows with one root in place of another, where a whole value lies below it."""

    def value(item: Any) -> Any:
        is_below = isinstance(item, str) and (item == old or item.startswith(f"{old}/"))
        return f"{new}{item[len(old) :]}" if is_below else item

    return {
        name: sorted((tuple(value(item) for item in row) for row in table), key=repr) for name, table in rows.items()
    }


def env_file(path: Path, values: Mapping[str, str]) -> Path:
    """Write a file like `.env`."""
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    os.chmod(path, 0o600)
    return path
