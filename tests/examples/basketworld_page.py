"""For the tests of the page: a library without a tracking server, and the app served on a free port."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import uvicorn

from holdfast.errors import NotFoundError
from holdfast_examples.basketworld.app.messages import Policy, Run
from holdfast_examples.basketworld.app.server import Options, create_app
from holdfast_examples.basketworld.game.actions import ACTIONS
from holdfast_examples.basketworld.game.rules import Rules
from holdfast_examples.basketworld.play.players import Player
from holdfast_examples.basketworld.play.policies import Policy as Weights
from holdfast_examples.basketworld.play.policies import PolicyPlayer, features_of

RUN = "a1b2c3d4e5f60718293a4b5c6d7e8f90"


class MadeUpLibrary:
    """Two runs, one of which has three policies of random weights; counts how often one is asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def runs(self, search: str, experiment: str | None) -> Sequence[Run]:
        """Return both, or the one that is searched."""
        known = [
            Run(id=RUN, name="self-play", status="FINISHED", experiment="basketworld", policies=3),
            Run(id="f" * 32, name="just-begun", status="RUNNING", experiment="basketworld", policies=0),
        ]
        return [run for run in known if search in run.name or search in run.id]

    def policies(self, run: str) -> Sequence[Policy]:
        """Return three."""
        if run != RUN:
            raise NotFoundError(f"There is no run {run!r}.", "holdfast runs list shows the runs that there are")
        return [Policy(alternation=number) for number in (1, 2, 3)]

    def player(self, run: str, alternation: int) -> Player:
        """Return one."""
        if alternation not in [policy.alternation for policy in self.policies(run)]:
            raise NotFoundError(f"Run {run} has no policy of alternation {alternation}.", "it has those of 1, 2, 3")
        self.asked.append(alternation)
        rules, random = Rules(), np.random.default_rng(alternation)
        shape = (rules.players * ACTIONS, features_of(rules))
        return PolicyPlayer(Weights(rules, alternation, ((random.normal(0, 1, shape), np.zeros(shape[0])),)))


@contextmanager
def served(options: Options | None = None) -> Iterator[str]:
    """Serve the app in a thread; gives its address."""
    app = create_app(None, options, MadeUpLibrary())
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
