"""ConvNeXt trunks in all their sizes: from one for two processor cores to the largest that Meta published.

Liu et al., "A ConvNet for the 2020s", CVPR 2022, table 9 names depths and widths; `nano` is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from transformers import ConvNextConfig, ConvNextModel

from holdfast.errors import ArtifactError, InvalidInputError


@dataclass(frozen=True)
class Size:
    """Blocks and channels of the four stages, and where pretrained weights are, if there are any."""

    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    pretrained: str | None


SIZES = {
    "nano": Size((1, 1, 2, 1), (16, 32, 64, 128), None),
    "tiny": Size((3, 3, 9, 3), (96, 192, 384, 768), "facebook/convnext-tiny-224"),
    "small": Size((3, 3, 27, 3), (96, 192, 384, 768), "facebook/convnext-small-224"),
    "base": Size((3, 3, 27, 3), (128, 256, 512, 1024), "facebook/convnext-base-224"),
    "large": Size((3, 3, 27, 3), (192, 384, 768, 1536), "facebook/convnext-large-224"),
}


def find_size(name: str) -> str:
    """Return the size that a text names: `large`, `LARGE` and `CONVNEXT_LARGE` are the same.

    Raises:
        InvalidInputError: There is no such size.
    """
    size = name.lower().replace("-", "_").removeprefix("convnext_")
    if size not in SIZES:
        raise InvalidInputError(f"There is no backbone {name!r}.", f"choose one of {', '.join(SIZES)}")
    return size


def build_trunk(size: str, channels: int, pretrained: bool = False) -> ConvNextModel:
    """Return a trunk for images of so many channels.

    Args:
        size: One of `SIZES`.
        channels: Of the images.
        pretrained: Whether it begins with the weights learnt on ImageNet, which the hub's loader fetches or finds in
            its cache. Its first convolution, made for three colours, is spread over all channels.

    Raises:
        InvalidInputError: The size has no pretrained weights.
        ArtifactError: They cannot be fetched.
    """
    if pretrained:
        return _load_trunk(size, channels)
    shape = SIZES[size]
    # A scale of 1e-6, the default, silences every block of a network that starts from nothing and learns for minutes.
    return ConvNextModel(
        ConvNextConfig(
            num_channels=channels, depths=shape.depths, hidden_sizes=shape.widths, layer_scale_init_value=0.1
        )
    )


def _load_trunk(size: str, channels: int) -> ConvNextModel:
    name = pretrained_name(size)
    try:
        trunk = ConvNextModel.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"The pretrained weights {name} cannot be had: {str(error).splitlines()[0]}",
            "check the network, give HF_HOME of a machine that has them, or leave --pretrained out",
            retryable=True,
        ) from None
    _spread_colours(trunk, channels)
    return trunk


def pretrained_name(size: str) -> str:
    """Return what the hub calls the pretrained weights of a size.

    Raises:
        InvalidInputError: It has none.
    """
    name = SIZES[size].pretrained
    if name is None:
        raise InvalidInputError(
            f"The backbone {size} has no pretrained weights.", "leave --pretrained out, or choose tiny or larger"
        )
    return name


def _spread_colours(trunk: ConvNextModel, channels: int) -> None:
    """Give the first convolution as many inputs as there are channels: each the mean colour, the sum's size kept."""
    old = trunk.embeddings.patch_embeddings
    share = old.in_channels / channels
    side = old.weight.shape[-1]
    new = nn.Conv2d(channels, old.out_channels, side, side)
    new.weight = nn.Parameter(old.weight.detach().mean(1, keepdim=True).repeat(1, channels, 1, 1) * share)
    new.bias = old.bias
    trunk.embeddings.patch_embeddings = new
    trunk.embeddings.num_channels = trunk.config.num_channels = channels
