"""Waveforms: narrow-band FM of voice-like sound, and how a link changes it.

A waveform is generated on a period slightly longer than an observation, so that delays are phase
ramps of its spectrum: exact at any fraction of a sample. An observation is cut from its middle.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .links import generator
from .scene import Links, SimulatorConfig

_Complex = npt.NDArray[np.complex64]
_Floats = npt.NDArray[np.float64]

_GUARD_SAMPLES = 512  # 2.7 ms at 192 kHz: more than any delay of a scene
_LEAD_SAMPLES = 384  # of them before the observation, where the delayed signal comes in
_PHASOR_BLOCK = 128
_LIMITER_GAIN = 1.5  # how hard a radio's limiter drives the voice into the peak deviation


def period_samples(config: SimulatorConfig) -> int:
    """Gives the samples of one period of a waveform."""
    return config.samples + _GUARD_SAMPLES


def channel_bins(config: SimulatorConfig) -> npt.NDArray[np.int64]:
    """Gives the bins of a period's spectrum that the channel filter passes, lowest frequency first."""
    edge = int(0.6 * config.channel_khz * 1e3 * period_samples(config) / config.sample_rate_hz)
    return np.arange(-edge, edge + 1)


def bin_frequencies_hz(config: SimulatorConfig) -> _Floats:
    """Gives the frequency of every bin of `channel_bins`."""
    return np.asarray(channel_bins(config) * (config.sample_rate_hz / period_samples(config)), dtype=np.float64)


def draw_spectra(config: SimulatorConfig, seed: int, count: int, start: int = 0) -> npt.NDArray[np.complex128]:
    """Draws (count, bins) spectra of transmitted waveforms of power one, over `channel_bins`.

    The sound is Gaussian noise in the audio band, its level rising and falling as syllables do, driven into
    a soft limiter; its integral is the phase of the carrier. The channel filter (a raised cosine
    that falls from 0.4 to 0.6 channel widths) takes what FM leaves outside.
    """
    sound = np.stack([_draw_sound(config, generator(seed, scene, 1)) for scene in range(start, start + count)])
    # Without a mean the phase closes after one period, and the offset is the only mean frequency.
    limited = np.tanh(_LIMITER_GAIN * sound)
    limited -= limited.mean(axis=-1, keepdims=True)
    step = 2 * np.pi * config.deviation_khz * 1e3 / config.sample_rate_hz
    phase = np.cumsum(limited * step, axis=-1)
    carrier = (np.cos(phase) + 1j * np.sin(phase)).astype(np.complex64)
    spectra = np.fft.fft(carrier, axis=-1)[:, channel_bins(config)].astype(np.complex128)
    spectra *= _channel_filter(config)
    return np.asarray(spectra / np.sqrt((np.abs(spectra) ** 2).sum(axis=-1, keepdims=True)), dtype=np.complex128)


def _draw_sound(config: SimulatorConfig, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    samples = period_samples(config)
    resolution = config.sample_rate_hz / samples
    low, high = int(np.ceil(config.audio_low_hz / resolution)), int(config.audio_high_hz / resolution)
    spectrum = np.zeros(samples // 2 + 1, dtype=np.complex64)
    band = rng.standard_normal((2, high - low + 1))
    # Voices fall by 6 dB an octave above 500 Hz, and a transmitter's pre-emphasis raises them again.
    spectrum[low : high + 1] = band[0] + 1j * band[1]
    sound = np.fft.irfft(spectrum, samples)
    sound /= np.sqrt((sound**2).mean())
    syllables = 0.75 + 0.25 * np.cos(2 * np.pi * (np.arange(samples) / samples + rng.random()))
    return np.asarray(sound * syllables, dtype=np.float32)


def _channel_filter(config: SimulatorConfig) -> _Floats:
    across = np.abs(bin_frequencies_hz(config)) / (config.channel_khz * 1e3)
    return np.asarray(np.cos(np.pi / 2 * np.clip((across - 0.4) / 0.2, 0, 1)) ** 2, dtype=np.float64)


def rms_bandwidth_hz(spectra: npt.NDArray[np.complex128], config: SimulatorConfig) -> _Floats:
    """Gives (count,) root mean square bandwidths about the mean frequency, in hertz."""
    frequencies, power = bin_frequencies_hz(config), np.abs(spectra) ** 2
    mean = power @ frequencies
    return np.asarray(np.sqrt(power @ frequencies**2 - mean**2), dtype=np.float64)


def receive(spectra: npt.NDArray[np.complex128], links: Links, config: SimulatorConfig) -> _Complex:
    """Gives (count, 7, samples) complex samples at the receivers, without noise.

    A sample's squared magnitude is a power in milliwatts. Every path delays the waveform by the
    propagation delay, the receiver's clock error and its own extra delay; the sum is shifted by
    the link's frequency offset.
    """
    samples = period_samples(config)
    period = np.zeros((*links.delays_us.shape, samples), dtype=np.complex64)
    amplitude = 10 ** (links.path_power_dbm / 20)
    response = _respond(links, config) * (amplitude[..., None] * samples)
    period[..., channel_bins(config)] = response * spectra[:, None, :]
    received = np.fft.ifft(period, axis=-1)[..., _LEAD_SAMPLES : _LEAD_SAMPLES + config.samples]
    return np.asarray(received * _shift(links.offsets_hz, config), dtype=np.complex64)


def _respond(links: Links, config: SimulatorConfig) -> npt.NDArray[np.complex128]:
    """Gives (count, 7, bins): the frequency response of every link about the carrier."""
    delays_s = (links.delays_us + links.clocks_us) * 1e-6
    turns = bin_frequencies_hz(config)
    response = np.zeros((*delays_s.shape, turns.size), dtype=np.complex128)
    for path in range(links.gains.shape[-1]):
        delay_s = delays_s + links.echoes_us[..., path] * 1e-6
        response += links.gains[..., path, None] * rotate(-delay_s, turns)
    return response


def rotate(times_s: _Floats, frequencies_hz: _Floats) -> npt.NDArray[np.complex128]:
    """Gives exp(2πi·f·t) for every time (…) and equally spaced frequencies (bins): shape (…, bins).

    A product of two short tables: a hundred times fewer sines than one an element.
    """
    step, first = frequencies_hz[1] - frequencies_hz[0], frequencies_hz[0]
    blocks = -(-frequencies_hz.size // _PHASOR_BLOCK)
    coarse = first + step * _PHASOR_BLOCK * np.arange(blocks)
    fine = step * np.arange(_PHASOR_BLOCK)
    turn = 2j * np.pi * times_s[..., None]
    table = np.exp(turn * coarse)[..., :, None] * np.exp(turn * fine)[..., None, :]
    return np.asarray(table.reshape(*times_s.shape, -1)[..., : frequencies_hz.size], dtype=np.complex128)


def _shift(offsets_hz: _Floats, config: SimulatorConfig) -> _Complex:
    times_s = np.arange(config.samples) / config.sample_rate_hz
    return rotate(offsets_hz, times_s).astype(np.complex64)


def add_noise(iq: _Complex, config: SimulatorConfig, seed: int, start: int) -> None:
    """Adds white noise to (count, 7, samples) in place; its power in the channel is `noise_dbm`."""
    each_part = np.float32(np.sqrt(config.noise_density_mw_hz * config.sample_rate_hz / 2))
    for index, scene in enumerate(iq):
        parts = scene.view(np.float32)
        parts += each_part * generator(seed, start + index, 2).standard_normal(parts.shape, dtype=np.float32)
