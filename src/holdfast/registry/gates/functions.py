"""Asking a function of the user's own."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from holdfast.core.promotion import CheckAnswer
from holdfast.registry.gates.answering import NotPassedError, answered
from holdfast.registry.gates.case import Case
from holdfast.registry.gates.sudden_end import no_sudden_end


@dataclass(frozen=True)
class Asks:
    """What does a function of the project say?

    It is called with the `Case`, and returns whether the version passes: True or False, that with a reason, or a
    `CheckAnswer`. It runs in this process, and what it prints goes to stderr. A version that it raises about does not
    pass, nor one about which it ends the process: `sys.exit` and `os._exit` raise while it is asked (not what native
    code does).

    Attributes:
        path: `package.module:function`, found as `import` does, or in the working directory or the project's root.
    """

    path: str

    @property
    def name(self) -> str:
        """`callable package.module:function`."""
        return f"callable {self.path}"

    def answer(self, case: Case) -> CheckAnswer:
        """Answer for a version; see `Gate`."""
        return answered(self.name, case, lambda: self._look(case))

    def _look(self, case: Case) -> str:
        # SystemExit too is only this function's word on this version.
        try:
            with _project_on_path(case), no_sudden_end(), contextlib.redirect_stdout(sys.stderr):
                passed, reason = _meant(_find(self.path)(case))
        except (Exception, SystemExit) as error:
            if isinstance(error, NotPassedError):
                raise
            raise NotPassedError(f"it raised {type(error).__name__}: {_said(error)}") from None
        if not passed:
            raise NotPassedError(reason or "it says no")
        return reason or "it says yes"


@contextlib.contextmanager
def _project_on_path(case: Case) -> Iterator[None]:
    # Last: a file of the project is not to stand for an installed module that somebody else imports meanwhile.
    before = list(sys.path)
    sys.path += [path for path in (os.getcwd(), str(case.project.settings.project_root)) if path not in before]
    try:
        yield
    finally:
        sys.path[:] = before


def _find(path: str) -> Callable[[Case], object]:
    module, _, names = path.partition(":")
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        raise NotPassedError(
            f"there is no module {error.name or module}; start holdfast where it lies, or install it"
        ) from None
    for name in names.split("."):
        if not hasattr(found, name):
            raise NotPassedError(f"{module} has no {names}")
        found = getattr(found, name)
    if not callable(found):
        raise NotPassedError(f"{path} is a {type(found).__name__}, no function")
    return found  # type: ignore[no-any-return]


def _meant(found: object) -> tuple[bool, str]:
    if isinstance(found, CheckAnswer):
        return _yes_or_no(found.passed), str(found.reason)
    if isinstance(found, tuple) and len(found) == 2:
        return _yes_or_no(found[0]), str(found[1])
    return _yes_or_no(found), ""


def _yes_or_no(found: Any) -> bool:
    # What comparing NumPy's numbers gives is a bool of NumPy's own.
    if isinstance(found, bool) or (getattr(found, "dtype", None) == "bool" and found.ndim == 0):
        return bool(found)
    raise NotPassedError(f"it returned a {type(found).__name__}; return True, False, (True, reason) or a CheckAnswer")


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "…"
