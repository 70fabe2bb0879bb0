"""Moving pictures: GIF and MP4 files out of frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from holdfast.errors import InvalidInputError, MissingDependencyError

Frame = npt.NDArray[np.uint8]
_SAMPLED = 16  # frames that a palette is made of
_PALETTE_SIDE = 128
_COMMON, _KEPT, _APART = 4096, 48, 45  # of the colours that are kept as they are


def save_gif(frames: Sequence[Frame], path: Path | str, fps: float) -> Path:
    """Write an endless GIF.

    All frames share one palette without dithering, so that a team has the same colour from first to last.
    A frame that equals the one before it lengthens that one.

    Args:
        frames: (H, W, 3) bytes each, all of one size.
        path: File to write; its folder is made.
        fps: Frames a second. GIF counts time in hundredths of a second, and viewers slow what is faster than 50.

    Returns:
        The path.

    Raises:
        InvalidInputError: There is no frame, they differ in size, or the speed is not above 0.
    """
    target = _checked(frames, path, fps)
    palette = _palette(frames)
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    duration_ms = max(20, round(100 / fps) * 10)
    images[0].save(target, "GIF", save_all=True, append_images=images[1:], duration=duration_ms, loop=0)
    return target


def save_mp4(frames: Sequence[Frame], path: Path | str, fps: float) -> Path:
    """Write an H.264 film that browsers play.

    Takes, gives and raises what `save_gif` does, and `MissingDependencyError` without imageio and its ffmpeg.
    A side with an odd number of pixels grows by one.
    """
    target = _checked(frames, path, fps)
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependencyError(
            f"{target.name} needs imageio-ffmpeg, which is not installed", hint="pip install 'imageio[ffmpeg]'"
        ) from error
    even = [np.pad(frame, [(0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)], mode="edge") for frame in frames]
    height, width = even[0].shape[:2]
    writer = imageio_ffmpeg.write_frames(
        str(target),
        (width, height),
        fps=fps,
        codec="libx264",
        quality=8,
        macro_block_size=2,
        output_params=["-an"],
        ffmpeg_log_level="error",
    )
    writer.send(None)
    try:
        for frame in even:
            writer.send(np.ascontiguousarray(frame))
    finally:
        writer.close()
    return target


def _checked(frames: Sequence[Frame], path: Path | str, fps: float) -> Path:
    sizes = {frame.shape for frame in frames}
    if len(sizes) != 1 or not fps > 0:
        raise InvalidInputError(
            f"no film can be made for {path}: {len(frames)} frames of {len(sizes)} sizes at {fps} frames a second",
            hint="give at least one frame, all of one size, and a speed above 0",
        )
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _palette(frames: Sequence[Frame]) -> Image.Image:
    """Choose 256 colours for all frames: some just as they are, the others as the means of what is left.

    A colour counts by the root of its area: players are small, and the floor would take all colours otherwise.
    """
    chosen = [frames[index] for index in np.unique(np.linspace(0, len(frames) - 1, _SAMPLED).astype(int))]
    pixels = np.concatenate([frame.reshape(-1, 3) for frame in chosen]).astype(np.int64)
    codes, counts = np.unique((pixels[:, 0] << 16) | (pixels[:, 1] << 8) | pixels[:, 2], return_counts=True)
    share = np.cumsum(np.sqrt(counts))
    picked = codes[np.searchsorted(share, np.linspace(0, share[-1], _PALETTE_SIDE**2, endpoint=False), side="right")]
    square = Image.fromarray(_rgb(picked).astype(np.uint8).reshape(_PALETTE_SIDE, _PALETTE_SIDE, 3))
    kept = _distinct(_rgb(codes[np.argsort(-counts, kind="stable")[:_COMMON]]))
    means = square.quantize(256 - len(kept), method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).getpalette()
    palette = Image.new("P", (1, 1))
    palette.putpalette([*kept.ravel().tolist(), *(means or [])][: 3 * 256])
    return palette


def _rgb(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.stack([codes >> 16, (codes >> 8) & 255, codes & 255], 1)


def _distinct(colours: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Keep colours that are far from all kept before them, the most common first."""
    kept: list[npt.NDArray[np.int64]] = []
    while len(colours) and len(kept) < _KEPT:
        kept.append(colours[0])
        colours = colours[np.abs(colours - colours[0]).sum(1) > _APART]
    return np.array(kept)
