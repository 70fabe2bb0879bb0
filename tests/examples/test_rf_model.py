"""The network of the RF example, its loss, metrics and calibration, each against numbers from elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("transformers")

from holdfast.errors import HoldfastError, InvalidInputError  # noqa: E402
from holdfast_examples.rf_localization import local_frame  # noqa: E402
from holdfast_examples.rf_localization.backbone import SIZES, build_trunk, find_size  # noqa: E402
from holdfast_examples.rf_localization.calibration import Calibration, coverage, distance2, radius2  # noqa: E402
from holdfast_examples.rf_localization.features import CHANNELS, MEASUREMENTS  # noqa: E402
from holdfast_examples.rf_localization.geometry import haversine_km, to_latlon  # noqa: E402
from holdfast_examples.rf_localization.judged_solver import build_solver, judged  # noqa: E402
from holdfast_examples.rf_localization.lightning_module import LocalizationModule, RateShape  # noqa: E402
from holdfast_examples.rf_localization.metrics import EpochPredictions, measure  # noqa: E402
from holdfast_examples.rf_localization.network import LocalizationNet, Prediction, gaussian_nll  # noqa: E402
from holdfast_examples.rf_localization.propagation import delays_us, distances_km  # noqa: E402
from holdfast_examples.rf_localization.receivers import POSITIONS  # noqa: E402
from holdfast_examples.rf_localization.scene import SimulatorConfig  # noqa: E402

M = len(MEASUREMENTS)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize("solver", [True, False])
@pytest.mark.parametrize("size", ["nano", "tiny"])
def test_small_sizes_predict(size: str, solver: bool) -> None:
    check_forward(LocalizationNet(CHANNELS, M, size, solver=solver).eval())


@pytest.mark.parametrize("size", ["CONVNEXT_SMALL", "CONVNEXT_BASE", "CONVNEXT_LARGE"])
def test_large_sizes_predict(size: str) -> None:
    network = LocalizationNet(CHANNELS, M, size).eval()
    check_forward(network)
    assert network.trunk.config.hidden_sizes[-1] == SIZES[find_size(size)].widths[-1]


def check_forward(network: LocalizationNet) -> None:
    with torch.no_grad():
        position, sigma = network(torch.randn(2, CHANNELS, 128, 32), torch.rand(2, M))
    assert position.shape == sigma.shape == (2, 2)
    assert torch.isfinite(position).all()
    assert (sigma > 0).all()


def test_names_of_sizes() -> None:
    assert find_size("CONVNEXT_LARGE") == find_size("large") == find_size("convnext-large") == "large"
    with pytest.raises(InvalidInputError, match="no backbone 'huge'"):
        find_size("huge")
    with pytest.raises(InvalidInputError, match="nano has no pretrained weights"):
        build_trunk("nano", 3, pretrained=True)
    # The module says so too, and does not wait for a run to be begun.
    with pytest.raises(InvalidInputError, match="nano has no pretrained weights"):
        LocalizationModule(pretrained=True)


def test_pretrained_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """Weights that lie here, in the hub's format: the first convolution is spread over all channels."""
    from transformers import ConvNextConfig, ConvNextModel

    from holdfast_examples.rf_localization import backbone

    small = backbone.Size((1, 1, 1, 1), (8, 8, 8, 8), str(tmp_path))
    known = ConvNextModel(ConvNextConfig(depths=list(small.depths), hidden_sizes=list(small.widths))).eval()
    known.save_pretrained(str(tmp_path))
    monkeypatch.setitem(backbone.SIZES, "tiny", small)
    trunk = build_trunk("tiny", CHANNELS, pretrained=True).eval()
    grey = torch.randn(2, 1, 128, 32)
    with torch.no_grad():
        expected = known(grey.expand(-1, 3, -1, -1)).pooler_output
        found = trunk(grey.expand(-1, CHANNELS, -1, -1)).pooler_output
    assert torch.allclose(expected, found, atol=1e-4)
    monkeypatch.setitem(backbone.SIZES, "tiny", backbone.Size(small.depths, small.widths, str(tmp_path) + "/none"))
    with pytest.raises(HoldfastError, match="cannot be had"):
        build_trunk("tiny", CHANNELS, pretrained=True)


