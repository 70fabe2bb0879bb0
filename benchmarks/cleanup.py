"""`holdfast gc` beside `mlflow gc` on stores of the same content, and its two halves beside plain boto3."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import column, create_engine, func, select, table

from benchmarks.session import Session, say
from benchmarks.table import Table, ratio
from holdfast.artifacts.access import access_of
from holdfast.artifacts.removal.holdings import Holdings
from holdfast.settings import load_settings
from holdfast.testing import PostgresServer, S3Server
from holdfast.testing.rclone import RcloneServer

_RUNS, _FILES = 1000, ("model/weights", "log.txt")
_OBJECTS = 10_000
_BATCH = 1000
_ROOT = "s3://models/runs"
_THREADS = 4  # as many as ours
_BIN = Path(sys.executable).parent
# Keys and their server, as both commands and boto3 read them.
_Env = dict[str, str]
_T = TypeVar("_T")


def measure(session: Session) -> list[Table]:
    """Return a table of whole clean-ups, and one of their two halves."""
    with (
        tempfile.TemporaryDirectory(prefix="hf-bench-") as name,
        S3Server() as moto,
        RcloneServer() as rclone,
        PostgresServer() as postgres,
    ):
        folder = Path(name)
        account = moto.add_account("project", ["models", "versions"])
        strict = _environment(account, moto.endpoint_url)
        quick = _environment(rclone.access.account, rclone.endpoint_url)
        rclone.access.client().create_bucket(Bucket="models")
        moto.client().put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
        stores = [
            _Store("a folder, SQLite", f"sqlite:///{folder}/one.db", str(folder / "files")),
            _Store("rclone's S3, SQLite", f"sqlite:///{folder}/two.db", _ROOT, quick, rclone.access),
            _Store("rclone's S3, PostgreSQL", postgres.create_database("one"), _ROOT, quick, rclone.access),
            _Store("moto's S3, SQLite", f"sqlite:///{folder}/three.db", _ROOT, strict, moto.access),
        ]
        buckets = [
            _Store("rclone", "", "s3://models/many", quick, rclone.access),
            _Store("moto", "", "s3://models/many", strict, moto.access),
            _Store("moto, with versions", "", "s3://versions/many", strict, moto.access),
        ]
        return [_whole(stores, folder, session.rounds), _halves(buckets, folder, session.rounds)]


def _environment(account: Any, endpoint_url: str) -> _Env:
    return {
        **{f"{whose}_ACCESS_KEY_ID": account.access_key_id for whose in ("AWS", "MLFLOW_AWS")},
        **{f"{whose}_SECRET_ACCESS_KEY": account.secret_access_key for whose in ("AWS", "MLFLOW_AWS")},
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": endpoint_url,
    }


@dataclass(frozen=True)
class _Store:
    """What is cleaned up: a database, and a folder or a part of a bucket."""

    label: str
    uri: str
    root: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    server: Any = None

    def write(self, keys: Iterator[str]) -> None:
        """Store two bytes under each key."""
        if not self.root.startswith("s3:"):
            for key in keys:
                path = Path(self.root, key)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"12")
            return
        client = self.server.client()
        bucket, _, prefix = self.root[5:].partition("/")
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda key: client.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=b"12"), keys))

    def count(self) -> int:
        """Return how many files a reader sees."""
        if not self.root.startswith("s3:"):
            return sum(path.is_file() for path in Path(self.root).rglob("*"))
        return len(_keys(self.server.client(), *self.root[5:].split("/", 1)))


# -- whole commands -------------------------------------------------------------------


def _whole(stores: list[_Store], folder: Path, rounds: int) -> Table:
    head = ["", "Holdfast s", "start-up", "mlflow gc s", "start-up", "× mlflow gc", "× without start-up"]
    table = Table(f"{_RUNS:,} deleted runs with {len(_FILES)} files each, whole commands", head)
    for store in stores:
        say(store.label)
        taken = [_cleaned(store, folder, _holdfast) for _ in range(rounds)]
        ours, idle = (statistics.median(one[i] for one in taken) for i in range(2))
        theirs, idle_theirs = _cleaned(store, folder, _mlflow)
        table.add(store.label, ours, idle, theirs, idle_theirs, ratio(theirs, ours),
                  ratio(theirs - idle_theirs, ours - idle))  # fmt: skip
    table.note("", f"Medians of {rounds} of ours, one of theirs; every row and every file is seen to be gone.")
    table.note("", "Start-up is the same command again, when there is nothing left to do.")
    return table


def _holdfast(store: _Store) -> list[str]:
    given = ["--older-than", "0s", "--grace", "0s", "--apply", "--yes", "--tracking-uri", store.uri]
    return [str(_BIN / "holdfast"), "gc", *given]


def _mlflow(store: _Store) -> list[str]:
    return [str(_BIN / "mlflow"), "gc", "--backend-store-uri", store.uri]


def _cleaned(store: _Store, folder: Path, command: Callable[[_Store], list[str]]) -> tuple[float, float]:
    """Fill a store, clean it up twice with a command, and return how long each time took, in seconds."""
    _fill(store)
    project = Path(tempfile.mkdtemp(dir=folder))
    (project / "pyproject.toml").touch()
    environment = {"PATH": os.environ["PATH"], "HOME": str(project), "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment |= {"MLFLOW_TRACKING_URI": store.uri, **store.environment}
    taken = []
    for _ in range(2):
        began = time.perf_counter()
        done = subprocess.run(command(store), cwd=project, env=environment, capture_output=True, text=True, check=False)
        taken.append(time.perf_counter() - began)
        if done.returncode or (left := (store.count(), _rows(store))) != (0, 0):
            raise RuntimeError(f"{store.label}: {(done.stderr or done.stdout).strip()[-300:] or left}")
    return taken[0], taken[1]


def _fill(store: _Store) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(store.uri)
    experiment = client.get_experiment_by_name("bench")
    experiment_id = experiment.experiment_id if experiment else client.create_experiment("bench", f"{store.root}/1")
    about = {"name": "x", "status": "FINISHED", "start_time": 1, "end_time": 2, "deleted_time": 3}
    about |= {"lifecycle_stage": "deleted", "experiment_id": int(experiment_id), "user_id": "somebody"}
    names = [f"{number:032x}" for number in range(_RUNS)]
    rows = [{"run_uuid": name, "artifact_uri": f"{store.root}/1/{name}/artifacts", **about} for name in names]
    engine = create_engine(store.uri)
    with engine.begin() as connection:
        connection.execute(table("runs", *map(column, rows[0])).insert(), rows)
    engine.dispose()
    store.write(f"1/{name}/artifacts/{file}" for name in names for file in _FILES)


def _rows(store: _Store) -> int:
    engine = create_engine(store.uri)
    with engine.connect() as connection:
        found = connection.execute(select(func.count()).select_from(table("runs"))).scalar_one()
    engine.dispose()
    return int(found)


# -- listing and deleting -------------------------------------------------------------


def _halves(buckets: list[_Store], folder: Path, rounds: int) -> Table:
    head = ["", "list s", "boto3 s", "× boto3", "delete s", "boto3 s", "× boto3"]
    table = Table(f"{_OBJECTS:,} objects of a bucket listed in all forms, and deleted", head)
    for store in buckets:
        say(store.label)
        taken = [_halves_of(store, folder) for _ in range(rounds)]
        listed, by_boto, deleted, boto_deleted = (statistics.median(one[i] for one in taken) for i in range(4))
        table.add(store.label, listed, by_boto, ratio(by_boto, listed), deleted, boto_deleted,
                  ratio(boto_deleted, deleted))  # fmt: skip
    table.note("", f"boto3: page after page; then {_BATCH:,} keys a request, {_THREADS} at once. Medians of {rounds}.")
    return table


def _halves_of(store: _Store, folder: Path) -> tuple[float, float, float, float]:
    client, (bucket, prefix) = store.server.client(), store.root[5:].split("/", 1)
    keys = [f"{number:032x}/model" for number in range(_OBJECTS)]
    store.write(iter(keys))
    holdings = _holdings(store, folder)
    listed, found = _timed(lambda: [one for page in holdings.list_place(store.root) for one in page])
    by_boto, _ = _timed(lambda: _keys(client, bucket, prefix))
    deleted, removal = _timed(lambda: holdings.remove(found))
    if len(found) != _OBJECTS or removal.failed or store.count():
        raise RuntimeError(f"{store.label}: {len(found)} found, {store.count()} left")
    store.write(iter(keys))
    names = _keys(client, bucket, prefix)
    by_boto_deleted, _ = _timed(lambda: _delete(client, bucket, names))
    return listed, by_boto, deleted, by_boto_deleted


def _holdings(store: _Store, folder: Path) -> Holdings:
    """Return ours, with the settings of a project of its own."""
    project = Path(tempfile.mkdtemp(dir=folder))
    (project / "pyproject.toml").touch()
    return Holdings(access_of(load_settings(start=project, environ=dict(store.environment))))


def _keys(client: Any, bucket: str, prefix: str) -> list[dict[str, str]]:
    """Return the keys below a prefix as boto3 lists them, with their versions where it keeps any."""
    is_versioned = client.get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled"
    method, name = ("list_object_versions", "Versions") if is_versioned else ("list_objects_v2", "Contents")
    pages = client.get_paginator(method).paginate(Bucket=bucket, Prefix=f"{prefix}/")
    return [{part: one[part] for part in ("Key", "VersionId") if part in one}
            for page in pages for one in page.get(name, ())]  # fmt: skip


def _delete(client: Any, bucket: str, names: list[dict[str, str]]) -> None:
    batches = [names[at : at + _BATCH] for at in range(0, len(names), _BATCH)]
    with ThreadPoolExecutor(_THREADS) as pool:
        done = pool.map(lambda batch: client.delete_objects(Bucket=bucket, Delete={"Objects": batch}), batches)
        if any(answer.get("Errors") for answer in done):
            raise RuntimeError(f"boto3 could not delete all of {bucket}")


def _timed(call: Callable[[], _T]) -> tuple[float, _T]:
    began = time.perf_counter()
    found = call()
    return time.perf_counter() - began, found
