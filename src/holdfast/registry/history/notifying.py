"""Telling webhooks what they have not been told, for as long as it takes."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace

from holdfast.backend.history import HistoryRun
from holdfast.core.dice import draw
from holdfast.errors import BackendError, NotFoundError
from holdfast.project import Project
from holdfast.registry.history.export import find_registered, kept_history
from holdfast.registry.history.outbox import Outbox, Standing

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


class Notifier:
    """Tells a project's webhooks of one model, or of all.

    Args:
        project: Whose.
        name: The registered model; None for all.
    """

    def __init__(self, project: Project, name: str | None = None) -> None:
        self._project = project
        self._name = name
        self._outbox = Outbox(project)

    def standing(self) -> list[Standing]:
        """Return how each webhook stands with each model; nothing is posted.

        Raises:
            NotFoundError: There is no such model.
            BackendError: The registry is out of reach.
        """
        return [item for model, kept in self._histories() for item in self._outbox.standing(model, kept.run_id)]

    def send(self) -> list[Standing]:
        """Make one attempt at all that waits.

        Raises:
            SettingsError: There is nothing to sign with.
            NotFoundError: There is no such model.
            BackendError: The registry is out of reach.
        """
        found = []
        for model, kept in self._histories():
            self._outbox.begin(model, kept)
            found += self._outbox.send(model, kept.run_id)
        return found

    def send_for(self, limit_s: float) -> list[Standing]:
        """Try again, with growing pauses, until nothing waits or the time is over; return what came of it in all."""
        until_s, pause_s = time.monotonic() + limit_s, _FIRST_PAUSE_S
        posted: dict[tuple[str, str], int] = defaultdict(int)
        while True:
            found = self.send()
            for item in found:
                posted[item.model, item.webhook] += item.delivered
            wait_s = max([pause_s * draw(0.5, 1.0), *(item.wait_s for item in found if item.pending)])
            if not any(item.pending for item in found) or time.monotonic() + wait_s > until_s:
                return [replace(item, delivered=posted[item.model, item.webhook]) for item in found]
            time.sleep(wait_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def watch(self, every_s: float, stop: threading.Event, trouble: Callable[[str], None]) -> Iterator[list[Standing]]:
        """Go on for ever: give what each round has done, and look again after a pause.

        Args:
            every_s: The pause, in seconds; a server that asks for more gets it.
            stop: Ends it.
            trouble: Is told why a round failed; the next one may work.
        """
        while not stop.is_set():
            try:
                yield self.send()
            except BackendError as error:
                trouble(error.message)
            stop.wait(every_s)

    def _histories(self) -> list[tuple[str, HistoryRun]]:
        """Return the models that some webhook is told of, each with its history."""
        names = [model.name for model in self._project.models.models()] if self._name is None else [self._name]
        found = []
        for name in names:
            if self._name is None and not self._outbox.hooks_for(name):
                continue
            try:
                kept = kept_history(self._project, find_registered(self._project, name))
            except NotFoundError:
                if self._name is not None:
                    raise
                continue  # deleted meanwhile
            if kept is not None:
                found.append((name, kept))
        return found
