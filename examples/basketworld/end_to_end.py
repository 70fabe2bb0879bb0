"""From nothing to a policy that plays: `make example-basketworld`.

    python -m holdfast_examples.basketworld.end_to_end

trains one policy for both roles against its own past, plays the last policy against the first one and beside players
that never learnt, keeps what came of it in a child run, and says whether the policy has learnt to play. `--tiny` does
all of that in half a minute, for CI, and asks nothing of the policy.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.cli.output import Output, get_output
from holdfast.core.uris import mask_uri
from holdfast.errors import HoldfastError
from holdfast.settings import Settings
from holdfast.tracking import MLflowTracker
from holdfast.training.extras import need

from .train import project_settings, show_progress

if TYPE_CHECKING:
    from .learning.judging import Judgement
    from .learning.session import Trained

_TAG = "basketworld.judged"


@dataclass(frozen=True)
class Plan:
    """How much is learnt and played, and what is asked of the result.

    Attributes:
        training: Keys of the training's configuration.
        episodes: Of the match of the last policy against the first.
        possessions: Of each attacker on each defence.
        least_wins: The share of the match that the last policy must win.
        defences: On which it must score more than the baselines.
    """

    training: dict[str, Any]
    episodes: int
    possessions: int
    least_wins: float
    defences: tuple[str, ...]


FULL = Plan(
    training={},
    episodes=1000,
    possessions=10_000,
    least_wins=0.65,
    defences=("greedy", "last policy", "first policy", "random"),
)
TINY = Plan(
    training={
        "alternations": 2,
        "n_envs": 32,
        "opponents": 4,
        "rollout": 32,
        "steps": 4096,
        "batch": 256,
        "net_arch": (32,),
        "gif_every": 2,
    },
    episodes=64,
    possessions=64,
    least_wins=0.0,
    defences=(),
)


@dataclass
class Story:
    """What has happened so far.

    Attributes:
        out: Where it is told.
        plan: What is done.
        settings: Whose project.
        folder: Of the policies.
        seed: Of everything that is drawn.
        told: What `--json` prints.
    """

    out: Output
    plan: Plan
    settings: Settings
    folder: Path
    seed: int
    told: dict[str, Any] = field(default_factory=dict)

    def took(self, what: str, began_s: float) -> None:
        """Note how long a part took."""
        self.told.setdefault("took_s", {})[what] = round(time.monotonic() - began_s, 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Tell the whole story; return the exit code: 1 where the policy has not learnt enough, 130 Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m holdfast_examples.basketworld.end_to_end")
    parser.add_argument("--tiny", action="store_true", help="half a minute, for CI; the policy is poor")
    parser.add_argument("--output-dir", type=Path, default=Path("outputs"), help="where policies go [outputs]")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn [1]")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    options = parser.parse_args(arguments)
    out = get_output(options.json)
    show_progress()
    try:
        need(("torch", "sb3_contrib"), "this example", "basketworld")
        plan = TINY if options.tiny else FULL
        story = Story(out, plan, project_settings(), options.output_dir, options.seed)
        missed = tell(story)
    except HoldfastError as error:
        out.error(error.message, error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        out.error("Interrupted.", "python -m holdfast_examples.basketworld.train --resume last goes on with a training")
        return 130
    if options.json:
        out.data(story.told)
    if missed:
        out.error(f"The policy has not learnt enough: {'; '.join(missed)}.", "train longer: see TrainingConfig")
    return 1 if missed else 0


def tell(story: Story) -> list[str]:
    """Do everything; return the targets that are missed.

    Raises:
        HoldfastError: A part failed; what was done before stays.
    """
    from .learning.session import train

    began_s = time.monotonic()
    tracker = MLflowTracker(settings=story.settings)
    keys = {**story.plan.training, "seed": story.seed}
    made = train(tracker, keys, story.folder, run_name="self-play")
    story.took("training", began_s)
    story.told["run"] = {
        "run_id": made.run_id,
        "alternations": made.alternations,
        "policy": str(made.policy(made.alternations)),
    }
    story.out.line(f"{made.alternations} alternations of self-play in run {made.run_id}")
    missed = _judge(story, tracker, made)
    tracker.flush()
    story.took("everything", began_s)
    _sum_up(story)
    return missed


def _judge(story: Story, tracker: MLflowTracker, made: Trained) -> list[str]:
    """Play the last policy, and keep what came of it in a run below the training's, which stays as it is."""
    from .learning.judging import judge, shortcomings
    from .play.policy_files import load_player

    began_s = time.monotonic()
    last, first = load_player(made.policy(made.alternations)), load_player(made.policy(0))
    plan = story.plan
    found = judge(last, first, last.policy.rules, episodes=plan.episodes, possessions=plan.possessions, seed=story.seed)
    missed = list(shortcomings(found, plan.least_wins, plan.defences))
    tags = {"mlflow.parentRunId": made.run_id, _TAG: "missed" if missed else "passed"}
    with tracker.run("judgement", tags) as run_id:
        tracker.log_params({"episodes": plan.episodes, "possessions": plan.possessions, "seed": story.seed})
        tracker.log_metrics(found.metrics())
    story.told["judgement"] = {"run_id": run_id, "missed": missed, **found.metrics()}
    story.took("judging", began_s)
    _show(story.out, found)
    return missed


def _show(out: Output, found: Judgement) -> None:
    from .learning.judging import LAST

    out.line(f"The last policy wins {found.wins} of {found.match.episodes:,} episodes against the first")
    rows = [
        [
            defender,
            attacker,
            str(found.ppp(attacker, defender)),
            "" if attacker == LAST else str(found.ahead(attacker, defender)),
        ]
        for attacker, defender in found.tables
    ]
    columns = ["defence", "attack", "points per possession, 95 %", "the last policy has more by"]
    out.table("On the same defences", columns, rows)


def _sum_up(story: Story) -> None:
    story.told["tracking_uri"] = mask_uri(story.settings.tracking_uri)
    rows = [
        ["the last policy", story.told["run"]["policy"]],
        *([f"{what} took", f"{took} s"] for what, took in story.told["took_s"].items()),
    ]
    story.out.table("All of it", ["", ""], rows)
    story.out.line(f"The runs, with policies and films, are in {story.told['tracking_uri']}")


if __name__ == "__main__":
    sys.exit(main())
