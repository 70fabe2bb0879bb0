"""What is simulated: every number of the simulator, and the truth of simulated scenes."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from holdfast.errors import InvalidInputError

_Floats = npt.NDArray[np.float64]

SPEED_OF_LIGHT_KM_US = 0.299792458  # kilometres a microsecond


@dataclass(frozen=True)
class SimulatorConfig:
    """The numbers of the simulator; the defaults are those of the README.

    Attributes:
        carrier_mhz: Carrier frequency.
        transmit_power_dbm: Radiated power.
        transmitter_altitude_m: Height of the transmitter above the sea.
        inside_share: Share of transmitters inside the receivers' bounding box.
        margin_deg: How far around the box, in degrees, the others are.
        terrain_loss_db, terrain_loss_std_db: Mean and standard deviation of the loss behind terrain;
            normal in dB, so log-normal in power, and independent from link to link.
        clutter_loss_db, clutter_loss_std_db: The same for buildings and trees.
        rayleigh: Whether every path fades with a Rayleigh distributed amplitude; else it is one.
        echoes_least, echoes_most: How many echoes a link has.
        echo_power_db: Mean power of an echo with no extra delay, relative to the direct path.
        echo_delay_mean_us: Scale of the echoes' exponentially distributed extra delay; their mean
            power falls with it by a factor e every `echo_decay_us`.
        echo_decay_us: See above.
        noise_dbm: Noise power in the channel.
        channel_khz: Width of the channel.
        deviation_khz: Peak frequency deviation of the modulation.
        audio_low_hz, audio_high_hz: Band of the modulating voice-like sound.
        offset_hz: The transmitter's frequency is off by at most this.
        oscillator_std_hz: Standard deviation of a receiver's own frequency error.
        speed_mps: The transmitter moves at most this fast, in any direction.
        timing_std_us: Standard deviation of a receiver's clock error.
        sample_rate_khz: Rate of complex samples.
        frame_samples, hop_samples, frames: The spectrogram that one observation holds exactly.
        detection_snr_db: A receiver detects a signal this far above the channel's noise.
        least_detections: Scenes that fewer receivers detect are drawn again.
    """

    carrier_mhz: float = 145.0
    transmit_power_dbm: float = 37.0
    transmitter_altitude_m: float = 300.0
    inside_share: float = 0.7
    margin_deg: float = 0.5
    terrain_loss_db: float = 18.0
    terrain_loss_std_db: float = 8.0
    clutter_loss_db: float = 8.0
    clutter_loss_std_db: float = 4.0
    rayleigh: bool = True
    echoes_least: int = 2
    echoes_most: int = 3
    echo_power_db: float = -8.0
    echo_delay_mean_us: float = 3.0
    echo_decay_us: float = 4.0
    noise_dbm: float = -120.0
    channel_khz: float = 12.5
    deviation_khz: float = 5.0
    audio_low_hz: float = 300.0
    audio_high_hz: float = 3000.0
    offset_hz: float = 50.0
    oscillator_std_hz: float = 1.0
    speed_mps: float = 30.0
    timing_std_us: float = 0.05
    sample_rate_khz: float = 192.0
    frame_samples: int = 2048
    hop_samples: int = 512
    frames: int = 32
    detection_snr_db: float = 3.0
    least_detections: int = 3

    @property
    def samples(self) -> int:
        """Complex samples of one observation: 17,920 by default, 93 ms."""
        return self.frame_samples + (self.frames - 1) * self.hop_samples

    @property
    def sample_rate_hz(self) -> float:
        """Complex samples a second."""
        return self.sample_rate_khz * 1e3

    @property
    def duration_s(self) -> float:
        """Length of one observation."""
        return self.samples / self.sample_rate_hz

    @property
    def noise_density_mw_hz(self) -> float:
        """Power of the noise in one hertz, in milliwatts."""
        return float(10 ** (self.noise_dbm / 10)) / (self.channel_khz * 1e3)

    def check(self) -> None:
        """Raises InvalidInputError that names every value that makes no scene."""
        problems = [f"{name} is {value}, and must be {rule}" for name, value, rule in self._find_problems()]
        if problems:
            raise InvalidInputError("the simulator's configuration is wrong: " + "; ".join(problems))

    def _find_problems(self) -> list[tuple[str, object, str]]:
        positive = ("carrier_mhz", "channel_khz", "deviation_khz", "echo_decay_us", "frame_samples", "hop_samples")
        problems = [
            (name, getattr(self, name), "above 0") for name in (*positive, "frames") if getattr(self, name) <= 0
        ]
        spreads = [each.name for each in fields(self) if "_std_" in each.name] + [
            "speed_mps",
            "offset_hz",
            "margin_deg",
        ]
        spreads.append("echo_delay_mean_us")
        problems += [(name, getattr(self, name), "at least 0") for name in spreads if getattr(self, name) < 0]
        rules: list[tuple[str, bool, str]] = [
            ("margin_deg", 0 <= self.margin_deg <= 2, "between 0 and 2"),  # further delays would leave the period
            ("inside_share", 0 <= self.inside_share <= 1, "between 0 and 1"),
            ("echoes_least", 0 <= self.echoes_least <= self.echoes_most, "between 0 and echoes_most"),
            ("audio_low_hz", 0 < self.audio_low_hz < self.audio_high_hz, "above 0 and below audio_high_hz"),
            ("least_detections", 1 <= self.least_detections <= 7, "1 to 7"),
            # Less would not hold the channel at an eighth of the rate, more not the longest delay.
            ("sample_rate_khz", 9.6 * self.channel_khz <= self.sample_rate_khz <= 250, "9.6 channels to 250"),
            ("frame_samples", self.frame_samples % 8 == 0 and self.frame_samples >= 1024, "a multiple of 8 from 1024"),
            ("hop_samples", self.hop_samples % 8 == 0, "a multiple of 8"),
        ]
        return problems + [(name, getattr(self, name), rule) for name, right, rule in rules if not right]


@dataclass(frozen=True)
class Links:
    """Scenes before their signals; the second axis is the receiver.

    Attributes:
        positions: (count, 2) degrees.
        detected: (count, 7) bool.
        delays_us: (count, 7) propagation delay of the direct path.
        clocks_us: (count, 7) error of the receiver's clock, which adds to the delay.
        power_dbm: (count, 7) received power, fading included.
        offsets_hz: (count, 7) frequency off the channel's centre: the transmitter's offset, the
            receiver's error and Doppler.
        path_power_dbm: (count, 7) received power, fading left out.
        gains: (count, 7, paths) complex gain of each path on top of it; the direct path first,
            then the echoes.
        echoes_us: (count, 7, paths) delay of each path after the direct one.
    """

    positions: _Floats
    detected: npt.NDArray[np.bool_]
    delays_us: _Floats
    clocks_us: _Floats
    power_dbm: _Floats
    offsets_hz: _Floats
    path_power_dbm: _Floats
    gains: npt.NDArray[np.complex128]
    echoes_us: _Floats


@dataclass(frozen=True)
class Truth(Links):
    """What only the simulator knows of its scenes.

    Attributes:
        bandwidth_hz: (count,) root mean square bandwidth of the waveform about its mean frequency.
    """

    bandwidth_hz: _Floats