def test_frozen_trunk_does_not_learn() -> None:
    network = LocalizationNet(CHANNELS, M, freeze_backbone=True)
    gaussian_nll(network(torch.randn(2, CHANNELS, 128, 32), torch.rand(2, M)), torch.zeros(2, 2)).backward()
    assert all(parameter.grad is None for parameter in network.trunk.parameters())
    assert network.vector[0].weight.grad is not None


def test_loss_by_hand() -> None:
    prediction = Prediction(torch.tensor([[0.0, 1.0], [3.0, 0.0]]), torch.tensor([[1.0, 2.0], [0.5, 4.0]]))
    truth = torch.tensor([[2.0, 1.0], [2.0, 8.0]])
    # (4/2 + 0) + (0 + ln 2) + (1/0.5 + ln 0.5) + (64/32 + ln 4), over four.
    assert float(gaussian_nll(prediction, truth)) == pytest.approx((6 + math.log(4)) / 4)


def test_geometry_agrees_with_numpy() -> None:
    km = np.random.default_rng(1).uniform(-150, 150, (200, 2))
    there = local_frame.FRAME.to_latlon(km)
    assert np.allclose(to_latlon(torch.tensor(km)).numpy(), there, atol=1e-9)
    assert np.allclose(to_latlon(torch.tensor(km).float()).numpy(), there, atol=1e-5)
    other = np.roll(there, 1, 0)
    found = haversine_km(torch.tensor(there), torch.tensor(other)).numpy()
    assert np.allclose(found, local_frame.haversine_km(there, other))
    assert torch.allclose(to_latlon(torch.zeros(1, 2)), torch.tensor([[*POSITIONS.mean(0)]]).float())


def heard(positions: np.ndarray, level_db: float = 0.0) -> torch.Tensor:
    """The measurements of noiseless, unfaded arrivals at all receivers, as `features` scales them."""
    from holdfast_examples.rf_localization.propagation import mean_power_dbm

    config = SimulatorConfig()
    delays = delays_us(distances_km(positions, config))
    power = mean_power_dbm(distances_km(positions, config), config) + level_db - 10 * np.euler_gamma / np.log(10)
    kinds = [np.ones_like(delays), (power + 100) / 20, delays / 200, np.full_like(delays, -2.0), np.zeros_like(delays)]
    return torch.tensor(np.concatenate(kinds, axis=1), dtype=torch.float32)


def test_solver_finds_noiseless_positions() -> None:
    rng = np.random.default_rng(2)
    positions = rng.uniform(POSITIONS.min(0) - 0.3, POSITIONS.max(0) + 0.3, (60, 2))
    solution = build_solver()(judged(heard(positions), torch.zeros(60, 21)))
    error = local_frame.haversine_km(to_latlon(solution.position.double()).numpy(), positions)
    assert np.median(error) < 0.02
    # Right beside a receiver the slopes turn within a step, and one in some hundred steps past it.
    assert np.quantile(error, 0.95) < 0.1


def test_solver_passes_gradients() -> None:
    """The slope with respect to a judged delay is that of moving the arrival itself."""
    measurements = heard(np.array([[45.0, 8.0]]))
    judgement = torch.zeros(1, 21, requires_grad=True)
    build_solver()(judged(measurements, judgement)).position.sum().backward()
    slope = float(judgement.grad[0, 7])
    shifted = judgement.detach().clone()
    step_us = 0.5
    places = []
    for sign in (1, -1):
        shifted[0, 7] = sign * step_us
        places.append(float(build_solver()(judged(measurements, shifted)).position.sum()))
    assert slope == pytest.approx((places[0] - places[1]) / (2 * step_us), rel=0.1)
    assert slope != 0


