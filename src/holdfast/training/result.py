"""What a training came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class TrainingResult:
    """A training that ended.

    Attributes:
        run_id: The MLflow run; None after `fast_dev_run`.
        is_resumed: Whether it went on with a run.
        best_checkpoint: The best checkpoint here; None where none was kept.
        best_score: Its value of the monitored metric; None where there is none.
        metrics: The last values of all metrics, those of the test too.
        epochs: How many are behind it.
        global_step: How many optimizer steps are behind it.
        output_dir: The folder of this run's files.
        rank: Which process of a distributed training this is; 0 is the one that owns the run.
    """

    run_id: str | None
    is_resumed: bool
    best_checkpoint: Path | None
    best_score: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    epochs: int = 0
    global_step: int = 0
    output_dir: Path = Path()
    rank: int = 0
