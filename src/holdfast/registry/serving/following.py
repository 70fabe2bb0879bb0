"""Following a stage: a small thread that loads what becomes Production, and swaps it in.

    with follow("game-outcomes") as production:
        production.model.predict(rows)      # always the present one

A look costs one request. Where the registry does not answer, looks become rarer, and what was loaded goes on serving.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from holdfast.backend.entities import ModelVersion
from holdfast.core.stages import Stage
from holdfast.errors import HoldfastError
from holdfast.logs import get_logger
from holdfast.project import Project, open_project
from holdfast.registry.serving.loading import cache_for, load_version
from holdfast.registry.serving.lookout import LONGEST_S, Lookout, followed
from holdfast.registry.serving.model_cache import ModelCache
from holdfast.registry.serving.resolving import Resolved, check_servable, registered_checksum, resolve
from holdfast.settings import Settings

_log = get_logger(__name__)
Callback = Callable[[Any, ModelVersion], object]


@dataclass(frozen=True)
class _Current:
    model: Any
    version: ModelVersion


class Follower:
    """Holds the model that is in a stage now. A context manager; made by `follow`.

    Entering it loads the present version, in the caller's thread; a daemon thread does the rest. A version that cannot
    be loaded is tried again ever more rarely, and the one before goes on serving: a warning says so. So it does when
    the stage becomes empty. A forked child keeps the model and follows no more.
    """

    def __init__(
        self,
        lookout: Lookout,
        load: Callable[[ModelVersion], Any],
        start: Callable[[], tuple[Any, ModelVersion] | None],
        callback: Callback | None = None,
    ) -> None:
        self._lookout, self._load, self._start, self._callback = lookout, load, start, callback
        self._current: _Current | None = None
        self._end = threading.Event()
        self._handing = threading.RLock()
        self._failures, self._failed, self._again_s = 0, -1, 0.0
        self._thread = threading.Thread(target=self._run, name="holdfast-follow", daemon=True)

    @property
    def model(self) -> Any:
        """The present model; None before there is any."""
        return None if self._current is None else self._current.model

    @property
    def version(self) -> ModelVersion | None:
        """The version that `model` is, as it was when it was loaded."""
        return None if self._current is None else self._current.version

    @property
    def current(self) -> tuple[Any, ModelVersion] | None:
        """The present model and its version, of the same moment; None before there is any."""
        return None if self._current is None else (self._current.model, self._current.version)

    def __enter__(self) -> Follower:
        found = self._start()
        if found is not None:
            self._hand_over(*found)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Follow no more, at once: the callback is not called after this returns. The model stays.

        A callback that runs is waited for; a request that hangs is not.
        """
        self._end.set()
        with self._handing:
            pass

    def _run(self) -> None:
        while not self._end.wait(self._lookout.pause_s):
            try:
                self._step()
            except Exception as error:
                _log.warning("following a model went wrong; it is tried again", problem=f"{error}")

    def _step(self) -> None:
        was_out = self._lookout.is_out
        seen = self._lookout.look()
        if seen is not None and seen.problem is not None:
            _log.warning("the registry does not answer; the model stays", problem=seen.problem.message)
        if seen is None or seen.problem is not None:
            return
        if was_out:
            _log.info("the registry answers again")
        if seen.version is not None and self._is_due(seen.version):
            self._swap(seen.version)

    def _is_due(self, version: ModelVersion) -> bool:
        if self.version is not None and self.version.version == version.version:
            return False
        return version.version != self._failed or time.monotonic() >= self._again_s

    def _swap(self, version: ModelVersion) -> None:
        try:
            model = self._load(version)
        except Exception as error:
            self._note_failure(version, error)
            return
        self._failures, self._failed = 0, -1
        self._hand_over(model, version)

    def _note_failure(self, version: ModelVersion, error: Exception) -> None:
        is_new = version.version != self._failed
        self._failures = 1 if is_new else self._failures + 1
        self._failed = version.version
        self._again_s = time.monotonic() + min(self._lookout.interval_s * 2**self._failures, LONGEST_S)
        if is_new:
            serving = "none" if self.version is None else self.version.version
            _log.warning(
                "a new version cannot be loaded; the one before goes on serving",
                model=version.name,
                version=version.version,
                serving=serving,
                problem=getattr(error, "message", str(error)),
                hint=getattr(error, "hint", ""),
            )

    def _hand_over(self, model: Any, version: ModelVersion) -> None:
        with self._handing:
            if self._end.is_set():
                return
            self._current = _Current(model, version)
            if self._callback is None:
                return
            try:
                self._callback(model, version)
            except Exception as error:
                _log.warning(
                    "the callback for a new version failed",
                    model=version.name,
                    version=version.version,
                    problem=f"{type(error).__name__}: {error}",
                )


def follow(
    name: str,
    stage: str | Stage | None = None,
    callback: Callback | None = None,
    interval_s: float = 30.0,
    *,
    alias: str | None = None,
    project: Project | None = None,
    settings: Settings | None = None,
    flavor: str = "pyfunc",
    cache: bool | ModelCache = True,
    must_exist: bool = True,
) -> Follower:
    """Return a context manager that holds the model of a stage, and loads the next one when it changes.

    Args:
        name: The registered model.
        stage: Staging or Production; Production if neither this nor an alias is given.
        callback: Is called with each model and its version once it is loaded: for the first by the thread that enters,
            later by the follower's own. Never twice in a row for the same version; what it raises is logged.
        interval_s: Seconds between two looks at the registry.
        alias: An alias to follow.
        project: Whose registry; that of `settings`, or of the working directory, if not given.
        settings: Settings that were loaded before.
        flavor: As of `load_model`.
        cache: As of `load_model`.
        must_exist: Whether entering fails where there is nothing to serve yet; else it waits for the first version.

    Raises:
        InvalidInputError: The name, stage or alias has a form that cannot be, or the stage holds many versions.
        HoldfastError: On entering: the present version cannot be loaded, as with `load_model`.
    """
    wanted = followed(stage, alias)
    place = project if project is not None else open_project(settings)
    kept = cache_for(place, cache)
    lookout = Lookout(place, name, wanted, interval_s)

    def load(found: Resolved) -> Any:
        return load_version(place, found.version, checksum=found.checksum, flavor=flavor, cache=kept)

    def load_next(version: ModelVersion) -> Any:
        check_servable(version)
        return load(Resolved(version, registered_checksum(place, version)))

    def start() -> tuple[Any, ModelVersion] | None:
        try:
            found = resolve(place, name, wanted, kept)
            return load(found), found.version
        except HoldfastError as error:
            if must_exist:
                raise
            _log.warning("there is nothing to serve yet", model=name, problem=error.message, hint=error.hint)
            return None

    return Follower(lookout, load_next, start, callback)
