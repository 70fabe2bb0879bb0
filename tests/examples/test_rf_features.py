"""Features of radio scenes: what they keep, and how well they measure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from holdfast_examples.rf_localization.correlation import thin
from holdfast_examples.rf_localization.features import (
    KINDS,
    MEASUREMENTS,
    Features,
    extract,
    measured,
    measured_of,
    transform,
)
from holdfast_examples.rf_localization.scene import SimulatorConfig
from holdfast_examples.rf_localization.simulate import Scenes, simulate

CONFIG = SimulatorConfig()
ALL = np.ones((1, 7), dtype=bool)

_Floats = npt.NDArray[np.float64]


def _centre(values: _Floats, detected: npt.NDArray[np.bool_]) -> _Floats:
    values = np.where(detected, values, np.nan)
    return np.asarray(values - np.nanmean(values, axis=1, keepdims=True))


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return simulate(CONFIG, 21, 40)


@pytest.fixture(scope="module")
def features(scenes: Scenes) -> Features:
    return extract(scenes.iq, scenes.detected, CONFIG)


def _tone(frequency_hz: float, level_dbm: float = -80.0) -> npt.NDArray[np.complex64]:
    times_s = np.arange(CONFIG.samples) / 192e3
    noise = np.random.default_rng(3).standard_normal((2, 7, CONFIG.samples))
    wave = 10 ** (level_dbm / 20) * np.exp(2j * np.pi * frequency_hz * times_s)
    return (wave + 10**-5.5 * (noise[0] + 1j * noise[1]))[None].astype(np.complex64)


def test_shapes_and_names(features: Features) -> None:
    assert features.images.shape == (40, 14, 128, 32)
    assert features.measurements.shape == (40, 35) == (40, len(MEASUREMENTS))
    assert features.images.dtype == features.measurements.dtype == np.float32
    assert MEASUREMENTS[7] == "power:Giaveno"
    assert np.isfinite(features.images).all()
    assert np.isfinite(features.measurements).all()
    assert 0.1 < features.measurements.std() < 2


def test_sign_of_a_frequency_is_kept() -> None:
    high, low = (extract(_tone(sign * 3000.0), ALL, CONFIG).images[0, 0].mean(axis=1) for sign in (1, -1))
    assert high.argmax() == 64 + 32
    assert low.argmax() == 64 - 32
    # The magnitude alone is the same for both, which is what loses it.
    assert np.allclose(np.abs(_tone(3000.0, -40.0)), np.abs(_tone(-3000.0, -40.0)), rtol=0.05)


def test_power_is_kept() -> None:
    weak, strong = (extract(_tone(1000.0, level), ALL, CONFIG) for level in (-85.0, -65.0))
    assert measured(weak).power_dbm == pytest.approx(np.full((1, 7), -85.0), abs=0.1)
    assert measured(strong).power_dbm == pytest.approx(np.full((1, 7), -65.0), abs=0.1)
    assert strong.images[0, :7].max() - weak.images[0, :7].max() == pytest.approx(1.0, abs=0.02)  # 20 dB


def test_thinned_transform_is_the_full_one(scenes: Scenes) -> None:
    rows = scenes.iq[0]
    window = np.hanning(2049)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(rows, 2048, axis=-1)[:, ::512]
    direct = np.fft.fft(frames * window, axis=-1)[..., np.arange(-64, 64)] / 2048
    thinned = transform(thin(np.fft.fft(rows, axis=-1).astype(np.complex64), CONFIG), CONFIG)
    # The first and last frame see the wrap of the thinning; a Hann window keeps it small.
    assert np.abs(thinned - direct)[:, 1:-1].max() < 2e-3 * np.abs(direct).max()


def test_undetected_is_zero(scenes: Scenes, features: Features) -> None:
    hidden = ~scenes.detected
    assert hidden.any()
    assert not features.images[:, :7][hidden].any()
    assert not features.images[:, 7:][hidden].any()
    values = features.measurements.reshape(-1, len(KINDS), 7)
    assert not values.transpose(0, 2, 1)[hidden].any()
    back = measured(features)
    assert np.array_equal(back.detected, scenes.detected)
    assert np.isnan(back.tdoa_us[hidden]).all()


def test_measurements_are_near_the_truth(scenes: Scenes, features: Features) -> None:
    back, truth, heard = measured(features), scenes.truth, scenes.detected
    assert np.abs(back.power_dbm - truth.power_dbm)[heard].max() < 1.0
    late = _centre(back.tdoa_us, heard) - _centre(truth.delays_us + truth.clocks_us, heard)
    assert np.median(np.abs(late[heard])) < 1.0  # echoes of microseconds
    shift = _centre(back.offset_hz, heard) - _centre(truth.offsets_hz, heard)
    assert np.abs(shift[heard]).max() < 1.0
    assert np.median(np.abs(back.offset_hz - truth.offsets_hz)[heard]) < 15.0


def test_expected_deviations_are_honest() -> None:
    """Without echoes the arrival times' errors are as large as they are said to be."""
    config = replace(CONFIG, echoes_least=0, echoes_most=0, timing_std_us=0.0)
    scenes = simulate(config, 33, 60)
    back = measured(extract(scenes.iq, scenes.detected, config))
    strongest = np.nanargmax(np.where(scenes.detected, back.power_dbm, -np.inf), axis=1)[:, None]
    found = back.tdoa_us - np.take_along_axis(back.tdoa_us, strongest, axis=1)
    truth = scenes.truth.delays_us - np.take_along_axis(scenes.truth.delays_us, strongest, axis=1)
    others = scenes.detected.copy()
    np.put_along_axis(others, strongest, False, axis=1)
    ratio = ((found - truth) / back.tdoa_std_us)[others]
    assert 0.8 < np.sqrt((ratio**2).mean()) < 1.25
    assert np.abs(ratio).max() < 6


def test_delay_profiles_peak_at_the_difference(scenes: Scenes, features: Features) -> None:
    power = np.where(scenes.detected, scenes.truth.power_dbm, -np.inf)
    arrival = scenes.truth.delays_us
    for scene in range(10):
        first = int(power[scene].argmax())
        for receiver in np.nonzero(power[scene] > -105)[0]:
            row = features.images[scene, 7 + receiver].mean(axis=1).argmax()
            expected = (arrival[scene, receiver] - arrival[scene, first]) / 9.26
            assert row - 64 == pytest.approx(expected, abs=1.6)


def test_features_do_not_depend_on_the_batch(scenes: Scenes, features: Features) -> None:
    alone = extract(scenes.iq[7:8], scenes.detected[7:8], CONFIG)
    np.testing.assert_allclose(alone.images[0], features.images[7], atol=1e-5)
    np.testing.assert_allclose(alone.measurements[0], features.measurements[7], atol=1e-5)


def test_units_come_back() -> None:
    values = np.zeros((1, len(KINDS), 7))
    values[0, :, 2] = (1.0, 0.5, -0.1, -1.0, 0.4)
    back = measured_of(values.reshape(1, -1))
    one = (back.power_dbm[0, 2], back.tdoa_us[0, 2], back.tdoa_std_us[0, 2], back.offset_hz[0, 2])
    assert one == pytest.approx((-90.0, -20.0, 0.1, 20.0))
    assert back.detected.tolist() == [[False, False, True, False, False, False, False]]
