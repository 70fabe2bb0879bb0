"""A process that has imported MLflow and forks children that log: each starts in milliseconds instead of seconds.

A line of JSON on standard input is a job: `code` runs in a new process as its main program, with `environ` and the
working directory `folder`. It knows `say(name, value)` and `ack(number)`. Lines on standard output tell `pid`,
`say` and `exit`. Arguments are modules that all children are to have, besides MLflow.
"""

from __future__ import annotations

import gc
import importlib
import json
import mmap
import os
import select
import sys
from pathlib import Path
from types import ModuleType

import git  # noqa: F401 - MLflow asks it at the beginning of a run
import mlflow
import mlflow.store.tracking.rest_store
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
import pandas as pd  # noqa: F401

import holdfast.cli
import holdfast.tracking.tracker  # noqa: F401


def tell(**said: object) -> None:
    """Write one line."""
    os.write(1, json.dumps(said).encode() + b"\n")


def reap() -> None:
    """Tell which children have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        tell(exit=pid, code=os.waitstatus_to_exitcode(status))


def next_job() -> dict[str, object]:
    """Fork for each job; return it in the child."""
    buffer = b""
    while True:
        reap()
        if not select.select([0], [], [], 0.02)[0]:
            continue
        data = os.read(0, 1 << 16)
        if not data:
            os._exit(0)
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            job: dict[str, object] = json.loads(line)
            pid = os.fork()
            if pid == 0:
                return job
            tell(job=job["job"], pid=pid)


for name in sys.argv[1:]:
    importlib.import_module(name)
gc.collect()
gc.freeze()  # else each child goes through all that is imported, when it collects and at its end
job = next_job()
told = os.dup(1)
folder = Path(str(job["folder"]))
output = os.open(folder / "output.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.dup2(output, 1)
os.dup2(output, 2)
os.chdir(folder)
os.environ.update(job["environ"])  # type: ignore[call-overload]
page = mmap.mmap(os.open(folder / "acknowledged", os.O_RDWR), 8)


def say(name: str, value: object) -> None:
    """Tell the test something."""
    os.write(told, json.dumps({"job": job["job"], "say": name, "value": value}).encode() + b"\n")


def ack(number: int) -> None:
    """Note that so many calls have returned; what is written here outlives the process."""
    page[:8] = number.to_bytes(8, "little")


nursery = sys.modules["__main__"]  # kept: its functions are used
main = sys.modules["__main__"] = ModuleType("__main__")  # where a pool of processes looks for a function of the child's
main.__dict__.update(say=say, ack=ack)
exec(compile(str(job["code"]), "<child>", "exec"), main.__dict__)  # noqa: S102
sys.stdout.flush()
