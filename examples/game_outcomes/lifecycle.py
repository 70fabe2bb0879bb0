"""From run to Production and back, on real games: a notebook in the form of a script.

    python -m holdfast_examples.game_outcomes.lifecycle --games nba_games.csv

runs it from top to bottom; without `--games` a league is simulated, and `--json` prints one JSON document instead of
the tables. Editors that know `# %%` cells (VS Code, PyCharm, Spyder, Jupytext) run it cell by cell. It needs no
server: by default runs go to SQLite and files to a folder, both in the project's root, and stay there.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from holdfast.cli.output import get_output
from holdfast.core.drift_page import HEADINGS, describe_column, summarize
from holdfast.core.evidence import DriftRule
from holdfast.core.lineage import REFERENCE_FILE
from holdfast.core.policy import parse_policy
from holdfast.core.stages import Stage
from holdfast.core.uris import mask_uri
from holdfast.errors import PromotionRefusedError
from holdfast.project import open_project
from holdfast.registry import ModelRegistry
from holdfast.registry.comparison.versions import compare
from holdfast.registry.gates.drift import measure_run
from holdfast.registry.history.audit import audit
from holdfast.registry.serving.loading import load_model
from holdfast_examples.game_outcomes.features import CLASSIC_FEATURES
from holdfast_examples.game_outcomes.lifecycle_steps import (
    as_dicts,
    begin,
    failing,
    free_name,
    in_words,
    load_place,
    log_run,
    read_options,
    show_answers,
    show_history,
    show_metrics,
    train_on,
)
from holdfast_examples.game_outcomes.model import ModelConfig

if __name__ != "__main__":
    raise ImportError("this is a script of cells: python -m holdfast_examples.game_outcomes.lifecycle")

# %% [markdown]
# ## The games
#
# The last season is the test, the one before it decides when training stops, the earlier ones are learnt from. A
# feature of a game uses results of strictly earlier dates only.

# %%
began_s = time.monotonic()
options = read_options()
out = get_output(options.json)
scratch = tempfile.TemporaryDirectory(prefix="holdfast-lifecycle-")
settings, tracker, games = begin(options, Path(scratch.name))
project = open_project(settings)
name = free_name(project, games)
told: dict[str, Any] = {"games": games.title, "model_name": name, "tracking_uri": mask_uri(settings.tracking_uri)}
out.line(f"{games.title}; {games.split}; registered model {name}")

# %% [markdown]
# ## What a version must show before it enters a stage
#
# The same table can stand in `pyproject.toml` as `[tool.holdfast.promotion]`; then every promotion of the project obeys
# it, on the command line too. `clean-git = true` belongs there as well once your training script lives in a
# repository; this one is part of an installed package.
#
# The comparison with Production is by the log loss of each single test game: a version passes only where the 95 %
# interval of the mean difference rules out a loss above the tolerance. A tolerance of 0 would ask for a proven
# improvement. Here a loss of 0.002 is accepted: on one season of games, less cannot be told from noise.

# %%
policy = parse_policy(
    {
        "transitions": "step-by-step",
        "min": {"test/auc": 0.55},
        "max": {"test/log_loss": 0.6931},  # ln 2: a coin's
        "not-above-production": {"test/log_loss": 0.002},
        "description": True,
        "signature": True,
        "input-example": True,
        "artifacts": True,
        "loads": {"timeout-s": 120},
        "data": [str(games.file)],
        "approvals": {"Production": 1},
        "staging": {"description": True, "signature": True, "input-example": True},
    }
)
registry = ModelRegistry(project, policy)
# Somebody else, on the same project. On a server of a team that is another machine, and HOLDFAST_USER or the login
# says who it is.
colleague = ModelRegistry(open_project(load_place(user="a colleague")), policy)

# %% [markdown]
# ## A first model
#
# The classic features only: win shares and margins of the last ten games, rest, calendar. It is registered, goes to
# Staging, and its author asks for Production. Nobody approves a request of one's own; a colleague does.

# %%
classic = [column for column in CLASSIC_FEATURES if column in games.features]
quick = ModelConfig(learning_rate=0.05, patience=60, trees_per_round=1)
first = train_on(games, classic, quick)
show_metrics(out, first)
uri = log_run(tracker, games, first, "classic features")
one = registry.register(name, uri, f"Boosted stumps on {len(classic)} classic features").version
registry.promote(name, one, "Staging", reason="first model")
registry.request(name, one, reason="there is none in Production yet")

# %%
try:
    registry.approve(name, one)
except PromotionRefusedError as error:
    told["own_request"] = error.message
    out.line(f"refused: {error.message}")
colleague.approve(name, one, reason="figures are of a season it never saw")

# %% [markdown]
# Games of your own may be so few or so even that no honest model passes. Then it is promoted against the gates, with a
# reason that stays in the history, so that the rest can be seen.

# %%
answers = registry.check(name, one)
show_answers(out, f"Gates before Production, version {one}", answers)
override = "the example goes on, to show the rest" if failing(answers) else None
registry.promote(name, one, "Production", reason="first model", override=override)
told["first"] = {"version": one, "metrics": first.metrics["test"], "gates": as_dicts(answers), "override": override}

# %% [markdown]
# ## A second, better one
#
# All features: ratings, form and schedule beside the classic ones. Whether it is better is not for its author to say.

# %%
second = train_on(games, games.features.columns, quick)
show_metrics(out, second)
uri = log_run(tracker, games, second, "all features")
two = registry.register(name, uri, f"Boosted stumps on {len(second.columns)} features").version
registry.promote(name, two, "Staging")
answers = registry.check(name, two)
show_answers(out, f"Gates before Production, version {two}, before anybody has asked", answers)

# %%
registry.request(name, two, reason="ratings added")
colleague.approve(name, two)
override = "the example goes on, to show the rest" if failing(answers) else None
done = registry.promote(name, two, "Production", reason="ratings added", override=override)
told["second"] = {
    "version": two,
    "metrics": second.metrics["test"],
    "gates": as_dicts(answers),
    "override": override,
    "archived": list(done.archived),
}
out.line(f"version {two} is in Production; version {', '.join(map(str, done.archived))} is archived")

# %% [markdown]
# ## A third one that must not get there
#
# 200 trees of depth 6 and no early stopping: settings as they are often copied. It knows its training seasons almost by
# heart.

# %%
deep = ModelConfig(
    rounds=200,
    patience=0,
    learning_rate=0.1,
    max_depth=6,
    min_child_weight=1.0,
    subsample=0.8,
    colsample_bytree=0.8,
    trees_per_round=1,
    max_bin=256,
    monotone=False,
)
third = train_on(games, games.features.columns, deep)
show_metrics(out, third)
uri = log_run(tracker, games, third, "deep trees")
three = registry.register(name, uri, "200 trees of depth 6, never stopped").version
registry.promote(name, three, "Staging")
answers = registry.check(name, three)
show_answers(out, f"Gates before Production, version {three}", answers)

# %%
told["third"] = {
    "version": three,
    "train_metrics": third.metrics["train"],
    "metrics": third.metrics["test"],
    "gates": as_dicts(answers),
    "refused_by": failing(answers),
    "refusal": None,
}
if failing(answers):
    try:
        registry.promote(name, three, "Production")
    except PromotionRefusedError as error:
        told["third"]["refusal"] = error.message
        out.line(f"refused: {error.message}")
    registry.promote(name, three, "Archived", reason="knows its training seasons by heart")
else:
    out.line("On these games the gates find nothing against it; it stays in Staging, for nobody has asked for more.")

# %% [markdown]
# ## Who asks gets the same model
#
# By number, by stage, by alias, and as everybody's MLflow loads it: the same games, the same chances.

# %%
import mlflow.pyfunc  # noqa: E402

rows = games.of("test").tail(5)
models = {
    f"version {two}": load_model(name, version=two, project=project),
    "stage Production": load_model(name, stage="Production", project=project),
    "alias production": load_model(name, alias="production", project=project),
    # Without a folder of its own, MLflow leaves a note among the stored files, where these lie on this machine.
    "plain MLflow, @production": mlflow.pyfunc.load_model(f"models:/{name}@production", dst_path=scratch.name),
}
predictions = {who: [float(chance) for chance in model.predict(rows)] for who, model in models.items()}
earlier = load_model(name, version=one, project=project).predict(rows[classic])
predictions[f"version {one}"] = [float(chance) for chance in earlier]
told["predictions"] = predictions
out.table(
    "Chance of a home win, the last five games",
    ["asked for", *(f"game {number}" for number in range(1, len(rows) + 1))],
    [[who, *(f"{chance:.3f}" for chance in chances)] for who, chances in predictions.items()],
)

# %% [markdown]
# ## What tells the two apart
#
# `holdfast models compare` shows the same, and more. The intervals are of paired differences, game by game.

# %%
compared = {row.name: row for row in compare(project, name, one, two).metrics}
told["comparison"] = {metric: in_words(row.paired) for metric, row in compared.items() if row.paired is not None}
out.table(
    f"Version {two} against version {one}, on the test season",
    ["metric", f"version {one}", f"version {two}", f"version {two} is"],
    [
        [metric, f"{compared[metric].a:.4f}", f"{compared[metric].b:.4f}", said]
        for metric, said in told["comparison"].items()
    ],
)

# %% [markdown]
# ## Back, and forward again
#
# Before a version is Production again, its files are compared with what was registered, and it is loaded in a fresh
# process. Stage, alias and tag move in one step.

# %%
back = registry.rollback(name, reason="an alarm at night")
out.line(f"rolled back: version {back.version.version} is in Production, {list(back.archived)} archived")
forward = registry.rollback(name, two, reason="the alarm was false")
out.line(f"and forward: version {forward.version.version} is in Production, {list(forward.archived)} archived")
present = registry.find(name, Stage.PRODUCTION)
told["rolled_back_to"], told["forward_to"] = back.version.version, forward.version.version
told["production"] = None if present is None else present.version

# %% [markdown]
# ## What happened, and whether anybody meddled with it
#
# Every event names the hash of the one before. The audit compares the chain with its copies among the artifacts, with
# the registry, and with the files that are served.

# %%
events = registry.history(name)
show_history(out, events)
audited = audit(project, name)
found = "; ".join(str(problem) for problem in audited.problems) or "clean"
out.line(f"Audit of {audited.events} events and {audited.copies} copies: {found}")
told["history"] = [event.to_dict() for event in events]
told["audit"] = audited.to_dict()

# %% [markdown]
# ## Is the last season still like those it learnt from?
#
# A column has drifted only where a two-sample test is sure of it, corrected for the number of columns, and the
# stability index says that it matters. With this result as a gate (`drift = { … }`), promotion can require it.

# %%
new_games = Path(scratch.name) / "last_season.csv"
games.of("test").to_csv(new_games, index=False)
run = project.runs.get_run(registry.get(name, two).run_id)
report = measure_run(project, run, DriftRule(REFERENCE_FILE, str(new_games)))
out.table(
    f"Season {games.split.test} against the training seasons",
    HEADINGS,
    [describe_column(column) for column in report.columns if column.has_drifted],
)
out.line(summarize(report))
told["drift"] = {"columns": len(report.columns), "drifted": [column.column for column in report.drifted]}

# %%
scratch.cleanup()
told["took_s"] = round(time.monotonic() - began_s, 1)
if options.json:
    out.data(told)
out.line(
    f"{told['took_s']} s; the runs are in {told['tracking_uri']}, and `holdfast models show {name}` lists versions"
)
