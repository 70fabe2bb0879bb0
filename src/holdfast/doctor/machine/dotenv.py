"""The checks of `.env` and of pyproject.toml as files: read or not, by whom, and whether a secret is in the wrong one.

They work on the files themselves, so that they also have an answer where the settings cannot be loaded.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from holdfast.doctor.check import Check, Evidence, Finding, Fix, failed, ok, skipped, warning
from holdfast.doctor.context import Context
from holdfast.doctor.machine.notices import faults_in, in_one_text, is_unread, remedies_for
from holdfast.doctor.wording import counted
from holdfast.errors import SettingsError
from holdfast.settings.layers import Report

_PRIVATE = 0o600


def dotenv_files(context: Context) -> list[Path]:
    """Return the regular files named `.env` from the start up to the project's root, the one that is read first."""
    return [path for folder in context.folder.folders if (path := folder / ".env").is_file()]


def _dotenv(context: Context) -> Finding:
    sources = context.sources
    report = sources.dotenv_report
    if report.problems:
        return _problems(report)
    faults = faults_in(report.notices)
    if any(map(is_unread, faults)):
        return failed(in_one_text(faults), remedies_for(faults), Evidence.TOLD)
    if faults:
        return warning(in_one_text(faults), remedies_for(faults))
    if sources.dotenv.path is None:
        return skipped(f"there is no .env from {context.folder.folders[0]} up to {context.folder.root}")
    count = len(sources.dotenv.values)
    return ok(f"{sources.dotenv.path} is read, {counted(count, 'setting')}", settings=count)


def _problems(report: Report) -> Finding:
    found = in_one_text(problem.message for problem in report.problems)
    hints = dict.fromkeys(problem.hint for problem in report.problems if problem.hint)
    return failed(found, "\n".join(hints) or "mend the file, then run `holdfast config show`")


def _private(context: Context) -> Finding:
    files = dotenv_files(context)
    if not files:
        return skipped("there is no .env")
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in files}
    exposed = [path for path, mode in modes.items() if mode & 0o077]
    if not exposed:
        return ok(f"{files[0]} is for its owner alone")
    named = " and ".join(map(str, exposed))
    found = "\n".join(f"{path} may be {_verb(modes[path])} by other users (mode {modes[path]:04o})" for path in exposed)
    fix = Fix(f"make {named} readable for its owner alone (mode 0600)", lambda: _make_private(exposed))
    return warning(found, f"chmod 600 {' '.join(shlex.quote(str(path)) for path in exposed)}", fix=fix)


def _verb(mode: int) -> str:
    return "read" if mode & 0o044 else "changed"


def _make_private(paths: list[Path]) -> str:
    for path in paths:
        try:
            os.chmod(path, _PRIVATE)
        except OSError as error:
            hint = f"as its owner: chmod 600 {shlex.quote(str(path))}"
            raise SettingsError(f"The mode of {path} cannot be changed: {error.strerror}.", hint) from None
    return f"{' and '.join(map(str, paths))}: mode 0600"


def _pyproject(context: Context) -> Finding:
    path = context.folder.pyproject
    if not path.exists():
        return skipped(f"there is no {path}")
    if context.sources.pyproject_report.problems:
        return _problems(context.sources.pyproject_report)
    count = len(context.sources.pyproject.values)
    return ok(f"{path} can be read, and holds {counted(count, 'setting')} and no secret", settings=count)


CHECKS = (
    Check("env.dotenv", "Which .env is read, and is everything in it understood?", _dotenv),
    Check("env.dotenv_private", "May only its owner read .env?", _private),
    Check("env.pyproject", "Is pyproject.toml valid, and without secrets?", _pyproject),
)
