"""The checks of what is installed: Python, Holdfast and MLflow."""

from __future__ import annotations

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version

from holdfast.doctor.check import Check, Finding, failed, ok, warning
from holdfast.doctor.context import Context

# One installation of MLflow is spread over these; each release pins the others of the same number.
_PARTS = ("mlflow", "mlflow-skinny", "mlflow-tracing")
_MAJOR = 3


def version_of(package: str) -> str | None:
    """Return the version of an installed package, or None; nothing is imported."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def numbers_of(text: str) -> tuple[int, ...]:
    """Return the numbers at the beginning of a version: `3.17.2rc1` gives (3, 17, 2)."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def pip_install(*packages: str) -> str:
    """Return the command that installs packages for this very interpreter."""
    return f"{sys.executable} -m pip install {' '.join(packages)}"


def _python(context: Context) -> Finding:
    python, holdfast = platform.python_version(), version_of("holdfast") or "not installed as a package"
    found = f"Python {python} at {sys.executable}, Holdfast {holdfast}"
    return ok(found, python=python, holdfast=holdfast, executable=sys.executable)


def _mlflow(context: Context) -> Finding:
    parts = {name: found for name in _PARTS if (found := version_of(name)) is not None}
    named = ", ".join(f"{name} {found}" for name, found in parts.items())
    newest = max((found for name, found in parts.items() if name != "mlflow-tracing"), key=numbers_of, default="")
    if not newest:
        return failed("MLflow is not installed", pip_install("'mlflow>=3.0,<4'"))
    outside = [name for name, found in parts.items() if numbers_of(found)[:1] != (_MAJOR,)]
    if outside:
        wanted = [f"'{name}>=3.0,<4'" for name in parts]
        return failed(f"{named}: Holdfast works with MLflow 3", pip_install(*wanted), versions=parts)
    if len(set(parts.values())) > 1:
        wanted = [f"'{name}=={newest}'" for name in parts]
        return warning(f"{named} are parts of different releases", pip_install(*wanted), versions=parts)
    whole = "" if "mlflow" in parts else " (the client alone; servers and databases need the whole of mlflow)"
    return ok(named + whole, versions=parts)


CHECKS = (
    Check("env.python", "Which Python and which Holdfast are these?", _python),
    Check("env.mlflow", "Is there one whole MLflow that Holdfast works with?", _mlflow),
)
