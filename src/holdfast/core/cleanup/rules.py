"""What a clean-up was asked to do."""

from __future__ import annotations

from dataclasses import dataclass

_DAY_S = 86_400


@dataclass(frozen=True)
class RetentionRule:
    """Which runs, or which checkpoints in runs, are no longer worth their room.

    A run that has not ended is never taken, nor one with the tag `holdfast.keep` (whose value is not `false`). Several
    rules are asked one by one, and any of them may take a run: what a `keep-…` row keeps is safe from its own rule
    only. Ranks are counted in each experiment, over the active runs that have ended and that the rule is about.

    Attributes:
        name: For people; empty where it has none.
        experiments: The names of the experiments that it is about, as globs.
        tags: What each run's tags must be, the values as globs; all must match.
        older_than_s: Only runs that ended so long ago are taken; None asks no age.
        keep_best: How many of the best runs by `metric` stay; 0 keeps none for that.
        metric: The metric that says which runs are best. Runs that lack it, or have NaN there, rank last.
        mode: Whether the best have the `min` or the `max` of it.
        keep_last: How many of the runs that began last stay, or with `checkpoints` how many of a run's last ones.
        checkpoints: A glob below a run's place, segment by segment; with it no run is taken, only what it matches: a
            file, or a folder with all that is in it (only folders where the glob ends in a slash). Which are the last
            is told by the numbers in their names, then by time; a name without a number (`last.ckpt`) is never taken.
    """

    name: str = ""
    experiments: tuple[str, ...] = ("*",)
    tags: tuple[tuple[str, str], ...] = ()
    older_than_s: float | None = None
    keep_best: int = 0
    metric: str = ""
    mode: str = ""
    keep_last: int = 0
    checkpoints: str = ""

    def __str__(self) -> str:
        return f"retention rule {self.name}" if self.name else "a retention rule"


@dataclass(frozen=True)
class CleanupRules:
    """What is garbage this time.

    Attributes:
        older_than_s: How long ago a run, model or experiment must have been deleted; with 0 also those of which the
            store does not say when.
        grace_s: How long what was written stays, whatever else says that it is garbage.
        orphans: Whether what nothing knows is garbage.
        trash: Whether objects only get delete markers, and rows stay.
        retention: Which active runs and checkpoints are taken.
        experiment_ids: Look at these only; all where it is empty.
        run_ids: Look at these only; all where it is empty. Orphans and experiments are then none.
        roots: The places that were listed whole; orphans and stale uploads are looked for there only.
    """

    older_than_s: float = 30 * _DAY_S
    grace_s: float = _DAY_S
    orphans: bool = False
    trash: bool = False
    retention: tuple[RetentionRule, ...] = ()
    experiment_ids: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()

    def is_old(self, then_ms: int | None, now_ms: int) -> bool:
        """Whether something deleted at a time is old enough; with an age of 0 all is."""
        if self.older_than_s <= 0:
            return True
        return then_ms is not None and now_ms - then_ms >= self.older_than_s * 1000

    def is_recent(self, then_ms: int | None, now_ms: int) -> bool:
        """Whether something was written within the grace period."""
        return then_ms is not None and now_ms - then_ms < self.grace_s * 1000

    def is_asked(self, experiment_id: str, run_id: str = "") -> bool:
        """Whether something of this experiment and this run is to be looked at."""
        in_experiment = not self.experiment_ids or experiment_id in self.experiment_ids
        return in_experiment and (not self.run_ids or run_id in self.run_ids)
