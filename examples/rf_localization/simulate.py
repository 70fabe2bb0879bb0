"""The simulator: from a seed to what seven receivers sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from holdfast.errors import InvalidInputError

from .links import draw_links
from .scene import SimulatorConfig, Truth
from .signals import add_noise, draw_spectra, receive, rms_bandwidth_hz

SIMULATOR_VERSION = 1
"""Part of the cache's key: raised whenever the same configuration and seed give other scenes."""


@dataclass(frozen=True)
class Scenes:
    """Simulated scenes.

    Attributes:
        iq: (count, 7, samples) complex64; a squared magnitude is a power in milliwatts.
        truth: What only the simulator knows.
    """

    iq: npt.NDArray[np.complex64]
    truth: Truth

    @property
    def positions(self) -> npt.NDArray[np.float64]:
        """(count, 2) degrees: where the transmitters are."""
        return self.truth.positions

    @property
    def detected(self) -> npt.NDArray[np.bool_]:
        """(count, 7): which receivers detect the signal."""
        return self.truth.detected


def simulate(config: SimulatorConfig, seed: int, count: int, start: int = 0) -> Scenes:
    """Simulates scenes `start` to `start + count - 1` of a seed.

    A scene depends on the configuration, the seed and its index alone, never on the other scenes
    of the call. 143 kB × 7 a scene: ask for dozens at a time, not for thousands.

    Raises:
        InvalidInputError: The configuration makes no scenes, or the count is below one.
    """
    config.check()
    if count < 1 or start < 0 or seed < 0:
        raise InvalidInputError(
            f"count {count}, start {start}, seed {seed}: count must be above 0, the others not below"
        )
    links = draw_links(config, seed, count, start)
    spectra = draw_spectra(config, seed, count, start)
    iq = receive(spectra, links, config)
    add_noise(iq, config, seed, start)
    return Scenes(iq, Truth(**vars(links), bandwidth_hz=rms_bandwidth_hz(spectra, config)))
