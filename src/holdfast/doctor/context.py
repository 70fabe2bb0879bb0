"""What checks look at: one project, its settings or why there are none, and what was found out on the way."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast

from holdfast.artifacts.access import S3Access, access_of
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.core.redaction import Redactor
from holdfast.core.uris import scheme_of
from holdfast.doctor.machine.sources import read_sources
from holdfast.errors import HoldfastError
from holdfast.project import Project
from holdfast.settings import Settings, load_settings
from holdfast.settings.folder import ProjectFolder, find_project_folder

_T = TypeVar("_T")
# What a single request may take, retries included; checks have a little more.
REQUEST_S = 4.0
# What the project's keys are for: to log runs, or to read what others have logged.
Role = Literal["writer", "reader"]


@dataclass(frozen=True)
class Bucket:
    """The bucket that is examined.

    Attributes:
        name: Its name.
        prefix: The part of its keys that is the project's; empty, or without a slash at the end.
        connection: The way to it, with the project's own keys.
    """

    name: str
    prefix: str
    connection: S3Connection

    @property
    def uri(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self.name}/{self.prefix}".rstrip("/")


class _Left(NamedTuple):
    undo: Callable[[], object]
    maker: threading.Thread


class Context:
    """The project that is examined. Checks in several threads share it.

    Args:
        start: A folder of the project; the working directory by default.
        environ: Read instead of `os.environ`.
        role: What its keys are for; for a reader nothing is written anywhere.
    """

    def __init__(
        self, start: Path | None = None, environ: Mapping[str, str] | None = None, role: Role = "writer"
    ) -> None:
        self.environ = os.environ if environ is None else environ
        self.role: Role = role
        self.folder: ProjectFolder = find_project_folder(start)
        self.settings_error: HoldfastError | None = None
        self._settings: Settings | None = None
        try:
            self._settings = load_settings(start=start, environ=environ)
        except HoldfastError as error:
            self.settings_error = error
        self.sources = read_sources(self.folder, self.environ)
        # Those of the sources as well: keys that are not used, and those of settings that cannot be loaded.
        self.redact = Redactor((*(self._settings.secrets() if self._settings else ()), *self.sources.secrets()))
        self._lock = threading.RLock()
        self._locks: dict[str, threading.RLock] = {}
        self._known: dict[str, Any] = {}
        self._left: dict[str, _Left] = {}
        self._is_over = False
        self._cleaning = threading.local()

    @property
    def settings(self) -> Settings:
        """The settings; for checks that need `config.settings`.

        Raises:
            HoldfastError: They cannot be loaded.
        """
        if self._settings is None:
            raise self.settings_error or HoldfastError("There are no settings.", "holdfast config show")
        return self._settings

    @property
    def project(self) -> Project:
        """The project, only looked at: nothing is logged through its journal."""
        return self.once("project", lambda: Project(self.settings))

    @property
    def access(self) -> S3Access:
        """The project's way to S3, with the patience of an examination."""
        return self.once("access", lambda: replace(access_of(self.settings), deadline_s=REQUEST_S))

    @property
    def bucket(self) -> Bucket | None:
        """The bucket that the project's files go to by its settings; None where they go elsewhere."""
        return self.once("bucket", self._find_bucket)

    def _find_bucket(self) -> Bucket | None:
        settings = self.settings
        for root in (settings.artifact_root, settings.artifacts_destination):
            if root is not None and scheme_of(root) == "s3":
                name, _, prefix = root.partition("://")[2].partition("/")
                return Bucket(name, prefix.strip("/"), S3Connection(self.access, self.check_going_on))
        return None

    def once(self, name: str, make: Callable[[], _T]) -> _T:
        """Return what `make` returns, made once for all checks; an error is not kept."""
        with self._lock:
            own_lock = self._locks.setdefault(name, threading.RLock())
        # Not under the common lock: one that hangs here must not keep the others, nor the cleaning up.
        with own_lock:
            if name not in self._known:
                self.note(name, make())
            return cast(_T, self._known[name])

    def note(self, name: str, value: object) -> None:
        """Keep what a check found out for those that need it."""
        with self._lock:
            self._known[name] = value

    def forget(self, name: str) -> None:
        """Have it made, or found out, anew."""
        with self._lock:
            self._known.pop(name, None)

    def noted(self, name: str) -> Any:
        """Return what a check that this one needs has kept, or None."""
        with self._lock:
            return self._known.get(name)

    def leaves(self, what: str, undo: Callable[[], object]) -> None:
        """Note, before it is made, what an examination makes elsewhere, and how it is taken away again.

        Args:
            what: What and where, for people: `s3://bucket/key`.
            undo: Takes it away; it may be called where it is not there.

        Raises:
            HoldfastError: The examination is over: a check that was given up on must make nothing more.
        """
        with self._lock:
            self.check_going_on()
            self._left[what] = _Left(undo, threading.current_thread())

    def check_going_on(self) -> None:
        """Keep a check that was given up on from asking anything more; whoever cleans up may.

        Raises:
            HoldfastError: The examination is over.
        """
        if self._is_over and not getattr(self._cleaning, "is_on", False):
            raise HoldfastError("The examination is over.", "run `holdfast doctor` again")

    def cleaned(self, what: str) -> None:
        """Note that it is gone."""
        with self._lock:
            self._left.pop(what, None)

    @property
    def left_behind(self) -> list[str]:
        """What was made elsewhere, and is not known to be gone."""
        with self._lock:
            return sorted(self._left)

    def clean_up(self, limit_s: float) -> list[str]:
        """Take away what checks that did not end have left; return what could not be, within this many seconds."""
        until = time.monotonic() + limit_s
        with self._lock:
            self._is_over = True
            left = dict(self._left)
        threads = [threading.Thread(target=self._undo, args=(*item, until), daemon=True) for item in left.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return self.left_behind

    def _undo(self, what: str, left: _Left, until: float) -> None:
        self._cleaning.is_on = True
        was_at_it = left.maker.is_alive()
        with suppress(Exception):  # it is reported as left behind
            left.undo()
            self.cleaned(what)
            left.maker.join(max(0.0, until - time.monotonic()))
            if was_at_it and not left.maker.is_alive():
                # What it had under way may have arrived after all.
                with self._lock:
                    self._left[what] = left
                left.undo()
                self.cleaned(what)

    def unexpected(self, name: str, error: Exception) -> None:
        """Show where an error that nobody foresaw came from, if asked to (HOLDFAST_DEBUG)."""
        if self.environ.get("HOLDFAST_DEBUG"):
            sys.stderr.write(self.redact("".join(traceback.format_exception(error))) + f"(in {name})\n")
