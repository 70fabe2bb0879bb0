"""The local frame and distances on the sphere, for tensors: the formulas of `local_frame`, exportable."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .local_frame import EARTH_RADIUS_KM, FRAME, LocalFrame


def to_latlon(km: Tensor, frame: LocalFrame = FRAME) -> Tensor:
    """Project (…, 2) km east and north to (…, 2) degrees: latitude and longitude.

    As `LocalFrame.to_latlon`, for points less than a quarter of the globe away from the frame's centre.
    """
    latitude0 = math.radians(frame.latitude0)
    east, north = km[..., 0], km[..., 1]
    distance = (east.square() + north.square()).clamp_min(1e-12).sqrt()
    angle = distance / EARTH_RADIUS_KM
    ratio = angle.sin() / distance
    sine = angle.cos() * math.sin(latitude0) + north * ratio * math.cos(latitude0)
    turn = torch.atan(east * ratio / (math.cos(latitude0) * angle.cos() - north * ratio * math.sin(latitude0)))
    return torch.stack([torch.rad2deg(torch.asin(sine)), frame.longitude0 + torch.rad2deg(turn)], -1)


def haversine_km(a: Tensor, b: Tensor) -> Tensor:
    """Return (…) km between (…, 2) degrees on a sphere of the Earth's mean radius."""
    first, second = torch.deg2rad(a), torch.deg2rad(b)
    half = ((second - first) / 2).sin().square()
    chord = half[..., 0] + first[..., 0].cos() * second[..., 0].cos() * half[..., 1]
    return 2 * EARTH_RADIUS_KM * torch.asin(chord.clamp(0, 1).sqrt())
