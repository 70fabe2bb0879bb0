"""Train LocalizationNet: python -m holdfast_examples.rf_localization.train --backbone nano --epochs 20

The options are those of every training script of `holdfast.training.command`, and below `--help` those of this one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field

from holdfast.training.command import Script
from holdfast.training.config import TrainingConfig

from .data_module import ScenesDataModule
from .lightning_module import LocalizationModule


class ModelOptions(BaseModel):
    """What the network is made of; see `LocalizationNet`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = Field("nano", description="nano, tiny, small, base or large; CONVNEXT_LARGE is a spelling [nano]")
    pretrained: bool = Field(False, description="begin with the hub's ImageNet weights, tiny and larger [false]")
    freeze_backbone: bool = Field(False, description="leave the trunk's weights as they are [false]")
    solver: bool = Field(True, description="correct a least-squares solution, instead of starting at nothing [true]")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the heads' features dropped while learning [0]")


class TrainingOptions(TrainingConfig):
    """How it is trained, and on what; the defaults are for two processor cores and some minutes."""

    batch_size: int = Field(64, ge=1)
    epochs: int = Field(20, ge=1)
    weight_decay: float = Field(1e-2, ge=0)
    early_stopping_patience: int = Field(8, ge=0)
    num_workers: int = Field(0, ge=0)
    gradient_clip: float | None = Field(1.0, gt=0)
    scenes: int = Field(6000, ge=20, description="how many are simulated, for training, validation and test [6000]")
    data_seed: int = Field(1, ge=0, description="the simulator's seed [1]")
    data_dir: str | None = Field(None, description="where simulated scenes are kept [.cache/rf_localization]")


def make_model(model: ModelOptions, training: TrainingOptions) -> LocalizationModule:
    """Return a new module."""
    return LocalizationModule(
        **model.model_dump(), learning_rate=training.learning_rate, weight_decay=training.weight_decay
    )


def make_data(model: ModelOptions | None, training: TrainingOptions) -> ScenesDataModule:
    """Return the scenes; they do not depend on the model."""
    return ScenesDataModule(
        training.scenes,
        training.data_seed,
        training.batch_size,
        training.num_workers,
        None if training.data_dir is None else Path(training.data_dir),
    )


def spare_a_core() -> None:
    """Have PyTorch compute on all cores but one, and on the only one.

    Its threads wait for each other many times a step. Where what sends the metrics, or anybody else, has one of their
    cores, all of them wait for it, and a step of milliseconds takes several times as long as on fewer cores.
    """
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(min(torch.get_num_threads(), max(1, cores - 1)))


SCRIPT = Script(
    make_model,
    make_data,
    model_config=ModelOptions,
    training_config=TrainingOptions,
    description="Train LocalizationNet to find transmitters by what seven receivers hear.",
)

if __name__ == "__main__":
    spare_a_core()
    sys.exit(SCRIPT.main())
