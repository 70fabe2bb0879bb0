"""A Lightning training with one tracker after the other, each in a process of its own.

`python -m benchmarks.loops TASK JSON` does one task. It runs under the interpreter of `.venv-bench` for the trackers
that are installed there, so that nothing in this package may need Holdfast or MLflow at import.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Way:
    """One way of training the same module.

    Attributes:
        label: How it is called in the tables.
        own_venv: Whether its process runs in `.venv-bench`.
        store: Where it logs: `server`, `sqlite`, or nowhere.
    """

    label: str
    own_venv: bool = False
    store: str = ""


# In the order of the table.
NONE, AGAIN = "none", "again"
WAYS = {
    NONE: Way("no tracker"),
    AGAIN: Way("no tracker, another process (the noise)"),
    "callbacks": Way("the pipeline's callbacks, a logger that drops all"),
    "pipeline": Way("Holdfast, TrainingPipeline, everything", store="server"),
    "logger": Way("Holdfast, HoldfastLogger", store="server"),
    "mlflow": Way("Lightning's MLFlowLogger, http", store="server"),
    "mlflow-async": Way("the same, synchronous=False", store="server"),
    "mlflow-sqlite": Way("the same, synchronous, sqlite", store="sqlite"),
    "wandb": Way("Lightning's WandbLogger, offline", own_venv=True),
}
# Those whose turn comes next to one of `none`, which they are compared with.
COMPARED = tuple(name for name in WAYS if name != NONE)


@dataclass(frozen=True)
class Case:
    """How hard it is made for the trackers.

    Attributes:
        name: What it is called.
        batch_size: Images a step.
        steps: Of one turn, which is an epoch.
        log_every: Lightning's `log_every_n_steps`.
    """

    name: str
    batch_size: int
    steps: int
    log_every: int


CASES = (
    Case("a usual step", batch_size=64, steps=30, log_every=10),
    Case("a short step, each of them logged", batch_size=2, steps=60, log_every=1),
)
