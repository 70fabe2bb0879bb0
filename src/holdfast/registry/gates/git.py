"""Whether the code a version was trained by is in a commit, all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.core.lineage import GIT_COMMIT_TAG, GIT_DIRTY_TAG, MLFLOW_COMMIT_TAG, MLFLOW_DIRTY_TAG
from holdfast.core.promotion import CheckAnswer
from holdfast.registry.gates.case import Case

_COMMIT_FIRST = "commit what `git status` shows, or have .gitignore name it, and train again"
_INSIDE = "train with the tracker and its working directory inside the git repository (HOLDFAST_LINEAGE=tags)"


@dataclass(frozen=True)
class CleanGit:
    """The run came from a commit, without changes or files that are in none, by the tags it was begun with."""

    @property
    def name(self) -> str:
        """What is asked."""
        return "clean git"

    def answer(self, case: Case) -> CheckAnswer:
        """Answer by the run's tags: Holdfast's own, else MLflow's."""
        if case.run is None:
            return CheckAnswer(self.name, False, "the version has no run, which would say what code it came from")
        passed, reason = _judge(case.run.tags)
        return CheckAnswer(self.name, passed, reason)


def _judge(tags: Mapping[str, str]) -> tuple[bool, str]:
    ours, theirs = tags.get(GIT_COMMIT_TAG), tags.get(MLFLOW_COMMIT_TAG)
    commit = ours or theirs
    dirty = tags.get(GIT_DIRTY_TAG if ours else MLFLOW_DIRTY_TAG, "").lower()
    if not commit:
        return False, f"the run names no commit: {_INSIDE}"
    if ours and theirs and ours != theirs:
        where = "the working directory was in another repository than the script, or the commit changed meanwhile"
        return False, f"the run names two commits, {ours[:12]} and {theirs[:12]}: {where}; {_INSIDE}"
    if dirty == "true":
        return False, f"commit {commit[:12]} had uncommitted changes: {_COMMIT_FIRST}"
    if dirty != "false":
        return False, f"the run names commit {commit[:12]}, and not whether anything was uncommitted: {_INSIDE}"
    return True, f"commit {commit[:12]}, nothing uncommitted"
