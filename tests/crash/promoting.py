"""Promoters in processes of their own, some of which die at a chosen call, and what must be so after them.

The children come from a server that has imported MLflow and opened nothing: each starts in a fraction of a second,
and shares no connection with the test.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from holdfast import ModelRegistry, open_project
from holdfast.backend.history import HistoryStore
from holdfast.backend.registry import RegistryStore
from holdfast.core.history import Event, Kind, broken_links
from holdfast.core.policy import PromotionPolicy
from holdfast.core.stages import STAGE_TAG, Stage
from holdfast.errors import HoldfastError, NotFoundError
from holdfast.registry.changes.in_step import differences
from holdfast.registry.changes.moving import Mover
from holdfast.registry.history.mirror import Mirror

MLMODEL = "flavors:\n  python_function:\n    loader_module: nowhere\n"


@dataclass(frozen=True)
class Place:
    """A registered model with its registry; what a child is told.

    Attributes:
        uri: The tracking URI.
        root: Where files lie; None leaves it to the server.
        name: The registered model.
        told: A folder where children write what they were told.
    """

    uri: str
    root: str | None
    name: str
    told: str

    def registry(self) -> ModelRegistry:
        """Return the registry, opened anew."""
        project = open_project(tracking_uri=self.uri, artifact_root=self.root, delivery="direct", user=f"{os.getpid()}")
        return ModelRegistry(project, PromotionPolicy())


def begin(uri: str, folder: Path, name: str, versions: int) -> Place:
    """Make a model with versions of which the first is Production."""
    root = None if uri.startswith("http") else str(folder / "artifacts")
    place = Place(uri, root, name, str(folder / "told"))
    (folder / "told").mkdir()
    (folder / "model").mkdir()
    (folder / "model" / "MLmodel").write_text(MLMODEL)
    registry = place.registry()
    project = registry._project
    experiment = project.experiment(name)
    run = project.runs.create_run(experiment.experiment_id, "model", {})
    project.artifacts.upload_folder(folder / "model", run.artifact_uri, "model")
    for _ in range(versions):
        registry.register(name, f"runs:/{run.run_id}/model")
    registry.promote(name, 1, "Production")
    return place


def server() -> ForkServerContext:
    """Return what starts children."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["mlflow", "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.tracking.rest_store", "holdfast.registry"]
    )
    return context


# -- in a child -----------------------------------------------------------------------------


def die() -> None:
    """End at once."""
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    """Kills the process just before its n-th call to a store, or after its last one."""

    def __init__(self, at: int) -> None:
        self._left = at

    def tick(self) -> None:
        """Count one call."""
        self._left -= 1
        if self._left < 0:
            die()

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call, counted."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            return call(*args, **kwargs)

        return counted

    def put_before_all_calls(self) -> None:
        """Count what goes to the histories, to the registry, and to the artifact store."""
        client, countdown = RegistryStore._client.fget, self  # type: ignore[attr-defined]

        class Counted:
            def __init__(self, store: RegistryStore) -> None:
                self._real = client(store)

            def __getattr__(self, name: str) -> Any:
                return countdown.wrap(getattr(self._real, name))

        HistoryStore._call = self.wrap(HistoryStore._call)  # type: ignore[method-assign]
        RegistryStore._client = property(Counted)  # type: ignore[method-assign,assignment]
        Mirror.put = self.wrap(Mirror.put)  # type: ignore[method-assign]


def promote_and_die(place: Place, number: int, at: int) -> None:
    """Promote a version and die before the call number `at`."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"
    registry = place.registry()
    registry.get(place.name, 1)  # opens the stores: what follows are the calls of a promotion
    Countdown(at).put_before_all_calls()
    registry.promote(place.name, number, "Production")


def promote(place: Place, who: int, numbers: list[int], barrier: Any, plant: str = "") -> None:
    """Promote versions one after the other, all promoters at once, and write down what was said."""
    if plant == "no compare-and-set":
        append = HistoryStore.append
        HistoryStore.append = lambda *args: append(*args) or True  # type: ignore[method-assign]
    registry = place.registry()
    registry.get(place.name, 1)
    barrier.wait(120)
    said = []
    for number in numbers:
        try:
            done = registry.promote(place.name, number, "Production", reason=f"promoter {who}")
            said.append({"event": None if done.event is None else done.event.id})
        except HoldfastError as error:
            said.append({"error": str(error)})
    path = Path(place.told) / f"{who}.json"
    path.with_suffix(".part").write_text(json.dumps(said))
    path.with_suffix(".part").rename(path)


# -- in the test ----------------------------------------------------------------------------


def finished_by_the_next_call(place: Place) -> None:
    """Make a call that moves nothing by itself."""
    try:
        place.registry().promote(place.name, 999, "Production")
    except NotFoundError:
        return
    raise AssertionError("there is no version 999")


def check(place: Place) -> list[Event]:
    """Check that all places say the same and the history is whole; return it."""
    look = Mover(place.registry()._project).peek(place.name)
    assert broken_links(look.book.kept.texts, place.name) == []
    assert look.book.kept.beyond == ()
    assert [str(item) for item in differences(look.ledger, look.view)] == []
    holder = look.ledger.holder(Stage.PRODUCTION)
    versions = look.view.versions.values()
    assert [item.version for item in versions if item.stage is Stage.PRODUCTION] == [holder]
    assert [item.version for item in versions if item.tags.get(STAGE_TAG) == "Production"] == [holder]
    assert look.view.model.aliases["production"] == holder
    present = 0
    for event in look.book.events:  # each move says whom it replaced: the one that was there
        if event.kind is Kind.MOVED:
            assert present == 0 or present in event.draft.archived, event
            present = event.version or 0
    return list(look.book.events)


class Reader:
    """Reads Production by alias all the time, as a service does."""

    def __init__(self, place: Place) -> None:
        self._models = place.registry()._project.models
        self._name = place.name
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.found: set[int | None] = set()
        self.errors: list[HoldfastError] = []

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._is_over.wait(0.01):
            try:
                found = self._models.find_by_alias(self._name, "production")
                self.found.add(None if found is None else found.version)
            except HoldfastError as error:
                self.errors.append(error)


def run_promoters(
    place: Place, promoters: int, versions: int, turns: int, deaths: int = 0, plant: str = ""
) -> dict[int, list[dict[str, Any]]]:
    """Let promoters run at once, kill some at random moments, and return what the others were told."""
    context = server()
    barrier = context.Barrier(promoters + 1)
    dice = random.Random(0)  # noqa: S311 - no secret
    children: list[BaseProcess] = []
    for who in range(promoters):
        numbers = [dice.randrange(1, versions + 1) for _ in range(turns)]
        child = context.Process(target=promote, args=(place, who, numbers, barrier, plant), daemon=True)
        child.start()
        children.append(child)
    barrier.wait(120)
    end = time.monotonic() + 1 + promoters / 10
    for child in dice.sample(children, deaths):
        time.sleep(dice.uniform(0, max(0.0, end - time.monotonic()) / 2))
        child.kill()
    for child in children:
        child.join()
    files = sorted(Path(place.told).glob("*.json"))
    return {int(path.stem): json.loads(path.read_text()) for path in files}
