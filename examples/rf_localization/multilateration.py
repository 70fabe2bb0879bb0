"""The classical solution: the position whose arrival times and powers are likeliest.

The unknowns are the position and the time of emission. Noise makes errors of arrival times normal;
echoes make them worse. With the paths' gains complex normal, the delay that echoes add to a
receiver is their mean delay plus √(v/2) times a Student t variable of two degrees of freedom, v
the variance of the delays weighted by power: the ratio of two complex normal variables, of which
the one below is the faded signal itself. So the likelihood of arrival times is Student's t, which
also forgives the few that are far off, and that of powers in dB is normal.

The maximum is sought from the best points of a grid by Gauss-Newton steps with the weights of
iteratively reweighted least squares (K. Lange, R. Little and J. Taylor, JASA 84, 1989), damped as
by D. Marquardt (1963).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .cramer_rao import FADING_STD_DB, power_variance_db2
from .features import Measured
from .local_frame import FRAME
from .propagation import delays_us, distances_km, mean_power_dbm
from .receivers import POSITIONS
from .scene import SPEED_OF_LIGHT_KM_US, SimulatorConfig

_Floats = npt.NDArray[np.float64]

_FADING_MEAN_DB = -10 * np.euler_gamma / np.log(10)  # of 10·log10 of an exponential variable of mean one
_FADING_STD_DB = FADING_STD_DB * np.pi / np.sqrt(6)  # and its standard deviation, 5.57 dB
_POWER_STD_DB = 0.3  # of a measured power; never less, so that times decide where powers have no spread
_TIME_STD_US = 1e-3
_FREEDOM = 2.0
_GRID = 24
_STARTS = 4
_STEPS = 20


@dataclass(frozen=True)
class _Problem:
    """Measurements of scenes with zero weight where nothing is detected; (count, 7) but for the last."""

    arrival_us: _Floats
    time_variance: _Floats
    time_there: _Floats
    power_dbm: _Floats
    power_weight: _Floats
    config: SimulatorConfig

    def take(self, rows: npt.NDArray[np.int64]) -> _Problem:
        """Gives some of the scenes, again and again if need be."""
        parts = {name: values[rows] for name, values in vars(self).items() if name != "config"}
        return replace(self, **parts)


def multilaterate(measured: Measured, config: SimulatorConfig) -> _Floats:
    """Solves for (count, 2) positions in degrees.

    Args:
        measured: What the receivers measured; at least two of them a scene.
        config: The losses' spread, the clocks' error and the echoes, which a surveyor would know
            on average; of a scene's own draws nothing is used.
    """
    problem = _state(measured, config)
    count = len(problem.arrival_us)
    starts = _search_grid(problem)
    flat = problem.take(np.repeat(np.arange(count), _STARTS))
    solution, cost = _descend(flat, starts.reshape(-1, 3))
    best = cost.reshape(count, _STARTS).argmin(axis=1)
    return FRAME.to_latlon(solution.reshape(count, _STARTS, 3)[np.arange(count), best, :2])


def echo_variance_us2(config: SimulatorConfig) -> float:
    """Gives the variance of a link's path delays, weighted by power and averaged over links, in µs².

    With echo delays exponential of mean m and powers p·exp(-delay / d), k echoes have the mean
    power P = k·p·r / m, r = 1 / (1/m + 1/d), mean delay P·r and mean squared delay P·2r².
    """
    if not config.echoes_most or not config.echo_delay_mean_us:
        return 0.0
    mean = config.echo_delay_mean_us
    rate = 1 / (1 / mean + 1 / config.echo_decay_us)
    power = (config.echoes_least + config.echoes_most) / 2 * 10 ** (config.echo_power_db / 10) * rate / mean
    first, second = power * rate / (1 + power), power * 2 * rate**2 / (1 + power)
    return float(second - first**2)


def _state(measured: Measured, config: SimulatorConfig) -> _Problem:
    there = measured.detected.astype(np.float64)
    noise = np.nan_to_num(measured.tdoa_std_us, nan=1.0) ** 2 + config.timing_std_us**2 + _TIME_STD_US**2
    fading = _FADING_MEAN_DB if config.rayleigh else 0.0
    spread = power_variance_db2(config) + _POWER_STD_DB**2
    spread += (_FADING_STD_DB**2 - FADING_STD_DB**2) if config.rayleigh else 0.0
    power = np.nan_to_num(measured.power_dbm) - fading
    variance = noise + echo_variance_us2(config) / 2
    return _Problem(np.nan_to_num(measured.tdoa_us), variance, there, power, there / spread, config)


def _search_grid(problem: _Problem) -> _Floats:
    """Gives (count, starts, 3) kilometres east and north and µs of emission: the likeliest points of a grid."""
    margin = problem.config.margin_deg + 0.1
    low, high = POSITIONS.min(axis=0) - margin, POSITIONS.max(axis=0) + margin
    axes = (np.linspace(low[axis], high[axis], _GRID) for axis in (0, 1))
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    weights = problem.time_there / problem.time_variance
    late = problem.arrival_us[:, None, :] - delays_us(distances_km(grid, problem.config))
    emission = (late * weights[:, None, :]).sum(axis=-1) / weights.sum(axis=-1)[:, None]
    rows = np.repeat(np.arange(len(weights)), len(grid))
    points = np.tile(FRAME.to_km(grid), (len(weights), 1))
    cost = _cost(problem.take(rows), np.column_stack([points, emission.ravel()])).reshape(len(weights), -1)
    best = np.argpartition(cost, _STARTS, axis=1)[:, :_STARTS]
    return np.concatenate([FRAME.to_km(grid)[best], np.take_along_axis(emission, best, axis=1)[..., None]], axis=-1)


def _residuals(problem: _Problem, state: _Floats) -> tuple[_Floats, _Floats, _Floats]:
    """Gives the times' errors in µs, the powers' in dB, and the distances."""
    distance = distances_km(FRAME.to_latlon(state[:, :2]), problem.config)
    times = problem.arrival_us - delays_us(distance) - state[:, 2:]
    return times, problem.power_dbm - mean_power_dbm(distance, problem.config), distance


def _cost(problem: _Problem, state: _Floats) -> _Floats:
    times, powers, _ = _residuals(problem, state)
    if problem.config.echoes_most:
        each = (_FREEDOM + 1) / 2 * np.log1p(times**2 / (_FREEDOM * problem.time_variance))
    else:
        each = times**2 / (2 * problem.time_variance)
    return np.asarray((problem.time_there * each + problem.power_weight * powers**2 / 2).sum(axis=1))


def _descend(problem: _Problem, state: _Floats) -> tuple[_Floats, _Floats]:
    """Takes damped steps; one that does not make a scene likelier is not taken, and its damping grows."""
    damping = np.full(len(state), 1e-3)
    cost = _cost(problem, state)
    for _ in range(_STEPS):
        normal, gradient = _linearise(problem, state)
        scale = np.einsum("nii->ni", normal)
        damped = normal + (damping[:, None] * scale)[:, :, None] * np.eye(3)
        proposal = state + np.linalg.solve(damped, gradient[..., None])[..., 0]
        proposed = _cost(problem, proposal)
        better = proposed < cost
        state, cost = np.where(better[:, None], proposal, state), np.where(better, proposed, cost)
        damping = np.clip(np.where(better, damping / 10, damping * 10), 1e-9, 1e6)
    return state, cost


def _linearise(problem: _Problem, state: _Floats) -> tuple[_Floats, _Floats]:
    times, powers, distance = _residuals(problem, state)
    away = state[:, None, :2] - FRAME.to_km(POSITIONS)
    directions = away / np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1e-3)
    weights = problem.time_there / problem.time_variance
    if problem.config.echoes_most:
        weights = weights * (_FREEDOM + 1) / (_FREEDOM + times**2 / problem.time_variance)
    slopes = np.concatenate([directions / SPEED_OF_LIGHT_KM_US, np.ones((*times.shape, 1))], axis=-1)
    fall = np.zeros_like(slopes)
    fall[..., :2] = -20 / np.log(10) * directions / distance[..., None]
    normal = np.einsum("nr,nri,nrj->nij", weights, slopes, slopes)
    normal += np.einsum("nr,nri,nrj->nij", problem.power_weight, fall, fall)
    gradient = np.einsum("nr,nri->ni", weights * times, slopes)
    return normal, gradient + np.einsum("nr,nri->ni", problem.power_weight * powers, fall)
