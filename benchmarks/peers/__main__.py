"""One task with one peer, in this process; prints one line of JSON."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from benchmarks.peers import get_peer
from benchmarks.peers.base import Job
from benchmarks.peers.tasks import TASKS


def main() -> None:
    """Do `NAME TASK JSON`; the line holds the result, or `error`."""
    name, task, arguments = sys.argv[1:]
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what peers print goes to the log, not into the answer
    print(json.dumps(_do(name, task, json.loads(arguments))), file=answer, flush=True)
    if not get_peer(name).closes and task == "measure":
        os._exit(0)  # or MLflow would first send everything that waits


def _do(name: str, task: str, arguments: dict[str, Any]) -> Any:
    job = Job(Path(arguments.pop("folder")), arguments.pop("uri"), arguments.pop("experiment"))
    try:
        return TASKS[task](get_peer(name), job, **arguments)  # type: ignore[operator]
    except Exception as error:
        traceback.print_exc()
        return {"error": (str(error).strip() or type(error).__name__).splitlines()[0]}


main()
