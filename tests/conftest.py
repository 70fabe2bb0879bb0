"""Shared by all tiers: a clean environment for each test, and a watch over secrets.

Every secret that a test makes up holds one canary text. Whatever the tests print, log, raise
or leave in their temporary folders is searched for it; finding it fails the run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Times vary on shared machines; what a property says does not depend on them.
settings.register_profile("holdfast", deadline=None, print_blob=True)
settings.load_profile("holdfast")

pytest_plugins = ["holdfast.testing.fixtures"]

CANARY = "c4n4ry-s3cr3t"
# Files that must hold the secret: it is what they are for.
_MAY_HOLD_SECRETS = {".env", "pyproject.toml", "credentials", "pwfile", "pgpass"}
_leaks: list[str] = []


@pytest.fixture
def canary() -> str:
    """A made-up secret, different each time, that must show up nowhere."""
    return f"{CANARY}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses, for experiments and models on a shared server."""
    return f"{request.node.originalname}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Run in an empty folder, without settings of whoever runs the tests."""
    for name in _ours():
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    # boto3 would otherwise ask the instance's metadata service for keys, and wait for it.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield
    _end_open_runs()
    _close_journals()
    _forget_databases()
    # What mlflow.set_tracking_uri and set_registry_uri have written; the fixtures of a module would find it.
    for name in _ours():
        del os.environ[name]


_KEPT = {"MLFLOW_DISABLE_TELEMETRY", "HOLDFAST_TESTED_WHEEL", "HOLDFAST_LONG_TESTS"}


def _ours() -> list[str]:
    """Return the names of the variables that Holdfast, MLflow and AWS read."""
    return [name for name in os.environ if name.startswith(("MLFLOW_", "AWS_", "HOLDFAST_")) and name not in _KEPT]


def _end_open_runs() -> None:
    """Forget runs that a failed test left open, and where MLflow was pointed at, so that the next one starts clean."""
    import sys

    if "mlflow" in sys.modules:
        from mlflow.tracking import fluent
        from mlflow.tracking._model_registry import utils as registry
        from mlflow.tracking._tracking_service import utils as tracking

        tracking._tracking_uri = registry._registry_uri = None
        fluent._active_run_stack.get().clear()
        fluent._active_experiment_id = None  # MLflow 3.0 writes it beside the metrics of a model, in whatever store
    if "boto3" in sys.modules:
        sys.modules["boto3"].DEFAULT_SESSION = None


def _close_journals() -> None:
    """Deliver and let go, as the end of a process does: else each test's shipper stays for as long as this process."""
    import sys

    lifecycle = sys.modules.get("holdfast.lifecycle")
    for run in lifecycle.run_guard().watched() if lifecycle else []:
        lifecycle.run_guard().remove(run)
    if "holdfast.delivery.delivery" in sys.modules:
        sys.modules["holdfast.delivery.delivery"].close_deliveries()


def _forget_databases() -> None:
    """Let go of the engines that MLflow keeps for every database of every test: a megabyte each."""
    import sys

    for part in ("tracking", "model_registry"):
        module = sys.modules.get(f"mlflow.store.{part}.sqlalchemy_store")
        kept = getattr(module.SqlAlchemyStore, "_engine_map", {}) if module else {}
        for uri in [uri for uri in kept if uri.startswith("sqlite")]:
            del kept[uri]


def pytest_configure() -> None:
    """Forget the settings of whoever runs the tests, and listen to Ctrl-C: a shell's background job is told not to."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in _ours():
        del os.environ[name]  # before the fixtures of modules
    # Threads that wait for each other by turning round take the cores from the tests beside them.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Search what a test printed, logged and raised."""
    texts = [content for _, content in report.sections]
    if any(CANARY in text for text in texts):
        _leaks.append(f"output of {report.nodeid}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Search the temporary folders, and fail the run where a secret was found anywhere."""
    factory = getattr(session.config, "_tmp_path_factory", None)
    base = getattr(factory, "_basetemp", None)
    if base is not None:
        _end_shippers(Path(base))
        _leaks.extend(str(path) for path in _files_with_canary(Path(base)))
    if _leaks:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line("\nA secret was found in:\n  " + "\n  ".join(_leaks), red=True)


def _end_shippers(base: Path) -> None:
    """End the shippers that wait for servers which are gone now, and would for a week."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            command = (process / "cmdline").read_bytes()
            if b"holdfast.delivery" in command and Path(os.readlink(process / "cwd")).is_relative_to(base):
                os.kill(int(process.name), signal.SIGTERM)


def _files_with_canary(base: Path) -> Iterator[Path]:
    for path in base.rglob("*"):
        if path.name in _MAY_HOLD_SECRETS or path.parent.name == ".aws" or path.is_symlink() or not path.is_file():
            continue
        if path.stat().st_size < 64_000_000 and CANARY.encode() in path.read_bytes():
            yield path
