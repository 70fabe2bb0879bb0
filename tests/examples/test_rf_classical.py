"""Centroids, multilateration, and the Cramér-Rao bound they are measured against."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from holdfast_examples.rf_localization.baselines import centroid, power_weighted_centroid
from holdfast_examples.rf_localization.cramer_rao import bound_km, delay_variance_us2
from holdfast_examples.rf_localization.features import Measured, extract, measured
from holdfast_examples.rf_localization.links import draw_links
from holdfast_examples.rf_localization.local_frame import FRAME, haversine_km
from holdfast_examples.rf_localization.multilateration import echo_variance_us2, multilaterate
from holdfast_examples.rf_localization.receivers import POSITIONS
from holdfast_examples.rf_localization.scene import SimulatorConfig
from holdfast_examples.rf_localization.simulate import Scenes, simulate

CONFIG = SimulatorConfig()
NOISE_ALONE = replace(CONFIG, echoes_least=0, echoes_most=0, rayleigh=False, timing_std_us=0.0)


def _heard(*receivers: int, power_dbm: float = -90.0) -> Measured:
    detected = np.zeros((1, 7), dtype=bool)
    detected[0, list(receivers)] = True
    values = np.where(detected, 0.0, np.nan)
    return Measured(values + power_dbm, values, values + 1, values, detected)


def _measure(scenes: Scenes, config: SimulatorConfig) -> Measured:
    return measured(extract(scenes.iq, scenes.detected, config))


def _errors(positions: npt.NDArray[np.float64], scenes: Scenes) -> npt.NDArray[np.float64]:
    return haversine_km(positions, scenes.positions)


def test_centroid_is_the_middle() -> None:
    middle = FRAME.to_latlon(FRAME.to_km(POSITIONS[[4, 5]]).mean(axis=0))
    assert centroid(_heard(4, 5))[0] == pytest.approx(middle)
    assert power_weighted_centroid(_heard(4, 5))[0] == pytest.approx(middle)


def test_power_pulls_the_centroid() -> None:
    heard = _heard(4, 5)
    heard.power_dbm[0, 4] += 20.0  # ten times the amplitude: ten elevenths of the way
    found = FRAME.to_km(power_weighted_centroid(heard))[0]
    first, second = FRAME.to_km(POSITIONS[[4, 5]])
    assert found == pytest.approx((10 * first + second) / 11)


def test_multilateration_is_near_exact_without_noise() -> None:
    quiet = replace(NOISE_ALONE, noise_dbm=-180.0)
    scenes = simulate(quiet, 11, 20)
    errors = _errors(multilaterate(_measure(scenes, quiet), quiet), scenes)
    assert np.median(errors) < 0.01
    assert errors.max() < 0.2


def test_multilateration_beats_the_centroids() -> None:
    scenes = simulate(CONFIG, 12, 60)
    seen = _measure(scenes, CONFIG)
    solved = np.median(_errors(multilaterate(seen, CONFIG), scenes))
    trivial = min(np.median(_errors(each(seen), scenes)) for each in (centroid, power_weighted_centroid))
    assert solved < trivial / 10
    assert np.median(bound_km(scenes.truth, CONFIG)) < solved < 2


def test_bound_is_below_the_error_and_near_it() -> None:
    """Where noise alone acts, multilateration all but reaches the bound."""
    scenes = simulate(NOISE_ALONE, 13, 100)
    errors = _errors(multilaterate(_measure(scenes, NOISE_ALONE), NOISE_ALONE), scenes)
    ratio = errors / bound_km(scenes.truth, NOISE_ALONE)
    # 100 errors of two degrees of freedom: the root mean square is known to 5 %.
    assert 0.9 < np.sqrt((ratio**2).mean()) < 1.3


def test_bound_against_numeric_derivatives() -> None:
    """The information of times and powers, with the time of emission as a third unknown."""
    truth = simulate(CONFIG, 14, 5).truth

    def expect(scene: int, step: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        place = FRAME.to_latlon(FRAME.to_km(truth.positions[scene]) + step[:2])
        distance = haversine_km(place, POSITIONS)
        return np.concatenate([distance / 0.299792458 + step[2], -20 * np.log10(distance)])

    for scene, bound in enumerate(bound_km(truth, CONFIG)):
        energy = 10 ** ((truth.power_dbm[scene] + 120) / 10) * 12.5e3 * 17920 / 192e3
        times = 1e12 / (2 * energy * (2 * np.pi * truth.bandwidth_hz[scene]) ** 2) + 0.05**2
        powers = 8.0**2 + 4.0**2 + 4.343**2 + 8.686**2 / (2 * energy)
        weights = np.concatenate([1 / times, 1 / powers]) * np.tile(truth.detected[scene], 2)
        small = 1e-3 * np.eye(3)
        slopes = np.array([(expect(scene, each) - expect(scene, -each)) / 2e-3 for each in small])
        covariance = np.linalg.inv((slopes * weights) @ slopes.T)
        assert bound == pytest.approx(np.sqrt(covariance[0, 0] + covariance[1, 1]), rel=0.01)


def test_delay_variance_falls_with_power_and_bandwidth() -> None:
    base = delay_variance_us2(-110.0, 3000.0, CONFIG)
    assert delay_variance_us2(-100.0, 3000.0, CONFIG) == pytest.approx(base / 10)
    assert delay_variance_us2(-110.0, 6000.0, CONFIG) == pytest.approx(base / 4)
    assert np.sqrt(base) == pytest.approx(1e6 / (2 * np.pi * 3000 * np.sqrt(2 * 10 * 12500 * 17920 / 192e3)))


def test_echoes_are_spread_as_the_likelihood_says() -> None:
    """The mean delay of faded echoes is Student t of two degrees of freedom about its centre."""
    links = draw_links(replace(CONFIG, detection_snr_db=-1e3), 15, 2000)
    bias = ((links.gains * links.echoes_us).sum(axis=-1) / links.gains.sum(axis=-1)).real.ravel()
    scale = np.sqrt(echo_variance_us2(CONFIG) / 2)
    spread = np.abs(bias - np.median(bias)) / scale
    assert np.median(spread) == pytest.approx(np.sqrt(2 / 3), rel=0.2)  # the quartile of t₂
    assert np.quantile(spread, 0.95) == pytest.approx(4.303, rel=0.08)
    assert echo_variance_us2(NOISE_ALONE) == 0
