"""The check of what MLflow loads in this environment: Holdfast's stores and repositories, or somebody else's.

Of two packages that register the same name, MLflow takes the one that it loads last, and says nothing.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from holdfast.doctor.check import Check, Finding, failed, ok, warning
from holdfast.doctor.context import Context
from holdfast.doctor.machine.env import pip_install

_OURS = "holdfast.plugins."
_EXPECTED = {
    "mlflow.tracking_store": ("http", "https", "sqlite", "postgresql"),
    "mlflow.artifact_repository": ("s3", "mlflow-artifacts"),
    "mlflow.run_context_provider": ("holdfast",),
}


def _plugins(context: Context) -> Finding:
    loaded = {(group, name): _registered(group, name) for group, names in _EXPECTED.items() for name in names}
    missing = [_kind(*key) for key, found in loaded.items() if not any(map(_is_ours, found))]
    if missing:
        return failed(
            f"MLflow in this environment does not know Holdfast's {', '.join(missing)}: plain `mlflow` calls use the "
            "environment's keys, and no journal",
            pip_install("--force-reinstall", "--no-deps", "holdfast"),
            missing=missing,
        )
    shared = {key: found for key, found in loaded.items() if len(found) > 1}
    if shared:
        return _contested(shared)
    return ok(f"MLflow takes Holdfast's {'; '.join(_kind(group, *names) for group, names in _EXPECTED.items())}")


def _contested(shared: dict[tuple[str, str], list[EntryPoint]]) -> Finding:
    lines = [
        f"{_kind(*key)} is registered by {' and '.join(_package(point) for point in found)}; "
        f"MLflow takes the one that it loads last, {_package(found[-1])}"
        for key, found in shared.items()
    ]
    others = sorted({_package(point) for found in shared.values() for point in found if not _is_ours(point)})
    winners = {_kind(*key): _package(found[-1]) for key, found in shared.items()}
    return warning("\n".join(lines), f"pip uninstall {' '.join(others)}", winners=winners)


def _registered(group: str, name: str) -> list[EntryPoint]:
    """Return what registers a name, in the order in which MLflow loads it: this is the call that MLflow makes."""
    return [point for point in entry_points(group=group) if point.name == name]


def _is_ours(point: EntryPoint) -> bool:
    return point.value.startswith(_OURS)


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value.partition(".")[0]


def _kind(group: str, *names: str) -> str:
    return f"{group.removeprefix('mlflow.').replace('_', ' ')} {', '.join(names)}"


CHECKS = (Check("config.plugins", "Does MLflow in this environment take Holdfast's stores?", _plugins),)
