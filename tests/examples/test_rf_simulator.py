"""The simulator's physics against formulas written down a second time, and its random numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from holdfast.errors import InvalidInputError
from holdfast_examples.rf_localization.links import draw_links
from holdfast_examples.rf_localization.local_frame import EARTH_RADIUS_KM, FRAME, haversine_km
from holdfast_examples.rf_localization.propagation import doppler_hz, free_space_loss_db
from holdfast_examples.rf_localization.receivers import ALTITUDES_M, POSITIONS, RECEIVERS
from holdfast_examples.rf_localization.scene import SimulatorConfig
from holdfast_examples.rf_localization.signals import add_noise
from holdfast_examples.rf_localization.simulate import simulate

CONFIG = SimulatorConfig()
PLAIN = replace(
    CONFIG,
    terrain_loss_std_db=0.0,
    clutter_loss_std_db=0.0,
    rayleigh=False,
    echoes_least=0,
    echoes_most=0,
    timing_std_us=0.0,
    noise_dbm=-200.0,
)
"""Free space with average losses: no fading, echoes, clock errors, and next to no noise."""

STILL = replace(PLAIN, speed_mps=0.0, oscillator_std_hz=0.0)


def _distances_m(position: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distances by the spherical law of cosines, and Pythagoras for the altitudes."""
    here, there = np.radians(position), np.radians(POSITIONS)
    cosine = np.sin(here[0]) * np.sin(there[:, 0])
    cosine += np.cos(here[0]) * np.cos(there[:, 0]) * np.cos(there[:, 1] - here[1])
    return np.sqrt((EARTH_RADIUS_KM * 1e3 * np.arccos(cosine)) ** 2 + (ALTITUDES_M - 300.0) ** 2)


def test_seven_receivers() -> None:
    assert [each.name for each in RECEIVERS][::6] == ["Giaveno", "Milano-Baggio"]
    assert POSITIONS.shape == (7, 2)


def test_local_frame() -> None:
    rng = np.random.default_rng(1)
    points = POSITIONS.mean(axis=0) + rng.uniform(-1, 1, (200, 2)) * (0.9, 1.4)
    km = FRAME.to_km(points)
    np.testing.assert_allclose(FRAME.to_latlon(km), points, atol=1e-10)
    flat = np.linalg.norm(km[:100] - km[100:], axis=1)
    np.testing.assert_allclose(flat, haversine_km(points[:100], points[100:]), rtol=2e-4)
    assert FRAME.to_km([FRAME.latitude0, FRAME.longitude0]) == pytest.approx([0, 0])
    north, east = FRAME.to_km([[FRAME.latitude0 + 0.1, FRAME.longitude0], [FRAME.latitude0, FRAME.longitude0 + 0.1]])
    assert north == pytest.approx([0, 11.1195], abs=1e-3)
    assert east[0] == pytest.approx(11.1195 * np.cos(np.radians(FRAME.latitude0)), abs=1e-3)


def test_haversine() -> None:
    assert haversine_km([0, 0], [90, 0]) == pytest.approx(np.pi / 2 * 6371.0088)
    assert haversine_km([45, 7], [45, 7]) == 0


def test_free_space_loss() -> None:
    wavelength_m = 299_792_458 / 145e6
    for distance_km in (0.5, 20.0, 150.0):
        expected = 20 * np.log10(4 * np.pi * distance_km * 1e3 / wavelength_m)
        assert free_space_loss_db(distance_km, 145.0) == pytest.approx(expected, abs=0.02)


def test_power_of_samples() -> None:
    scenes = simulate(PLAIN, 3, 4)
    for iq, position in zip(scenes.iq, scenes.positions, strict=True):
        loss = 20 * np.log10(4 * np.pi * _distances_m(position) * 145e6 / 299_792_458)
        measured = 10 * np.log10((np.abs(iq) ** 2).mean(axis=1))
        # The waveform's period is longer than the observation by 3 %, which its power is one over.
        np.testing.assert_allclose(measured, 37 - loss - 18 - 8, atol=0.3)


