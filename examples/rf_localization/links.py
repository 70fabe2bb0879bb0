"""Draws of scenes: where the transmitter is, and the links to every receiver.

A scene's random numbers come from a generator of its own, made of the seed and the scene's index
alone. So a scene is the same whatever the batch or the process it is drawn in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from holdfast.errors import InvalidInputError

from .propagation import delays_us, distances_km, doppler_hz, mean_power_dbm
from .receivers import POSITIONS, RECEIVERS
from .scene import Links, SimulatorConfig

_Floats = npt.NDArray[np.float64]

_ROUNDS = 200
_PLACES = 6  # uniform numbers a scene: latitude, longitude, speed, heading, offset, and inside or not


@dataclass(frozen=True)
class _Draws:
    """One attempt's random numbers: a scene a row."""

    places: _Floats  # (count, 6), uniform
    normals: _Floats  # (count, 7, 4 + 2 paths)
    uniforms: _Floats  # (count, 7, 1 + echoes)


def generator(seed: int, scene: int, purpose: int) -> np.random.Generator:
    """Gives the generator of one scene's links (purpose 0), waveform (1) or noise (2)."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence((seed, scene, purpose))))


def draw_links(config: SimulatorConfig, seed: int, count: int, start: int = 0) -> Links:
    """Draws scenes `start` to `start + count - 1` of a seed.

    Scenes that too few receivers detect are drawn again, transmitter and all; whether the
    transmitter is inside the receivers' box is drawn once, so its share is kept.

    Raises:
        InvalidInputError: 200 attempts in a row gave a scene that too few receivers detect.
    """
    generators = [generator(seed, scene, 0) for scene in range(start, start + count)]
    inside = np.array([each.random() for each in generators]) < config.inside_share
    links: Links | None = None
    missing = np.arange(count)
    for _ in range(_ROUNDS):
        drawn, sound = _attempt(config, [generators[scene] for scene in missing], inside[missing])
        links = drawn if links is None else _replace(links, missing[sound], drawn, sound)
        missing = missing[~sound]
        if not missing.size:
            return links
    raise InvalidInputError(
        f"{missing.size} of {count} scenes are detected by fewer than {config.least_detections} receivers",
        hint="raise transmit_power_dbm, or lower the losses, noise_dbm, detection_snr_db or least_detections",
    )


def _replace(links: Links, at: npt.NDArray[np.int64], drawn: Links, sound: npt.NDArray[np.bool_]) -> Links:
    for name, values in vars(drawn).items():
        getattr(links, name)[at] = values[sound]
    return links


def _attempt(
    config: SimulatorConfig, generators: list[np.random.Generator], inside: npt.NDArray[np.bool_]
) -> tuple[Links, npt.NDArray[np.bool_]]:
    draws = _draw(config, generators)
    positions, placed = _place(config, draws.places, inside)
    distances = distances_km(positions, config)
    offsets = _draw_offsets(config, draws, positions)
    gains, echoes = _draw_paths(config, draws)
    shadow = config.terrain_loss_std_db * draws.normals[..., 0] + config.clutter_loss_std_db * draws.normals[..., 1]
    path_power = mean_power_dbm(distances, config) - shadow
    # Echoes of microseconds leave a channel of kilohertz flat: its gain is the sum of the paths'.
    power = path_power + 20 * np.log10(np.abs(gains.sum(axis=-1)))
    detected = power - config.noise_dbm >= config.detection_snr_db
    clocks = config.timing_std_us * draws.normals[..., 2]
    delays = delays_us(distances)
    links = Links(positions, detected, delays, clocks, power, offsets, path_power, gains, echoes)
    return links, placed & (detected.sum(axis=1) >= config.least_detections)


def _draw(config: SimulatorConfig, generators: list[np.random.Generator]) -> _Draws:
    receivers, echoes = len(RECEIVERS), config.echoes_most
    places = np.array([each.random(_PLACES) for each in generators])
    normals = np.array([each.standard_normal((receivers, 6 + 2 * echoes)) for each in generators])
    uniforms = np.array([each.random((receivers, 1 + echoes)) for each in generators])
    return _Draws(places, normals, uniforms)


def _place(
    config: SimulatorConfig, places: _Floats, inside: npt.NDArray[np.bool_]
) -> tuple[_Floats, npt.NDArray[np.bool_]]:
    """Places transmitters in the box or around it; false where one meant to be outside is not."""
    low, high = POSITIONS.min(axis=0), POSITIONS.max(axis=0)
    margin = np.where(inside, 0.0, config.margin_deg)[:, None]
    positions = low - margin + places[:, :2] * (high - low + 2 * margin)
    within = ((positions >= low) & (positions <= high)).all(axis=1)
    return positions, within == inside


def _draw_offsets(config: SimulatorConfig, draws: _Draws, positions: _Floats) -> _Floats:
    speed, heading = config.speed_mps * draws.places[:, 2], 2 * np.pi * draws.places[:, 3]
    velocities = np.stack([speed * np.sin(heading), speed * np.cos(heading)], axis=-1)
    transmitter = config.offset_hz * (2 * draws.places[:, 4:5] - 1)
    receiver = config.oscillator_std_hz * draws.normals[..., 3]
    return np.asarray(transmitter + receiver + doppler_hz(positions, velocities, config), dtype=np.float64)


def _draw_paths(config: SimulatorConfig, draws: _Draws) -> tuple[npt.NDArray[np.complex128], _Floats]:
    """Draws (count, 7, paths) complex gains, whose mean total power is one, and delays after the direct path."""
    count = config.echoes_least + draws.uniforms[..., 0] * (config.echoes_most - config.echoes_least + 1)
    there = np.arange(config.echoes_most) < np.floor(count)[..., None]
    delays = -config.echo_delay_mean_us * np.log1p(-draws.uniforms[..., 1:])
    powers = there * 10 ** (config.echo_power_db / 10) * np.exp(-delays / config.echo_decay_us)
    powers = np.concatenate([np.ones((*powers.shape[:2], 1)), powers], axis=-1)
    powers /= powers.sum(axis=-1, keepdims=True)
    pairs = draws.normals[..., 4:].reshape(*powers.shape, 2)
    gains = (pairs[..., 0] + 1j * pairs[..., 1]) / np.sqrt(2)
    if not config.rayleigh:
        gains = gains / np.abs(gains)
    return np.sqrt(powers) * gains, np.concatenate([np.zeros((*delays.shape[:2], 1)), delays], axis=-1)
