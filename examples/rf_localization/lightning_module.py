"""LocalizationNet for Lightning: how it learns, what is measured, and what leaves it: degrees and kilometres."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from .backbone import find_size, pretrained_name
from .calibration import Calibration
from .features import BANDS, CHANNELS, MEASUREMENTS
from .geometry import to_latlon
from .metrics import EpochPredictions, measure
from .network import LocalizationNet, Prediction, gaussian_nll
from .scene import SimulatorConfig

_LEAST_RATE = 1e-6

Batch = tuple[Tensor, Tensor, Tensor]


class Located(NamedTuple):
    """What leaves the model; the exported one's outputs have these names.

    Attributes:
        positions: (B, 2) degrees, latitude and longitude.
        uncertainties: (B, 2) km: calibrated standard deviations, east and north.
    """

    positions: Tensor
    uncertainties: Tensor


class LocalizationModule(LightningModule):
    """Learns positions by the Gaussian negative log-likelihood, and keeps its uncertainty calibrated.

    After each pass over the validation data the factors of `Calibration` are fitted on it, so that every checkpoint
    holds those of its own weights. `loss` of all parts is that of the network as it learnt; coverage is that of the
    calibrated uncertainty, and `val/coverage_68_raw` tells what it was before.

    Args:
        channels: C of the images.
        measurements: M.
        backbone: As of `LocalizationNet`.
        pretrained: As of `LocalizationNet`; the weights are fetched when training begins, never to load a checkpoint.
        freeze_backbone: As of `LocalizationNet`.
        solver: As of `LocalizationNet`.
        dropout: As of `LocalizationNet`.
        learning_rate: Of AdamW, at its highest.
        weight_decay: Of AdamW.
        warm_up: Share of the steps in which the rate rises to it; then it falls as a cosine to 1e-6.
    """

    def __init__(
        self,
        channels: int = CHANNELS,
        measurements: int = len(MEASUREMENTS),
        backbone: str = "nano",
        pretrained: bool = False,
        freeze_backbone: bool = False,
        solver: bool = True,
        dropout: float = 0.1,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-5,
        warm_up: float = 0.05,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if pretrained:
            # Said before a run is begun, though they are fetched later.
            pretrained_name(find_size(backbone))
        self.network = LocalizationNet(channels, measurements, backbone, False, freeze_backbone, solver, dropout)
        self.calibration = Calibration()
        self.train_metrics, self.val_metrics, self.test_metrics = (EpochPredictions() for _ in range(3))
        frames = SimulatorConfig().frames
        self.example_input_array = (torch.zeros(2, channels, BANDS, frames), torch.zeros(2, measurements))

    def setup(self, stage: str) -> None:
        """Fetch pretrained weights before anything is learnt; a checkpoint that is resumed replaces them."""
        if stage == "fit" and self.hparams["pretrained"]:
            self.network.adopt_pretrained(self.hparams["backbone"], self.hparams["freeze_backbone"])

    def forward(self, mel_spectrogram: Tensor, measurements: Tensor) -> Located:
        """Locate (B, C, 128, 32) images and (B, M) measurements; the exported model's inputs have these names."""
        prediction: Prediction = self.network(mel_spectrogram, measurements)
        return Located(to_latlon(prediction.position), self.calibration(prediction.sigma))

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the loss of a batch."""
        images, measurements, positions = batch
        prediction = self.network(images, measurements)
        loss = gaussian_nll(prediction, positions)
        self.train_metrics.update(prediction, positions)
        self.log("train/loss_step", loss, prog_bar=True, batch_size=len(images))
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Collect a batch's predictions."""
        images, measurements, positions = batch
        self.val_metrics.update(self.network(images, measurements), positions)

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Collect a batch's predictions."""
        images, measurements, positions = batch
        self.test_metrics.update(self.network(images, measurements), positions)

    def on_train_epoch_end(self) -> None:
        """Measure what was learnt from."""
        self._measure("train", self.train_metrics)

    def on_validation_epoch_end(self) -> None:
        """Fit the calibration, unless this is Lightning's rehearsal, and measure."""
        if not self.trainer.sanity_checking:
            collected = self.val_metrics.compute()
            self.calibration.fit(collected.errors, collected.sigmas)
        self._measure("val", self.val_metrics)

    def on_test_epoch_end(self) -> None:
        """Measure, with the calibration that the checkpoint holds."""
        self._measure("test", self.test_metrics)

    def _measure(self, part: str, predictions: EpochPredictions) -> None:
        found = measure(predictions.compute(), self.calibration.scale)
        predictions.reset()
        # Every process has gathered them all: there is nothing to be averaged.
        self.log_dict({f"{part}/{name}": value for name, value in found.items()}, sync_dist=False)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW and its schedule, which counts optimizer steps."""
        rate = self.hparams["learning_rate"]
        learnt = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learnt, lr=rate, weight_decay=self.hparams["weight_decay"])
        shape = RateShape(int(self.trainer.estimated_stepping_batches), self.hparams["warm_up"], _LEAST_RATE / rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, shape)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class RateShape:
    """The learning rate's course, as a share of its highest: up in a line, down in half a cosine.

    Args:
        steps: How many there will be.
        warm_up: The share of them that goes up.
        least: Where it ends.
    """

    def __init__(self, steps: int, warm_up: float, least: float) -> None:
        self.rising = max(1, round(steps * warm_up))
        self.falling = max(1, steps - self.rising)
        self.least = min(least, 1.0)

    def __call__(self, step: int) -> float:
        """Return the share at a step."""
        if step < self.rising:
            return (step + 1) / self.rising
        done = min((step - self.rising) / self.falling, 1.0)
        return self.least + (1 - self.least) * (1 + math.cos(math.pi * done)) / 2