def test_delay_of_samples() -> None:
    """Distance over the speed of light, found by correlation at 32 times the sample rate."""
    scenes = simulate(STILL, 5, 3)
    inner = np.hanning(CONFIG.samples)
    for iq, position in zip(scenes.iq, scenes.positions, strict=True):
        spectra = np.fft.fft(iq * inner, axis=1)
        expected_us = _distances_m(position) / 299.792458
        for receiver in range(1, 7):
            cross = spectra[receiver] * spectra[0].conj()
            padded = np.zeros(32 * cross.size, dtype=complex)
            padded[: cross.size // 2], padded[-cross.size // 2 :] = cross[: cross.size // 2], cross[cross.size // 2 :]
            lag = int(np.abs(np.fft.ifft(padded)).argmax())
            lag -= padded.size * (lag > padded.size // 2)
            found_us = lag / 32 / 0.192
            # Half a step of this correlation is 0.08 µs.
            assert found_us == pytest.approx(expected_us[receiver] - expected_us[0], abs=0.1)


def test_offset_of_samples() -> None:
    """An unmodulated carrier turns by its offset, Doppler and receivers' errors included."""
    scenes = simulate(replace(PLAIN, deviation_khz=1e-9), 7, 4)
    turns = np.unwrap(np.angle(scenes.iq), axis=-1)
    times_s = np.arange(CONFIG.samples) / 192e3
    slopes = np.polynomial.polynomial.polyfit(times_s, turns.reshape(28, -1).T, 1)[1] / (2 * np.pi)
    np.testing.assert_allclose(slopes.reshape(4, 7), scenes.truth.offsets_hz, atol=0.05)
    assert np.ptp(scenes.truth.offsets_hz, axis=1).min() > 0.1
    assert np.abs(scenes.truth.offsets_hz).max() < 50 + 14.6 + 6


def test_doppler() -> None:
    south = POSITIONS[:1] - [0.2, 0.0]  # the first receiver lies due north of it
    shifts = doppler_hz(np.vstack([south, south]), np.array([[0.0, 30.0], [30.0, 0.0]]), CONFIG)
    assert shifts[0, 0] == pytest.approx(30 / 299_792_458 * 145e6, rel=1e-3)
    assert shifts[1, 0] == pytest.approx(0, abs=0.2)  # the frame's north is half a degree off there


def test_noise_power() -> None:
    noise = np.zeros((4, 7, CONFIG.samples), dtype=np.complex64)
    add_noise(noise, CONFIG, seed=1, start=0)
    assert 10 * np.log10((np.abs(noise) ** 2).mean()) == pytest.approx(-120 + 10 * np.log10(192 / 12.5), abs=0.05)
    power = np.abs(np.fft.fft(noise, axis=-1) / CONFIG.samples) ** 2
    channel = np.abs(np.fft.fftfreq(CONFIG.samples, 1 / 192e3)) <= 6250
    assert 10 * np.log10(power[..., channel].sum(axis=-1).mean()) == pytest.approx(-120, abs=0.1)
    likeness = np.abs((noise[0, 0] * noise[0, 1].conj()).mean()) / (np.abs(noise[0, 0]) ** 2).mean()
    assert likeness < 5 / np.sqrt(CONFIG.samples)
    assert abs((noise**2).mean()) < 0.01 * (np.abs(noise) ** 2).mean()  # both parts alike, and not correlated


def test_waveform_fills_the_channel() -> None:
    scenes = simulate(replace(STILL, offset_hz=0.0), 2, 6)
    power = np.abs(np.fft.fft(scenes.iq[:, 0] * np.hanning(CONFIG.samples), axis=-1)) ** 2
    frequencies = np.fft.fftfreq(CONFIG.samples, 1 / 192e3)
    share = power[:, np.abs(frequencies) <= 6250].sum(axis=1) / power.sum(axis=1)
    assert share.min() > 0.97
    bandwidth = np.sqrt((power * frequencies**2).sum(axis=1) / power.sum(axis=1))
    np.testing.assert_allclose(bandwidth, scenes.truth.bandwidth_hz, rtol=0.1)
    assert 2000 < bandwidth.min() < bandwidth.max() < 4000


def test_rayleigh_fading_and_shadowing() -> None:
    links = draw_links(replace(CONFIG, detection_snr_db=-1e3), 1, 2000)
    power = (np.abs(links.gains.sum(axis=-1)) ** 2).ravel()
    # An exponential variable of mean one, at 14,000 draws.
    assert power.mean() == pytest.approx(1, abs=0.03)
    for level in (0.01, 0.1, np.log(2), 2.0, 4.0):
        assert (power < level).mean() == pytest.approx(1 - np.exp(-level), abs=0.015)
    assert 10 * np.log10(power[power < np.quantile(power, 0.001)].max()) < -27
    distances = np.array([_distances_m(each) for each in links.positions])
    loss = 37 - 26 - 20 * np.log10(4 * np.pi * distances * 145e6 / 299_792_458) - links.path_power_dbm
    assert loss.mean() == pytest.approx(0, abs=0.3)
    assert loss.std() == pytest.approx(np.hypot(8, 4), rel=0.03)


def test_scenes_are_as_configured() -> None:
    links = draw_links(CONFIG, 4, 1000)
    low, high = POSITIONS.min(axis=0), POSITIONS.max(axis=0)
    inside = ((links.positions >= low) & (links.positions <= high)).all(axis=1)
    assert inside.mean() == pytest.approx(0.7, abs=0.05)
    assert (links.positions >= low - 0.5).all()
    assert (links.positions <= high + 0.5).all()
    assert links.detected.sum(axis=1).min() == 3
    assert (links.detected == (links.power_dbm + 120 >= 3)).all()
    echoes = (np.abs(links.gains[..., 1:]) > 0).sum(axis=-1)
    assert sorted(np.unique(echoes)) == [2, 3]
    assert np.median(links.echoes_us[..., 1:]) == pytest.approx(3 * np.log(2), rel=0.1)


def test_scenes_do_not_depend_on_the_batch() -> None:
    whole = simulate(CONFIG, 9, 6)
    parts = [simulate(CONFIG, 9, 2), simulate(CONFIG, 9, 4, start=2)]
    assert np.array_equal(whole.iq, np.concatenate([each.iq for each in parts]))
    assert np.array_equal(whole.positions, np.concatenate([each.positions for each in parts]))
    assert not np.array_equal(whole.positions, simulate(CONFIG, 10, 6).positions)


def test_impossible_detection_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="2 of 2 scenes are detected by fewer than 3"):
        draw_links(replace(CONFIG, transmit_power_dbm=-100.0), 1, 2)


def test_bad_configuration_names_every_problem() -> None:
    bad = replace(CONFIG, channel_khz=0.0, inside_share=2.0, terrain_loss_std_db=-1.0, echoes_least=4)
    with pytest.raises(InvalidInputError) as caught:
        simulate(bad, 1, 1)
    for name in ("channel_khz", "inside_share", "terrain_loss_std_db", "echoes_least"):
        assert name in str(caught.value)
    with pytest.raises(InvalidInputError, match="count 0"):
        simulate(CONFIG, 1, 0)
