"""The Cramér-Rao bound: no unbiased estimator's error is smaller than this.

Two things tell of the position, and their information adds:

- Arrival times. Receiver i sees an unknown waveform of bandwidth β with energy over noise density
  E_i/N0, delayed. Its delay's variance is 1 / (2·E_i/N0·(2πβ)²) (S. Kay, "Fundamentals of
  Statistical Signal Processing: Estimation Theory", 1993, section 3.11; complex samples of unknown
  phase, so β is taken about the mean frequency), to which the clock's variance is added. The time
  of emission is unknown to all receivers alike: with weights w_i = 1 / variance_i the information
  on the delays is diag(w) - w·wᵀ / Σw. For a deterministic waveform that is unknown too this is
  again the exact form (P. Stoica and A. Nehorai, IEEE Trans. ASSP 38, 1990, "conditional" bound).
- Received powers, which fall with 20·log10(distance). Their spread is that of noise, of the terrain's
  and the clutter's loss, and of Rayleigh fading. The logarithm of an exponentially distributed power has
  Fisher information 1 on its level, that is (10 / ln 10)² dB² as a variance; variances of this kind
  add to no more than the truth (A. Stam, Information and Control 2, 1959), so the bound holds.

What is left out makes the true limit larger or smaller. Larger: echoes, which bias the delays by
up to microseconds; the unknown frequency offsets; the noise threshold at low SNR. Smaller:
what is known beforehand of where transmitters are, and that some receivers detect nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .local_frame import FRAME
from .propagation import distances_km
from .receivers import POSITIONS
from .scene import SPEED_OF_LIGHT_KM_US, SimulatorConfig, Truth

_Floats = npt.NDArray[np.float64]

FADING_STD_DB = 10 / np.log(10)


def delay_variance_us2(power_dbm: npt.ArrayLike, bandwidth_hz: npt.ArrayLike, config: SimulatorConfig) -> _Floats:
    """Gives the bound on a delay's variance from noise alone, in µs².

    Args:
        power_dbm: Received power of the signal.
        bandwidth_hz: Its root mean square bandwidth, of a shape that broadcasts with the power's.
        config: Noise and length of the observation.
    """
    energy = 10 ** (np.asarray(power_dbm) / 10) * config.duration_s / config.noise_density_mw_hz
    return np.asarray(1e12 / (2 * energy * (2 * np.pi * np.asarray(bandwidth_hz)) ** 2), dtype=np.float64)


def power_noise_db2(power_dbm: npt.ArrayLike, config: SimulatorConfig) -> _Floats:
    """Gives the bound on a measured power's variance from noise alone, in dB²: (20 / ln 10)² / (2·E/N0)."""
    energy = 10 ** (np.asarray(power_dbm) / 10) * config.duration_s / config.noise_density_mw_hz
    return np.asarray((20 / np.log(10)) ** 2 / (2 * energy), dtype=np.float64)


def power_variance_db2(config: SimulatorConfig) -> float:
    """Gives the variance of a received power about its mean at a distance, in dB²."""
    fading = FADING_STD_DB**2 if config.rayleigh else 0.0
    return config.terrain_loss_std_db**2 + config.clutter_loss_std_db**2 + fading


def bound_km(truth: Truth, config: SimulatorConfig) -> _Floats:
    """Gives (count,) lower bounds on the root mean square position error, in kilometres.

    The root of the trace of the inverse of the 2 x 2 information on east and north.
    """
    away = FRAME.to_km(truth.positions)[:, None, :] - FRAME.to_km(POSITIONS)
    directions = away / np.linalg.norm(away, axis=-1, keepdims=True)
    variance = delay_variance_us2(truth.power_dbm, truth.bandwidth_hz[:, None], config) + config.timing_std_us**2
    weights = truth.detected / variance
    information = _inform_times(directions / SPEED_OF_LIGHT_KM_US, weights)
    information += _inform_powers(directions, truth, config)
    return np.asarray(np.sqrt(np.trace(np.linalg.inv(information), axis1=1, axis2=2)), dtype=np.float64)


def _inform_times(gradients: _Floats, weights: _Floats) -> _Floats:
    """Gives (count, 2, 2) information of arrival times whose time of emission is unknown."""
    whole = np.einsum("nr,nri,nrj->nij", weights, gradients, gradients)
    common = np.einsum("nr,nri->ni", weights, gradients)
    return np.asarray(whole - common[:, :, None] * common[:, None, :] / weights.sum(axis=1)[:, None, None])


def _inform_powers(directions: _Floats, truth: Truth, config: SimulatorConfig) -> _Floats:
    slope = 20 / np.log(10) / distances_km(truth.positions, config)  # dB a kilometre
    variance = power_variance_db2(config) + power_noise_db2(truth.power_dbm, config)
    weights = truth.detected * slope**2 / variance
    return np.asarray(np.einsum("nr,nri,nrj->nij", weights, directions, directions))
