"""`holdfast doctor` beside `mlflow doctor`: how long each takes, and which broken set-ups its exit code tells."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.session import Session, say
from benchmarks.table import Table
from holdfast.testing import FaultProxy, S3Server

_ROUNDS = 3
_BUCKET = "models"
_BIN = Path(sys.executable).parent


def measure(session: Session) -> list[Table]:
    """Return one row a set-up."""
    table = Table(
        f"A whole examination, process included, medians of {_ROUNDS}; exit code",
        ["", "Holdfast s", "exit", "mlflow doctor s", "exit", "to reach"],
    )
    with _setups(session.servers.uri) as setups:
        for what, settings in setups.items():
            say(what)
            ours = _timed([str(_BIN / "holdfast"), "doctor"], settings)
            theirs = _timed([str(_BIN / "mlflow"), "doctor"], settings)
            table.add(what, *ours, *theirs, "≤ 15 s" if "hole" in what else None)
    table.note("", "mlflow doctor connects to nothing; `wandb verify` needs a W&B server, and is not measured.")
    return [table]


@contextmanager
def _setups(tracking_uri: str) -> Iterator[dict[str, dict[str, str]]]:
    with S3Server() as server, FaultProxy(server.endpoint_url) as s3_hole, FaultProxy(tracking_uri) as hole:
        account = server.add_account("project", [_BUCKET])
        reader = server.add_account("reader", [_BUCKET], ["s3:PutObject"])
        s3_hole.black_hole()
        hole.black_hole()
        whole = {
            "MLFLOW_TRACKING_URI": tracking_uri,
            "MLFLOW_ARTIFACT_ROOT": f"s3://{_BUCKET}/runs",
            "MLFLOW_S3_ENDPOINT_URL": server.endpoint_url,
            "MLFLOW_AWS_ACCESS_KEY_ID": account.access_key_id,
            "MLFLOW_AWS_SECRET_ACCESS_KEY": account.secret_access_key,
        }
        read_only = {
            "MLFLOW_AWS_ACCESS_KEY_ID": reader.access_key_id,
            "MLFLOW_AWS_SECRET_ACCESS_KEY": reader.secret_access_key,
        }
        yield {
            "server, S3 and journal, all well": whole,
            "wrong secret": whole | {"MLFLOW_AWS_SECRET_ACCESS_KEY": "0" * 40},
            "a key that may only read": whole | read_only,
            "missing bucket": whole | {"MLFLOW_ARTIFACT_ROOT": "s3://no-such-bucket/runs"},
            "nobody at the tracking server's port": whole | {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
            "server and S3 are black holes": whole
            | {"MLFLOW_TRACKING_URI": hole.url, "MLFLOW_S3_ENDPOINT_URL": s3_hole.url},
        }


def _timed(command: list[str], settings: Mapping[str, str]) -> tuple[float, int]:
    """Run a command in a new project whose `.env` holds the settings; return seconds, and the exit code."""
    with tempfile.TemporaryDirectory(prefix="hf-bench-") as folder:
        dotenv = Path(folder, ".env")
        dotenv.touch(mode=0o600)
        dotenv.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        Path(folder, "pyproject.toml").touch()
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "MLFLOW_DISABLE_TELEMETRY": "true"}
        took: list[float] = []
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False, timeout=120)
            took.append(time.perf_counter() - began)
    return median(took), done.returncode
