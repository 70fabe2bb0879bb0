"""What an epoch has summed up so far: the means that `self.log(..., on_epoch=True)` forms, and metric objects.

Lightning's checkpoints do not have it, so that an epoch which is resumed in its middle would report the mean of its
second half.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torchmetrics import Metric

Sums = dict[str, Any]


def collect(trainer: Trainer, module: LightningModule) -> Sums:
    """Return the sums of the present epoch's training batches, as tensors."""
    results = trainer.fit_loop.epoch_loop._results
    logged = {
        key: _state_of(result)
        for key, result in results.items()
        if result.is_tensor and result.meta.on_epoch and not result.has_reset
    }
    metrics = {name: _metric_state(metric) for name, metric in _metrics(module)}
    return {"logged": logged, "metrics": metrics}


def _state_of(result: Any) -> dict[str, torch.Tensor]:
    state = {"value": result.value.detach().cpu().clone()}
    if result.meta.is_mean_reduction:
        state["batch_size"] = torch.as_tensor(result.cumulated_batch_size).detach().cpu().clone()
    return state


def _metrics(module: LightningModule) -> list[tuple[str, Metric]]:
    return [(name, part) for name, part in module.named_modules() if isinstance(part, Metric)]


def _metric_state(metric: Metric) -> dict[str, Any]:
    values = {name: _plain(getattr(metric, name)) for name in metric._defaults}
    return {"values": values, "updates": metric._update_count}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [one.detach().cpu().clone() for one in value]
    return value.detach().cpu().clone()


def restore_metrics(module: LightningModule, sums: Sums) -> None:
    """Give the module's metric objects their state back."""
    states = sums["metrics"]
    for name, metric in _metrics(module):
        if name not in states:
            continue
        for attribute, value in states[name]["values"].items():
            setattr(metric, attribute, _on_device(value, metric.device))
        metric._update_count = states[name]["updates"]
        metric._computed = None


def _on_device(value: Any, device: torch.device) -> Any:
    return [one.to(device) for one in value] if isinstance(value, list) else value.to(device)


def add_logged(trainer: Trainer, sums: Sums) -> None:
    """Add what the epoch had summed up before to what it has now; what was added is taken out of `sums`.

    The order does not matter to the last bit: a sum of two is the same both ways, so that this may come after the
    first batch, which is when Lightning knows the names.
    """
    results = trainer.fit_loop.epoch_loop._results
    for key in [key for key in sums["logged"] if key in results]:
        result, before = results[key], sums["logged"].pop(key)
        earlier = before["value"].to(result.value.device)
        if result.meta.is_max_reduction or result.meta.is_min_reduction:
            result.value = result.meta.reduce_fx(result.value, earlier)
        else:
            result.value = result.value + earlier
        if "batch_size" in before:
            result.cumulated_batch_size = result.cumulated_batch_size + before["batch_size"].to(result.value.device)
        result._computed = None
