"""Differences of arrival time and of frequency between receivers, estimated from noisy samples.

A coarse search over the cross-ambiguity function (S. Stein, "Algorithms for ambiguity function
processing", IEEE Trans. ASSP 29, 1981) finds delay and frequency on a grid; Newton steps then
climb to the top of the peak, so that the estimate is not bound to any grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .scene import SimulatorConfig
from .signals import rotate

_Complex = npt.NDArray[np.complex64]
_Floats = npt.NDArray[np.float64]

LAG_LIMIT_US = 600.0  # light crosses the longest baseline, Coazze to Milano-Baggio, in 520 µs
_FREQUENCY_LIMIT_HZ = 45.0  # Doppler of ±2·14.5 Hz, and the receivers' own errors
_THINNING = 8  # 192 kHz to 24 kHz
_BLOCK_SAMPLES = 64  # 2.7 ms: at 45 Hz an eighth of a turn
_FREQUENCIES = 64
_ROUNDS = 2
_FADE_S = 1e-3


@dataclass(frozen=True)
class Narrowband:
    """Observations of one channel at an eighth of the sample rate, with nothing beyond 0.6 channel widths.

    Attributes:
        spectra: (rows, bins) complex64 spectra, lowest frequency first.
        series: (rows, bins) complex64 samples in time: the inverse transforms.
        frequencies_hz: (bins,) of the spectra.
        times_s: (bins,) of the series, the first at zero.
        passed: How many of the bins are of the channel.
    """

    spectra: _Complex
    series: _Complex
    frequencies_hz: _Floats
    times_s: _Floats
    passed: int

    def take(self, rows: npt.NDArray[np.int64]) -> Narrowband:
        """Gives some of the rows."""
        return Narrowband(self.spectra[rows], self.series[rows], self.frequencies_hz, self.times_s, self.passed)


@dataclass(frozen=True)
class Differences:
    """What (rows,) pairs of observations differ by: the first less its reference.

    Attributes:
        delay_us: Difference of arrival times.
        frequency_hz: Difference of frequencies.
        coherence: Squared coherence in the channel, 0 to 1.
        std_us: Expected standard deviation of `delay_us`, from the coherence and the bandwidth.
    """

    delay_us: _Floats
    frequency_hz: _Floats
    coherence: _Floats
    std_us: _Floats


def thin(spectra: _Complex, config: SimulatorConfig) -> Narrowband:
    """Keeps the channel of (rows, samples) complex64 full spectra."""
    bins = spectra.shape[-1] // _THINNING
    order = np.arange(-(bins // 2), bins - bins // 2)
    frequencies = order / config.duration_s
    inside = np.abs(frequencies) <= 600 * config.channel_khz
    kept = spectra[:, order] * inside.astype(np.float32)
    series = (_to_time(kept) / np.float32(_THINNING)).astype(np.complex64)
    return Narrowband(kept, series, frequencies, np.arange(bins) * (config.duration_s / bins), int(inside.sum()))


def compare(first: Narrowband, reference: Narrowband) -> Differences:
    """Estimates how much later and higher each row of the first is than that row of the reference.

    The reference's ends are faded out, over more than the largest difference: whatever it is,
    what is left of the reference lies wholly within the first's observation.
    """
    times, frequencies = first.times_s, first.frequencies_hz
    template = reference.series * _fade(times, times[-1]).astype(np.float32)
    spectra = _to_frequency(template)
    delay_s, frequency_hz = _search(first.series, template, times[1])
    for _ in range(_ROUNDS):
        cross = _to_frequency(first.series * rotate(-frequency_hz, times)) * spectra.conj()
        delay_s = _climb(cross, frequencies, delay_s, limit=times[1])
        moved = _to_time(spectra * rotate(-delay_s, frequencies))
        frequency_hz = -_climb(first.series * moved.conj(), times, -frequency_hz, limit=2.0)
    beside = (np.abs(first.series) ** 2 * _fade(times - delay_s[:, None], times[-1])).sum(axis=-1)
    powers = beside * (np.abs(reference.series) ** 2 * _fade(times, times[-1])).sum(axis=-1) * times.size**2
    return _judge(cross, first, delay_s, frequency_hz, powers)


def _fade(times_s: _Floats, end_s: float) -> _Floats:
    """Gives weights that are zero for the longest lag at either end, one in between, and smooth."""
    inside = np.minimum(times_s, end_s - times_s) - LAG_LIMIT_US * 1e-6
    return np.asarray(np.sin(np.pi / 2 * np.clip(inside / _FADE_S, 0, 1)) ** 2, dtype=np.float64)


def _to_time(spectra: npt.NDArray[np.complexfloating]) -> npt.NDArray[np.complexfloating]:
    return np.asarray(np.fft.ifft(np.fft.ifftshift(spectra, axes=-1), axis=-1))


def _to_frequency(series: npt.NDArray[np.complexfloating]) -> npt.NDArray[np.complexfloating]:
    return np.asarray(np.fft.fftshift(np.fft.fft(series, axis=-1), axes=-1))


def _search(late: _Complex, early: _Complex, step_s: float) -> tuple[_Floats, _Floats]:
    """Finds the highest point of the cross-ambiguity function on a grid: seconds and hertz."""
    most = int(np.ceil(LAG_LIMIT_US * 1e-6 / step_s))
    lags = np.arange(-most, most + 1)
    blocks = np.empty((len(late), lags.size, late.shape[-1] // _BLOCK_SAMPLES), dtype=np.complex64)
    whole = blocks.shape[-1] * _BLOCK_SAMPLES
    conjugate = early.conj()
    for row, lag in enumerate(lags):
        product = late[:, :whole] * np.roll(conjugate, lag, axis=-1)[:, :whole]
        blocks[:, row] = product.reshape(len(late), -1, _BLOCK_SAMPLES).sum(axis=-1)
    surface = np.abs(np.fft.fft(blocks, _FREQUENCIES, axis=-1))
    frequencies = np.fft.fftfreq(_FREQUENCIES, _BLOCK_SAMPLES * step_s)
    surface[..., np.abs(frequencies) > _FREQUENCY_LIMIT_HZ] = 0
    best = surface.reshape(len(late), -1).argmax(axis=-1)
    lag_index, frequency_index = np.divmod(best, _FREQUENCIES)
    delay = lags[lag_index] + _peak(surface[np.arange(len(late)), :, frequency_index], lag_index)
    found = np.asarray(frequencies, dtype=np.float64)[frequency_index]
    return np.asarray(delay * step_s, dtype=np.float64), found


def _peak(curves: npt.NDArray[np.float32], index: npt.NDArray[np.int64]) -> _Floats:
    """Gives where a parabola through the three points about the highest has its top, in steps."""
    rows, last = np.arange(len(curves)), curves.shape[-1] - 1
    left, right = curves[rows, np.maximum(index - 1, 0)], curves[rows, np.minimum(index + 1, last)]
    bend = left + right - 2 * curves[rows, index]
    offset = np.divide(left - right, 2 * bend, out=np.zeros(len(curves), dtype=np.float32), where=bend < 0)
    return np.asarray(np.clip(offset, -0.5, 0.5), dtype=np.float64)


def _climb(values: npt.NDArray[np.complexfloating], axis: _Floats, start: _Floats, limit: float) -> _Floats:
    """Takes one Newton step towards the top of |Σ values · exp(2πi·axis·x)|² over x, from `start`.

    With z = Σ v·e, z' = 2πi Σ a·v·e and z'' = -(2π)² Σ a²·v·e the slope is 2·Re(z' z*) and the
    bend 2·(|z'|² + Re(z'' z*)). Where it does not bend downwards nothing is changed.
    """
    turned = values * rotate(start, axis)
    moments = turned @ np.stack([np.ones_like(axis), axis, axis**2], axis=-1)
    total, first, second = moments[:, 0], 2j * np.pi * moments[:, 1], -((2 * np.pi) ** 2) * moments[:, 2]
    slope = (first * total.conj()).real
    bend = np.abs(first) ** 2 + (second * total.conj()).real
    step = np.divide(-slope, bend, out=np.zeros_like(slope), where=bend < 0)
    return np.asarray(start + np.clip(step, -limit, limit), dtype=np.float64)


def _judge(
    cross: npt.NDArray[np.complexfloating], band: Narrowband, delay_s: _Floats, frequency_hz: _Floats, powers: _Floats
) -> Differences:
    """Adds how good an estimate is.

    The variance is that of Knapp and Carter (IEEE Trans. ASSP 24, 1976), for complex samples:
    (1 - C) / C / (2·bins·(2π·β)²) with C the squared coherence and β the bandwidth.
    """
    channel = band.frequencies_hz
    aligned = cross * rotate(delay_s, channel)
    total = aligned.sum(axis=-1)
    coherence = np.clip(np.abs(total) ** 2 / powers, 1e-6, 1 - 1e-6)
    weights = np.maximum((aligned * total.conj()[:, None]).real, 0)
    weights /= weights.sum(axis=-1, keepdims=True)
    bandwidth = np.sqrt(weights @ channel**2 - (weights @ channel) ** 2)
    variance = (1 - coherence) / coherence / (2 * band.passed * (2 * np.pi * bandwidth) ** 2)
    return Differences(delay_s * 1e6, frequency_hz, coherence, np.sqrt(variance) * 1e6)
