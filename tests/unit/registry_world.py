"""A registry in memory, and actors that change it one call at a time, in an order that the test chooses.

What is in memory is MLflow: the client for registered models, and the store that keeps runs. All above it is the real
thing. An actor is a thread that waits before each of its calls; one that is killed makes none any more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST

from holdfast.backend.client import Connection
from holdfast.backend.history import HistoryStore
from holdfast.backend.registry import RegistryStore
from holdfast.core.stages import STAGE_TAG
from holdfast.project import Project
from holdfast.settings import Settings, load_settings

NAME = "model"


@cache
def settings() -> Settings:
    """Return the settings of all that is tried here."""
    return load_settings(tracking_uri="http://memory.invalid", user="somebody")


class Killed(BaseException):
    """What an actor dies of."""


class Actor(threading.Thread):
    """One process that does one thing.

    Attributes:
        said: What it returned, or the error it raised; None where it was killed.
    """

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._action = action
        self._go, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        self._is_killed = False
        self.is_over = False
        self.said: object = None
        self.start()
        self._waits.acquire()

    def run(self) -> None:
        try:
            self.wait()
            self.said = self._action()
        except Killed:
            pass
        except Exception as error:  # the test looks at it
            self.said = error
        self.is_over = True
        self._waits.release()

    def wait(self) -> None:
        """Wait for the actor's turn; called by itself."""
        self._waits.release()
        self._go.acquire()
        if self._is_killed:
            raise Killed

    def step(self) -> None:
        """Let it go on until just before its next call."""
        if not self.is_over:
            self._go.release()
            self._waits.acquire()

    def kill(self) -> None:
        """End it before its next call."""
        self._is_killed = True
        self.step()


def turn() -> None:
    """Wait for the turn of whoever calls; at once where it is no actor."""
    actor = threading.current_thread()
    if isinstance(actor, Actor):
        actor.wait()


@dataclass
class Version:
    """A version as the database has it."""

    number: int
    current_stage: str = "None"
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class World:
    """A database of MLflow with one registered model.

    Attributes:
        compares: Whether a param that is there is kept, as MLflow does.
        has_stages: Whether the registry moves stages.
        archives: Whether it can archive while it moves one.
    """

    versions: dict[int, Version]
    aliases: dict[str, int] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict)
    experiments: dict[str, Any] = field(default_factory=dict)
    compares: bool = True
    has_stages: bool = True
    archives: bool = True

    def project(self) -> Project:
        """Return a project of this world, as each process has its own."""
        project = Project(settings())
        connection = Connection("http://memory.invalid")
        connection.__dict__["client"] = _Client(self)
        project.__dict__["connection"] = connection
        project.__dict__["models"] = RegistryStore(connection)
        project.__dict__["histories"] = _Histories(self, connection)
        return project

    def texts(self) -> list[str]:
        """Return the history as it is kept."""
        runs = [run for run in self.runs.values() if run.params and any(key.startswith("event/") for key in run.params)]
        return [] if not runs else [runs[0].params[key] for key in sorted(runs[0].params)]

    def places(self) -> tuple[list[int], int | None, list[int]]:
        """Return who is Production: by stage, by alias, by tag."""
        by_stage = [item.number for item in self.versions.values() if item.current_stage == "Production"]
        by_tag = [item.number for item in self.versions.values() if item.tags.get(STAGE_TAG) == "Production"]
        return by_stage, self.aliases.get("production"), by_tag


class _Histories(HistoryStore):
    """The real one, with runs in memory."""

    def __init__(self, world: World, connection: Connection) -> None:
        super().__init__(connection)
        self._world = world

    def _call(self, doing: str, method: str, *args: Any) -> Any:
        turn()
        with self._connection.tracking(doing):
            return getattr(_Runs(self._world), method)(*args)


