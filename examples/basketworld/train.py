"""Train a policy of BasketWorld: python -m holdfast_examples.basketworld.train --alternations 50 --seed 1

`--resume auto` goes on with the latest run of the output folder if it did not finish, to the same weights as if it had
never stopped, and begins one otherwise.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.settings import Settings, load_settings
from holdfast.tracking import MLflowTracker
from holdfast.training.extras import need

from .learning.config import TrainingConfig, check_given

EXPERIMENT = "basketworld"
_INTERRUPTED = "interrupted; to go on from where it was: --resume last"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says; return the exit code: 0 done, 1 failed, 2 wrong input, 130 Ctrl-C.

    Raises:
        Terminated: SIGTERM; the state was saved. It is an exit, with code 143.
    """
    options = parse(arguments)
    show_progress()
    try:
        need(("torch", "sb3_contrib"), "this example", "basketworld")
        keys = {name: getattr(options, name) for name in TrainingConfig.model_fields}
        check_given(keys, options.resume)
        from .learning.session import train

        tracker = MLflowTracker(settings=project_settings(options.experiment))
        made = train(tracker, keys, options.output_dir, resume=options.resume, run_name=options.run_name)
    except HoldfastError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - this is a command
        return error.exit_code
    except KeyboardInterrupt:
        print(_INTERRUPTED, file=sys.stderr)  # noqa: T201 - this is a command
        return 130
    said = {"run_id": made.run_id, "is_resumed": made.is_resumed, "alternations": made.alternations}
    said |= {"policy": str(made.policy(made.alternations))}
    line = f"Run {made.run_id}: {made.alternations} alternations, the last policy is {said['policy']}"
    print(json.dumps(said) if options.json else line)  # noqa: T201 - this is a command
    return 0


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options as given; a key of the training that is not given is None."""
    parser = argparse.ArgumentParser(prog="python -m holdfast_examples.basketworld.train", allow_abbrev=False)
    own = parser.add_argument_group("the run")
    own.add_argument("--output-dir", type=Path, default=Path("outputs"), help="where its files go [outputs]")
    own.add_argument("--run-name", metavar="NAME", help="the MLflow run's name")
    own.add_argument(
        "--experiment", metavar="NAME", help=f"the MLflow experiment [the configured one, or {EXPERIMENT}]"
    )
    own.add_argument("--resume", metavar="RUN_ID|last|auto", help="go on with a run, exactly")
    own.add_argument("--json", action="store_true", help="print the result as JSON")
    group = parser.add_argument_group("the training")
    for name, field in TrainingConfig.model_fields.items():
        about = f"{field.description} [{_shown(field.get_default(call_default_factory=True))}]"
        group.add_argument(f"--{name.replace('_', '-')}", dest=name, metavar="VALUE", help=about.replace("%", "%%"))
    return parser.parse_args(arguments)


def project_settings(experiment: str | None = None) -> Settings:
    """Return the project's settings, in this example's experiment where none is named."""
    settings = load_settings() if experiment is None else load_settings(experiment_name=experiment)
    is_named = settings.origin_of("experiment_name").kind != "default"
    return settings if is_named else load_settings(experiment_name=EXPERIMENT)


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else json.dumps(value)


def show_progress() -> None:
    """Have what the training says go to standard error, where nobody has said how to log."""
    ours = logging.getLogger(__package__)
    if not ours.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        ours.addHandler(handler)
        ours.setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
