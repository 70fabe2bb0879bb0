"""Where a training's files and figures go: its own folder, and the run.

Nothing here waits for a server: metrics go to the journal and files are handed over to be uploaded in the background.
What the run has already, of a process that was killed after it had logged it, is not logged again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from holdfast.tracking import MLflowTracker

from .state_file import in_order

STATES = "checkpoints"


class Outlet:
    """One run's folder and its artifacts, which have the same names.

    Args:
        tracker: Whose open run.
        folder: The run's own.
        logged: Of each metric that the run has, its last step.
    """

    def __init__(self, tracker: MLflowTracker, folder: Path, logged: Mapping[str, int]) -> None:
        self.tracker, self.folder, self._logged = tracker, folder, logged

    def place(self, name: str) -> Path:
        """Return where a file lies here, its folder made: `models/unified_policy_alt_1.zip`."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def hand_over(self, *names: str) -> None:
        """Store files of the folder with the run, under the same names."""
        for name in names:
            self.tracker.log_artifact(self.folder / name, str(Path(name).parent))

    def write(self, name: str, text: str) -> None:
        """Write a text file and store it with the run."""
        self.place(name).write_text(text, encoding="utf-8")
        self.hand_over(name)

    def metrics(self, found: Mapping[str, float], step: int) -> None:
        """Log metrics; those that the run has of this step are left out."""
        new = {name: value for name, value in found.items() if self._logged.get(name, -1) < step}
        if new:
            self.tracker.log_metrics(new, step)

    def state(self, path: Path) -> None:
        """Store a state with the run, where it replaces those before it; of these, one stays here."""
        before = in_order(one.name for one in path.parent.glob("*.state") if one != path)
        self.tracker.log_checkpoint(path, STATES, drop=before)
        for name in before[:-1]:
            (path.parent / name).unlink(missing_ok=True)
