"""One client moving one file or folder to or from S3, in a process of its own, whose memory is then known.

    python benchmarks/movers.py CLIENT up|down FILE_OR_FOLDER PREFIX

The endpoint is in AWS_ENDPOINT_URL_S3, the bucket is `bench`. It prints JSON: the seconds that the transfer took (for
programs with their start, for libraries once they have moved a byte) and the peak memory in MB.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

BUCKET = "bench"
_THREADS = 16
_Move = Callable[[Path, str], None]


def _endpoint() -> str:
    return os.environ["AWS_ENDPOINT_URL_S3"]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


# -- Holdfast ---------------------------------------------------------------------------------------------------


def _holdfast(direction: str) -> _Move:
    from holdfast.artifacts.access import access_of
    from holdfast.artifacts.s3 import S3Files
    from holdfast.artifacts.transfer import Item
    from holdfast.settings import load_settings

    files = S3Files(access_of(load_settings()))

    def up(local: Path, prefix: str) -> None:
        root = f"s3://{BUCKET}/{prefix}"
        paths = [local] if local.is_file() else _files(local)
        base = local.parent if local.is_file() else local
        files.upload([Item(path, f"{root}/{path.relative_to(base).as_posix()}") for path in paths])

    def down(local: Path, prefix: str) -> None:
        files.download(f"s3://{BUCKET}", prefix, local)

    return up if direction == "up" else down


# -- MLflow's own repository ------------------------------------------------------------------------------------


def _mlflow(direction: str) -> _Move:
    from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

    def up(local: Path, prefix: str) -> None:
        repository: Any = S3ArtifactRepository(f"s3://{BUCKET}/{prefix}")
        repository.log_artifact(str(local)) if local.is_file() else repository.log_artifacts(str(local))

    def down(local: Path, prefix: str) -> None:
        local.mkdir(parents=True, exist_ok=True)
        repository: Any = S3ArtifactRepository(f"s3://{BUCKET}/{prefix}")
        repository.download_artifacts("", str(local))

    return up if direction == "up" else down


# -- boto3: its transfer manager, one for all files -------------------------------------------------------------


def _boto3(direction: str) -> _Move:
    import boto3
    from boto3.s3.transfer import TransferConfig, create_transfer_manager
    from botocore.config import Config

    client: Any = boto3.session.Session().client("s3", config=Config(max_pool_connections=_THREADS))
    config = TransferConfig(max_concurrency=_THREADS)

    def up(local: Path, prefix: str) -> None:
        paths = [local] if local.is_file() else _files(local)
        base = local.parent if local.is_file() else local
        with create_transfer_manager(client, config) as manager:
            for path in paths:
                manager.upload(str(path), BUCKET, f"{prefix}/{path.relative_to(base).as_posix()}")

    def down(local: Path, prefix: str) -> None:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
        with create_transfer_manager(client, config) as manager:
            for item in (item for page in pages for item in page.get("Contents", [])):
                target = local / item["Key"].removeprefix(f"{prefix}/")
                target.parent.mkdir(parents=True, exist_ok=True)
                manager.download(BUCKET, item["Key"], str(target))

    return up if direction == "up" else down


# -- obstore in a pool of threads -------------------------------------------------------------------------------


def _obstore(direction: str) -> _Move:
    import obstore
    from obstore.store import S3Store

    make: Any = S3Store
    store = make(BUCKET, endpoint=_endpoint(), client_options={"allow_http": True})

    def up(local: Path, prefix: str) -> None:
        paths = [local] if local.is_file() else _files(local)
        base = local.parent if local.is_file() else local
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda path: _put(path, f"{prefix}/{path.relative_to(base).as_posix()}"), paths))

    def _put(path: Path, key: str) -> None:
        obstore.put(store, key, path)

    def down(local: Path, prefix: str) -> None:
        found = [meta for page in obstore.list(store, f"{prefix}/") for meta in page]
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda meta: _get(meta["path"], local / meta["path"].removeprefix(f"{prefix}/")), found))

    def _get(key: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            for chunk in obstore.get(store, key).stream(min_chunk_size=1 << 20):
                file.write(chunk)

    return up if direction == "up" else down


# -- minio-py in a pool of threads ------------------------------------------------------------------------------


def _minio(direction: str) -> _Move:
    from minio import Minio  # type: ignore[import-not-found,unused-ignore]

    client: Any = Minio(
        endpoint=_endpoint().partition("//")[2],
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        secure=False,
        region="us-east-1",
    )

    def up(local: Path, prefix: str) -> None:
        paths = [local] if local.is_file() else _files(local)
        base = local.parent if local.is_file() else local
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda path: _put(path, f"{prefix}/{path.relative_to(base).as_posix()}"), paths))

    def _put(path: Path, key: str) -> None:
        client.fput_object(bucket_name=BUCKET, object_name=key, file_path=str(path), num_parallel_uploads=4)

    def down(local: Path, prefix: str) -> None:
        found = client.list_objects(bucket_name=BUCKET, prefix=f"{prefix}/", recursive=True)
        names = [item.object_name for item in found]
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda name: _get(name, local / name.removeprefix(f"{prefix}/")), names))

    def _get(key: str, target: Path) -> None:
        client.fget_object(bucket_name=BUCKET, object_name=key, file_path=str(target))

    return up if direction == "up" else down


# -- programs ---------------------------------------------------------------------------------------------------


def _program(*command: str) -> Callable[[str], _Move]:
    def make(direction: str) -> _Move:
        folder = Path(sys.executable).parent

        def up(local: Path, prefix: str) -> None:
            remote = f"s3://{BUCKET}/{prefix}/"
            source = str(local) if local.is_file() else f"{local}/"
            _run([str(folder / command[0]), *command[1:], *_recursive(local), source, remote])

        def down(local: Path, prefix: str) -> None:
            local.mkdir(parents=True, exist_ok=True)
            remote = f"s3://{BUCKET}/{prefix}/"
            if command[0] == "s5cmd":
                remote += "*"
            _run([str(folder / command[0]), *command[1:], *_recursive(local), remote, f"{local}/"])

        return up if direction == "up" else down

    def _recursive(local: Path) -> list[str]:
        return ["--recursive"] if command[0] == "aws" and local.is_dir() else []

    return make


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


_PROGRAMS = ("s5cmd", "aws")
CLIENTS: dict[str, Callable[[str], _Move]] = {
    "holdfast": _holdfast,
    "mlflow": _mlflow,
    "boto3": _boto3,
    "obstore": _obstore,
    "minio": _minio,
    "s5cmd": _program("s5cmd", "--endpoint-url", os.environ.get("AWS_ENDPOINT_URL_S3", ""), "cp"),
    "aws": _program("aws", "s3", "cp", "--quiet"),
}


def main() -> None:
    """Move, and say what it took."""
    client, direction, local, prefix = sys.argv[1:]
    move = CLIENTS[client](direction)
    if client not in _PROGRAMS:
        _warm_up(client, move, direction)
    started = time.perf_counter()
    move(Path(local), prefix)
    seconds = time.perf_counter() - started
    sys.stdout.write(json.dumps({"seconds": seconds, "peak_mb": _peak_kb() / 1024}) + "\n")


def _warm_up(client: str, move: _Move, direction: str) -> None:
    """Have a library make its client and its connection, with a file of one byte."""
    prefix = f"warm-up/{client}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "byte").write_bytes(b"x")
        if direction == "down":
            CLIENTS[client]("up")(folder / "byte", prefix)
        move(folder / "fetched" if direction == "down" else folder / "byte", prefix)


def _peak_kb() -> int:
    """Return this process's peak, or that of the program it ran."""
    # Not `ru_maxrss` of this one: it begins with what the process that forked it had.
    status = Path("/proc/self/status").read_text()
    own = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


if __name__ == "__main__":
    main()
