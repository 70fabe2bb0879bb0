"""What a network or a solver sees of a scene: pictures and a vector of measurements.

Everything is estimated from the noisy samples and the receivers' detection flags; the truth is
never read. Complex samples stay complex to the end, so the sign of a frequency, the power over the
noise floor, and the differences in time and frequency between receivers are all still there.

Channels of the pictures, each 128 rows by 32 frames of time, and zero where a receiver detects nothing:

- 0 to 6: the two-sided spectrogram of each receiver, lowest frequency first, in dB over its own
  noise floor, divided by 20. The 128 rows are the 93.75 Hz bins of -6 to +6 kHz.
- 7 to 13: the delay profile of each receiver against the strongest one: the magnitude of their
  cross-correlation, frame by frame, at 128 delays 9.26 µs apart from -593 to +583 µs, as a share of the mean
  powers of both. The strongest receiver's own profile peaks at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .correlation import Differences, Narrowband, compare, thin
from .receivers import RECEIVERS
from .scene import SimulatorConfig

_Complex = npt.NDArray[np.complex64]
_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]

FEATURE_VERSION = 3
"""Part of the cache's key: raised whenever the same scenes give other features."""

BANDS = 128
CHANNELS = 2 * len(RECEIVERS)

KINDS: tuple[str, ...] = ("detected", "power", "tdoa", "tdoa_std", "offset")
MEASUREMENTS: tuple[str, ...] = tuple(f"{kind}:{each.name}" for kind in KINDS for each in RECEIVERS)
"""Names of the 35 measurements in order: seven receivers of each kind.

- detected: 1 or 0. Everything else of a receiver that detects nothing is 0.
- power: (dBm + 100) / 20.
- tdoa: arrival time less the mean arrival time of the detecting receivers, µs / 200.
- tdoa_std: its expected standard deviation against the strongest receiver, log10 of µs; 0 is 1 µs.
- offset: frequency off the channel's centre, Hz / 50.
"""

