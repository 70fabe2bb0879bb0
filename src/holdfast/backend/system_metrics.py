"""What a machine is doing, measured by MLflow's own monitors and named as MLflow names it."""

from __future__ import annotations

from typing import Any

from holdfast.errors import MissingDependencyError


class SystemMonitors:
    """MLflow's monitors of processor, memory, disk, network and, where there are some, GPUs.

    The network's megabytes count from the making of this object, as with MLflow; a processor's load is that since the
    measurement before.

    Attributes:
        without_gpu: Why no GPU is measured; empty where one is.

    Raises:
        MissingDependencyError: psutil is not installed.
    """

    def __init__(self) -> None:
        try:
            from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
            from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
            from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
        except ImportError as error:
            raise MissingDependencyError(
                f"{error.name or 'psutil'} is needed for system metrics.", "pip install psutil"
            ) from None
        self._monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        gpu, self.without_gpu = _gpu_monitor()
        self._monitors += [] if gpu is None else [gpu]
        self.read()  # the load since the measurement before needs one before

    def read(self) -> dict[str, float]:
        """Measure now.

        Returns:
            MLflow's names without `system/`, such as `cpu_utilization_percentage`, each with its value.
        """
        found: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.clear_metrics()
            monitor.collect_metrics()
            found.update(monitor.aggregate_metrics())
        return found


def _gpu_monitor() -> tuple[Any, str]:
    """Return MLflow's monitor of NVIDIA's or AMD's GPUs, or None and why there is none."""
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    reasons = []
    for make in (GPUMonitor, ROCMMonitor):
        try:
            return make(), ""
        except Exception as error:  # a missing library, driver or device: each raises what it likes
            reasons.append(" ".join(str(error).split()))
    return None, "; ".join(reasons)
