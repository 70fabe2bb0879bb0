"""Simulated scenes for Lightning: built once, read from disk in whole batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from holdfast.errors import InvalidInputError

from .dataset import Arrays, SceneCounts, build, hash_dataset
from .dataset import Dataset as SceneFiles
from .local_frame import FRAME
from .scene import SimulatorConfig

Batch = tuple[Tensor, Tensor, Tensor]

_TESTED_AT_ONCE = 256


class SceneDataset(Dataset[Batch]):
    """One split. A batch is read at once: `__getitems__` spares the loader thousands of small copies.

    Args:
        arrays: The split's memory maps.
    """

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self._positions_km = FRAME.to_km(arrays.positions).astype(np.float32)

    def __len__(self) -> int:
        return len(self._positions_km)

    def __getitem__(self, index: int) -> Batch:
        """Return one scene; see `__getitems__`."""
        images, measurements, positions = self.__getitems__([index])
        return images[0], measurements[0], positions[0]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return (B, C, 128, 32) images, (B, M) measurements, and (B, 2) km east and north."""
        rows = np.asarray(indices)
        images = torch.from_numpy(self._arrays.images[rows].astype(np.float32))
        return images, torch.from_numpy(self._arrays.measurements[rows]), torch.from_numpy(self._positions_km[rows])


class ScenesDataModule(LightningDataModule):
    """Training, validation and test scenes, 70, 15 and 15 %.

    Args:
        scenes: How many in all.
        seed: Of the simulator.
        batch_size: Scenes a training batch.
        num_workers: Processes that read; none is best for maps that fit into memory.
        folder: Where data sets are kept; see `dataset.build`.
        config: What is simulated.
        simulating: Processes that simulate; one a core if None.
    """

    def __init__(
        self,
        scenes: int = 6000,
        seed: int = 1,
        batch_size: int = 64,
        num_workers: int = 0,
        folder: Path | None = None,
        config: SimulatorConfig | None = None,
        simulating: int | None = None,
    ) -> None:
        super().__init__()
        self.scenes, self.seed, self.batch_size, self.num_workers = scenes, seed, batch_size, num_workers
        self.folder, self.config, self.simulating = folder, config or SimulatorConfig(), simulating
        self._files: SceneFiles | None = None
        self._splits: dict[str, Arrays] | None = None

    def prepare_data(self) -> None:
        """Simulate, unless it was done before; once a machine."""
        self._build()

    def setup(self, stage: str = "") -> None:
        """Open the data set."""
        self.splits()

    def splits(self) -> dict[str, Arrays]:
        """Return the arrays of `train`, `val` and `test`, simulated if they are not there yet."""
        if self._splits is None:
            self._splits = self._build().arrays()
        return self._splits

    def _build(self) -> SceneFiles:
        # Once: each time, all files are read to see that they are whole.
        if self._files is None:
            self._files = build(self.config, self.seed, SceneCounts.split(self.scenes), self.folder, self.simulating)
        return self._files

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the data, so that it is judged on the scenes that it has not learnt."""
        return {
            "scenes": self.scenes,
            "seed": self.seed,
            "config": asdict(self.config),
            "key": hash_dataset(self.config, self.seed, SceneCounts.split(self.scenes)),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Make sure that a checkpoint goes on with its own scenes: other splits hold scenes that it has learnt.

        Raises:
            InvalidInputError: Its scenes are others.
        """
        own = self.state_dict()
        if state_dict["key"] == own["key"]:
            return
        learnt, here = (f"{one['scenes']} scenes of seed {one['seed']}" for one in (state_dict, own))
        others = f"on {learnt}, and not {here}" if learnt != here else "with another simulator, or other features"
        raise InvalidInputError(
            f"The checkpoint was trained {others}.",
            f"say --scenes {state_dict['scenes']} --data-seed {state_dict['seed']}" if learnt != here else "train anew",
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled batches."""
        return self._loader("train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation batches."""
        return self._loader("val", _TESTED_AT_ONCE)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the test batches."""
        return self._loader("test", _TESTED_AT_ONCE)

    def _loader(self, split: str, batch_size: int, shuffle: bool = False) -> DataLoader[Batch]:
        dataset = SceneDataset(self.splits()[split])
        return DataLoader(dataset, batch_size, shuffle=shuffle, num_workers=self.num_workers, collate_fn=_as_it_is)


def _as_it_is(batch: Any) -> Any:
    return batch