_LEVEL_DB = 20.0
_CENTRED = np.arange(-BANDS // 2, BANDS // 2)
_DELAYS = np.exp(2j * np.pi / 1152 * np.outer(_CENTRED, _CENTRED)).astype(np.complex64)  # 1 / 1152 / 93.75 Hz: 9.26 µs
_POWER_DBM, _POWER_DB = -100.0, 20.0
_TDOA_US = 200.0
_OFFSET_HZ = 50.0
_LEAST_STD_US = 1e-3


@dataclass(frozen=True)
class Features:
    """Features of scenes.

    Attributes:
        images: (count, 14, 128, 32) float32.
        measurements: (count, 35) float32 in the order of `MEASUREMENTS`.
    """

    images: npt.NDArray[np.float32]
    measurements: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Measured:
    """The measurements in their units, (count, 7) each; NaN where a receiver detects nothing.

    Attributes:
        power_dbm: Received power in the channel, noise taken off.
        tdoa_us: Arrival time less the mean of the scene's detecting receivers.
        tdoa_std_us: Expected standard deviation of an arrival time, from noise alone; of the
            strongest receiver, the others' reference, the best of the others.
        offset_hz: Frequency off the channel's centre.
        detected: Which receivers detect the signal.
    """

    power_dbm: _Floats
    tdoa_us: _Floats
    tdoa_std_us: _Floats
    offset_hz: _Floats
    detected: _Bools


def extract(iq: _Complex, detected: _Bools, config: SimulatorConfig) -> Features:
    """Computes the features of (count, 7, samples) complex64 samples and (count, 7) flags.

    A scene's features do not depend on the other scenes of the call, to the last few bits.
    """
    rows = iq[detected]  # (pairs, samples): what nobody hears costs nothing
    scene = np.nonzero(detected)[0]
    spectra = np.fft.fft(rows, axis=-1).astype(np.complex64)
    power, floor = _measure_power(spectra, config)
    reference = _choose_reference(power, scene, len(iq))
    narrow = thin(spectra, config)
    others = np.nonzero(reference != np.arange(len(rows)))[0]
    differences = compare(narrow.take(others), narrow.take(reference[others]))
    columns = _describe(differences, others, reference, power, narrow, len(rows))
    return Features(
        _paint(narrow, floor, reference, detected, config), _fill(columns, detected, scene).astype(np.float32)
    )


def measured(features: Features) -> Measured:
    """Gives the measurements back in their units."""
    return measured_of(features.measurements)


def measured_of(measurements: npt.ArrayLike) -> Measured:
    """Gives (count, 35) scaled measurements back in their units."""
    values = np.asarray(measurements, dtype=np.float64).reshape(-1, len(KINDS), len(RECEIVERS))
    detected = values[:, 0] > 0.5
    power, tdoa, std, offset = (np.where(detected, values[:, kind], np.nan) for kind in range(1, len(KINDS)))
    return Measured(
        power * _POWER_DB + _POWER_DBM,
        tdoa * _TDOA_US,
        np.where(detected, 10**std, np.nan),
        offset * _OFFSET_HZ,
        detected,
    )


def _measure_power(spectra: _Complex, config: SimulatorConfig) -> tuple[_Floats, _Floats]:
    """Gives each row's signal power and its noise a bin of the full spectrum, in milliwatts."""
    samples = spectra.shape[-1]
    channel = np.abs(np.fft.fftfreq(samples, 1 / config.sample_rate_hz)) <= 600 * config.channel_khz
    floor = _measure_floor(spectra, config)
    power = (np.abs(spectra[:, channel]) ** 2).sum(axis=-1, dtype=np.float64) / samples**2
    return np.maximum(power - floor * channel.sum(), floor), floor


def _measure_floor(spectra: _Complex, config: SimulatorConfig) -> _Floats:
    """Gives each row's noise a bin: what lies more than two channels off the centre, where nothing is sent.

    A Hann window, which is a sum of three neighbouring bins, keeps strong signals from leaking
    there; it takes 5/8 of the noise's power.
    """
    samples = spectra.shape[-1]
    edge = int(2e3 * config.channel_khz * config.duration_s)
    empty = spectra[:, edge : samples - edge]  # from two channels above, round the end, to two below
    windowed = empty[:, 1:-1] / 2 - (empty[:, :-2] + empty[:, 2:]) / 4
    power = windowed.real**2 + windowed.imag**2
    return np.asarray(power.mean(axis=-1, dtype=np.float64) * (8 / 3) / samples**2)


def _choose_reference(power: _Floats, scene: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Gives each row the row of the strongest receiver of its scene."""
    strongest = np.full(count, -1, dtype=np.int64)
    ascending = np.argsort(power, kind="stable")
    strongest[scene[ascending]] = ascending  # the last written, so the strongest, stays
    return strongest[scene]


def _describe(
    differences: Differences,
    others: npt.NDArray[np.int64],
    reference: npt.NDArray[np.int64],
    power: _Floats,
    narrow: Narrowband,
    count: int,
) -> dict[str, _Floats]:
    """Gives the scaled measurements of every row; times are against the scene's strongest receiver."""
    delay, offset, std = np.zeros(count), np.zeros(count), np.full(count, np.inf)
    delay[others], offset[others], std[others] = differences.delay_us, differences.frequency_hz, differences.std_us
    best = np.full(count, np.inf)
    np.minimum.at(best, reference, std)
    std[reference] = best[reference]
    offset += _mean_frequency(narrow)[reference]
    scaled_power = (10 * np.log10(power) - _POWER_DBM) / _POWER_DB
    std = np.log10(np.clip(std, _LEAST_STD_US, 1e3))
    return {"power": scaled_power, "tdoa": delay / _TDOA_US, "tdoa_std": std, "offset": offset / _OFFSET_HZ}


def _mean_frequency(narrow: Narrowband) -> _Floats:
    """Gives each row's mean frequency: the mean turn from sample to sample, whatever its power.

    So it is for FM: the mean of the spectrum is off by what the channel cuts away.
    """
    turn = np.angle(narrow.series[:, 1:] * narrow.series[:, :-1].conj())
    return np.asarray(turn.mean(axis=-1, dtype=np.float64) / (2 * np.pi * narrow.times_s[1]), dtype=np.float64)


def _fill(columns: dict[str, _Floats], detected: _Bools, scene: npt.NDArray[np.int64]) -> _Floats:
    values = np.zeros((len(detected), len(KINDS), len(RECEIVERS)))
    values[:, 0] = detected
    tdoa = columns["tdoa"]
    mean = np.bincount(scene, tdoa, len(detected)) / np.maximum(detected.sum(axis=1), 1)
    centred = columns | {"tdoa": tdoa - mean[scene]}
    for kind, name in enumerate(KINDS[1:], start=1):
        values[:, kind][detected] = centred[name]
    return values.reshape(len(detected), -1)


def _paint(
    narrow: Narrowband, floor: _Floats, reference: npt.NDArray[np.int64], detected: _Bools, config: SimulatorConfig
) -> npt.NDArray[np.float32]:
    bands = transform(narrow, config)
    power = bands.real**2 + bands.imag**2
    noise = floor * config.samples * 3 / 8 / config.frame_samples
    levels = np.log10(power / noise[:, None, None].astype(np.float32) + np.float32(1e-3)) * np.float32(10 / _LEVEL_DB)
    images = np.zeros((len(detected), CHANNELS, BANDS, config.frames), dtype=np.float32)
    receivers = len(RECEIVERS)
    images[:, :receivers][detected] = levels.swapaxes(1, 2)
    images[:, receivers:][detected] = _profile(bands, power, reference).swapaxes(1, 2)
    return images


def transform(narrow: Narrowband, config: SimulatorConfig) -> _Complex:
    """Gives the (rows, 32, 128) short-time Fourier transform: Hann windows of 2,048 samples, 512 apart.

    Computed at the thinned rate: the bins are the same ones, and only those of the channel are.
    Divided by the window's length, so a tone of power one has magnitude one half.
    """
    thinning = config.samples // narrow.times_s.size
    length, hop = config.frame_samples // thinning, config.hop_samples // thinning
    window = np.hanning(length + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(narrow.series, length, axis=-1)[:, ::hop]
    spectra = np.fft.fft(frames * window, axis=-1, norm="forward")
    return np.asarray(spectra[..., _CENTRED], dtype=np.complex64)


def _profile(
    bands: _Complex, power: npt.NDArray[np.float32], reference: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Gives (rows, frames, 128) delay profiles: the inverse transforms of the cross-spectra, at fine delays."""
    cross = bands * bands[reference].conj()
    curve = cross.reshape(-1, BANDS) @ _DELAYS
    total = power.sum(axis=-1).mean(axis=-1)
    profiles = np.abs(curve).reshape(power.shape) / np.sqrt(total * total[reference])[:, None, None]
    return np.asarray(profiles, dtype=np.float32)
