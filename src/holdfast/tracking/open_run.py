"""A run that is open: what it takes to log to it, to end it, and to know whose it is."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from holdfast.artifacts.scopes import Claim
from holdfast.backend import fluent
from holdfast.journal.writer import RunWriter


@dataclass(frozen=True, eq=False)
class OpenRun:
    """A run that was begun, or gone on with, in this process or in the one it was forked from.

    Attributes:
        run_id: Its id.
        artifact_uri: Where its files go.
        parent_id: The run it is nested in, or None.
        place: Where MLflow's fluent functions go while it is the active run.
        stack: The active runs, as MLflow keeps them, of the thread that began it.
        claim: Has plain MLflow use the project's keys for its files; None where they need none.
        writer: What appends to the journal for it; None where it is logged to directly.
        process: The process that began it; only that one may end it.
    """

    run_id: str
    artifact_uri: str
    parent_id: str | None
    place: fluent.Place
    stack: fluent.Stack = field(repr=False)
    writer: RunWriter | None = field(default=None, repr=False)
    claim: Claim | None = field(default=None, repr=False)
    process: int = field(default_factory=os.getpid)

    @property
    def is_active(self) -> bool:
        """Whether MLflow still holds it open; not so once the user called `mlflow.end_run()`."""
        return self.run_id in fluent.run_ids(self.stack)

    @property
    def is_of_this_thread(self) -> bool:
        """Whether the calling thread began it. A forked child's threads began none of their parent's runs."""
        return self.stack is fluent.thread_stack()

    @property
    def is_of_this_process(self) -> bool:
        """Whether this process began it, not the one it was forked from."""
        return self.process == os.getpid()