class _Runs:
    def __init__(self, world: World) -> None:
        self._world = world

    def get_run(self, run_id: str) -> Any:
        run = self._world.runs[run_id]
        info = SimpleNamespace(run_id=run_id, artifact_uri="", lifecycle_stage="active")
        return SimpleNamespace(info=info, data=SimpleNamespace(params=dict(run.params), tags=dict(run.tags)))

    def log_param(self, run_id: str, param: Any) -> None:
        params = self._world.runs[run_id].params
        if self._world.compares and params.get(param.key, param.value) != param.value:
            raise MlflowException("Changing param values is not allowed.", INVALID_PARAMETER_VALUE)
        params[param.key] = param.value

    def get_experiment_by_name(self, name: str) -> Any:
        return self._world.experiments.get(name)

    def create_experiment(self, name: str, _: object, tags: Sequence[Any]) -> str:
        if name in self._world.experiments:
            raise MlflowException("There is one.", RESOURCE_ALREADY_EXISTS)
        labels = {tag.key: tag.value for tag in tags}
        self._world.experiments[name] = SimpleNamespace(experiment_id=name, tags=labels, lifecycle_stage="active")
        return name

    def create_run(self, _: str, __: str, ___: int, tags: Sequence[Any], ____: str) -> Any:
        run_id = f"run-{len(self._world.runs)}"
        self._world.runs[run_id] = SimpleNamespace(params={}, tags={tag.key: tag.value for tag in tags})
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def update_run_info(self, *_: object) -> None:
        return

    def delete_run(self, run_id: str) -> None:
        return


class _Client:
    """MLflow's client, as far as a promotion uses it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def _get_registry_client(self) -> _Client:
        return self

    def get_registered_model(self, name: str) -> Any:
        turn()
        world = self._world
        return SimpleNamespace(
            name=name,
            description="",
            aliases=dict(world.aliases),
            tags=dict(world.tags),
            last_updated_timestamp=1,
            creation_timestamp=1,
        )

    def search_registered_models(self, *_: object, **__: object) -> Any:
        turn()
        return _page([])

    def search_model_versions(self, *_: object, **__: object) -> Any:
        turn()
        return _page([self._entity(item) for item in self._world.versions.values()])

    def _entity(self, item: Version) -> Any:
        return SimpleNamespace(
            name=NAME,
            version=item.number,
            current_stage=item.current_stage if self._world.has_stages else None,
            status="READY",
            source="",
            run_id="",
            description="",
            creation_timestamp=1,
            aliases=[],
            tags=dict(item.tags),
        )

    def transition_model_version_stage(self, _: str, version: int, stage: str, archive_existing_versions: bool) -> None:
        turn()
        if not self._world.has_stages:
            raise MlflowException("Method 'transition_model_version_stage' is unsupported.")
        if archive_existing_versions and not self._world.archives:
            raise MlflowException("operator does not exist: integer = character varying")
        others = [item for item in self._world.versions.values() if item.current_stage == stage]
        if archive_existing_versions:
            turn()  # what was selected is what is archived: others may have moved meanwhile
            for item in others:
                item.current_stage = "Archived"
        self._version(version).current_stage = stage

    def set_registered_model_alias(self, _: str, alias: str, version: str) -> None:
        turn()
        self._version(int(version))
        self._world.aliases[alias] = int(version)

    def delete_registered_model_alias(self, _: str, alias: str) -> None:
        turn()
        self._world.aliases.pop(alias, None)

    def set_registered_model_tag(self, _: str, key: str, value: str) -> None:
        turn()
        self._world.tags[key] = value

    def set_model_version_tag(self, _: str, version: str, key: str, value: str) -> None:
        turn()
        self._version(int(version)).tags[key] = value

    def delete_model_version_tag(self, _: str, version: str, key: str) -> None:
        turn()
        self._version(int(version)).tags.pop(key, None)

    def delete_model_version(self, _: str, version: str) -> None:
        turn()
        self._version(int(version))
        del self._world.versions[int(version)]
        self._world.aliases = {alias: of for alias, of in self._world.aliases.items() if of != int(version)}

    def _version(self, number: int) -> Version:
        if number not in self._world.versions:
            raise MlflowException("There is none.", RESOURCE_DOES_NOT_EXIST)
        return self._world.versions[number]


class _Page(list[Any]):
    token = None


def _page(items: list[Any]) -> _Page:
    return _Page(items)
