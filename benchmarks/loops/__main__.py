"""One training in this process; what it says, line by line of JSON, goes to the standard output."""

from __future__ import annotations

import json
import os
import sys
import warnings


def main() -> None:
    """Do `turns` or `first-step` with the arguments given as JSON."""
    task, arguments = sys.argv[1], json.loads(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what trackers print goes to the log, not into the answers
    warnings.filterwarnings("ignore")
    import torch

    torch.set_num_threads(1)
    if task == "turns":
        from benchmarks.loops import CASES
        from benchmarks.loops.turns import Turns
        from benchmarks.loops.ways import train

        case = CASES[arguments["case"]]
        turns = Turns(case.steps, answers)
        train(arguments["way"], case, arguments["uri"], arguments["experiment"], turns)
        print(json.dumps({"ended": True}), file=answers, flush=True)
    else:
        from benchmarks.loops.first_step import go

        go(answers, **arguments)


main()