def test_metrics_are_of_the_whole_epoch() -> None:
    rng = np.random.default_rng(3)
    guess, truth = rng.normal(0, 40, (101, 2)), rng.normal(0, 40, (101, 2))
    sigma = rng.uniform(5, 60, (101, 2))
    predictions = EpochPredictions()
    for rows in (slice(0, 90), slice(90, 91), slice(91, 101)):
        batch = Prediction(torch.tensor(guess[rows]), torch.tensor(sigma[rows]))
        predictions.update(batch, torch.tensor(truth[rows]))
    scale = torch.tensor([1.5, 0.7], dtype=torch.float64)
    found = {name: float(value) for name, value in measure(predictions.compute(), scale).items()}
    error = truth - guess
    frame = local_frame.FRAME
    km = local_frame.haversine_km(frame.to_latlon(guess), frame.to_latlon(truth))
    squared = ((error / (sigma * scale.numpy())) ** 2).sum(1)
    expected = {
        "loss": (error**2 / (2 * sigma**2) + np.log(sigma)).mean(),
        "mae": np.abs(error).mean(),
        "median_km": np.median(km),
        "p68_km": np.quantile(km, 0.68),
        "p95_km": np.quantile(km, 0.95),
        "coverage_50": (squared <= 2 * np.log(2)).mean(),
        "coverage_68": (squared <= -2 * np.log(0.32)).mean(),
        "coverage_95": (squared <= -2 * np.log(0.05)).mean(),
        "coverage_68_raw": (((error / sigma) ** 2).sum(1) <= -2 * np.log(0.32)).mean(),
    }
    assert found == pytest.approx(expected, rel=1e-5)


def test_regions_hold_their_share() -> None:
    squared = torch.randn(200_000, 2).square().sum(1)
    for level in (0.5, 0.68, 0.95):
        assert float(coverage(squared, level)) == pytest.approx(level, abs=0.005)
    assert radius2(0.95) == pytest.approx(5.9915, abs=1e-4)  # chi-squared, two degrees of freedom


def test_calibration_recovers_known_factors() -> None:
    sigma = torch.rand(20_000, 2, dtype=torch.float64) + 0.5
    errors = torch.randn(20_000, 2, dtype=torch.float64) * sigma * torch.tensor([3.0, 0.4])
    errors[:200] *= 1e4  # one in a hundred is far out, and must not decide
    calibration = Calibration()
    calibration.fit(errors, sigma)
    assert calibration.scale.tolist() == pytest.approx([3.0, 0.4], rel=0.04)
    assert float(coverage(distance2(errors, calibration(sigma)), 0.68)) == pytest.approx(0.68, abs=1e-3)


def test_module_gives_degrees_and_calibrated_km() -> None:
    module = LocalizationModule().eval()
    module.calibration.scale.copy_(torch.tensor([2.0, 3.0]))
    images, measurements = torch.randn(2, CHANNELS, 128, 32), heard(np.array([[45.1, 7.9], [44.6, 8.8]]))
    with torch.no_grad():
        positions, sigma = module(images, measurements)
        prediction = module.network(images, measurements)
    # Before it has learnt anything it corrects nothing.
    assert local_frame.haversine_km(positions.numpy(), [[45.1, 7.9], [44.6, 8.8]]).max() < 0.05
    assert torch.equal(sigma, prediction.sigma * torch.tensor([2.0, 3.0]))


def test_learning_rate() -> None:
    shape = RateShape(1000, 0.05, 1e-3)
    assert shape(0) == pytest.approx(1 / 50)
    assert shape(49) == shape(50) == 1.0
    assert shape(525) == pytest.approx(0.5005, abs=1e-3)
    assert shape(1000) == shape(2000) == pytest.approx(1e-3)
