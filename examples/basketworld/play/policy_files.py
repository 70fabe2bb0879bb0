"""Files of policies: what stable-baselines3 writes, and beside it, in the same zip, what it takes to play.

That is a text about the policy, and its weights as NumPy writes them. Reading these runs no code of the file's and
needs no PyTorch. What stable-baselines3 wrote is for going on with a training; it holds pickled objects, which
would be run.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.errors import InvalidInputError

from ..game.actions import ACTIONS
from ..game.rules import Rules
from .policies import Layer, Policy, PolicyPlayer, features_of

if TYPE_CHECKING:
    from sb3_contrib import MaskablePPO

FORMAT = 1
MEMBER = "basketworld.json"
WEIGHTS = "basketworld.npz"
_HIDDEN = "mlp_extractor.policy_net."
_MOST_BYTES = 256 << 20
_REMEDY = "give a models/unified_policy_alt_….zip that this example's training wrote"


@dataclass(frozen=True)
class About:
    """What stands in a policy's file about it, beside its weights.

    Attributes:
        rules: What it was trained by.
        net_arch: The widths of its hidden layers.
        alternation: The alternation of training that it was written after; 0 is the untrained one.
    """

    rules: Rules
    net_arch: tuple[int, ...]
    alternation: int


LoadedPolicy = Policy


def write_policy(model: MaskablePPO, path: Path, rules: Rules, alternation: int, net_arch: Sequence[int]) -> None:
    """Write a model with all it takes to go on training, and what `read_policy` reads; whole or not at all.

    Args:
        model: The model.
        path: The file, `….zip`; one that is there is replaced.
        rules: What it was trained by.
        alternation: The alternation that ended.
        net_arch: The widths of its hidden layers.
    """
    about = {"format": FORMAT, "rules": rules.as_dict(), "net_arch": list(net_arch), "alternation": alternation}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{secrets.token_hex(8)}.zip")
    try:
        model.save(part)
        with zipfile.ZipFile(part, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(MEMBER, json.dumps(about, sort_keys=True))
            archive.writestr(WEIGHTS, _as_npz(policy_of(model, rules).layers))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_about(path: Path) -> About:
    """Return what a policy's file says of it, without its weights.

    Raises:
        InvalidInputError: There is no such file, or it is damaged, or no policy of this example; names it.
    """
    content = _content_of(path)
    return _about_of(_member(content, path, MEMBER), path)


def read_policy(path: Path) -> LoadedPolicy:
    """Return the policy that a file holds.

    Raises:
        InvalidInputError: There is no such file, or it is damaged, or no policy of this example; names it.
    """
    content = _content_of(path)
    about = _about_of(_member(content, path, MEMBER), path)
    layers = _layers_of(_member(content, path, WEIGHTS), about.net_arch, path)
    try:
        return Policy(about.rules, about.alternation, layers, about.net_arch, hashlib.sha256(content).hexdigest())
    except InvalidInputError as error:
        raise InvalidInputError(f"{path} cannot be played with: {error.message}", error.hint) from None


def load_player(path: Path, name: str | None = None) -> PolicyPlayer:
    """Return a player by the policy that a file holds; errors as of `read_policy`."""
    return PolicyPlayer(read_policy(path), name)


def policy_of(model: MaskablePPO, rules: Rules, alternation: int = 0) -> Policy:
    """Return the policy of a model in memory, as it is now; what is trained later does not change it."""
    state = {name: tensor.detach().cpu() for name, tensor in model.policy.state_dict().items()}
    layers = _layers(state)
    return Policy(rules, alternation, layers, _widths(layers))


def untrained_policy(rules: Rules, seed: int = 0, net_arch: Sequence[int] = (64, 64)) -> MaskablePPO:
    """Return a model that nothing was taught; it has spaces of the right shapes, and no games to train on."""
    from sb3_contrib import MaskablePPO

    from .spaces import Spaces

    return MaskablePPO(
        "MlpPolicy", Spaces(features_of(rules), rules.players * [ACTIONS]), seed=seed, device="cpu",
        n_steps=2, batch_size=2, policy_kwargs={"net_arch": list(net_arch)},
    )  # fmt: skip


def _content_of(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _refused(path, "it is far too large")
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"The policy {path} cannot be read: {error.strerror or error}.", _REMEDY) from None


def _member(content: bytes, path: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if archive.getinfo(name).file_size > _MOST_BYTES:
                raise _refused(path, f"its {name} is far too large")
            return archive.read(name)
    except KeyError:
        raise _refused(path, f"it has no {name}") from None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise _refused(path, f"it is damaged, or no zip ({error})") from None


def _about_of(member: bytes, path: Path) -> About:
    try:
        said = json.loads(member)
        if said["format"] != FORMAT:
            raise _refused(path, f"its format is {said['format']!r}, not {FORMAT}")
        return About(Rules.from_dict(said["rules"]), tuple(map(int, said["net_arch"])), int(said["alternation"]))
    except InvalidInputError as error:
        raise _refused(path, error.message.rstrip(".")) from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise _refused(path, f"its {MEMBER} is not this example's ({type(error).__name__}: {error})") from None


def _layers_of(member: bytes, net_arch: tuple[int, ...], path: Path) -> tuple[Layer, ...]:
    try:
        with np.load(io.BytesIO(member), allow_pickle=False) as arrays:
            layers = _fitting([(arrays[f"weights_{n}"], arrays[f"biases_{n}"]) for n in range(len(arrays.files) // 2)])
    except (KeyError, TypeError, ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        said = str(error).partition("\n")[0][:120]
        raise _refused(path, f"its weights cannot be read ({type(error).__name__}: {said})") from None
    if net_arch != _widths(layers):
        raise _refused(path, f"its layers have {_widths(layers)} outputs, not {net_arch}")
    return layers


def _layers(state: Mapping[str, Any]) -> tuple[Layer, ...]:
    # stable-baselines3 counts the layers and the tanh between them.
    depth = sum(name.startswith(_HIDDEN) and name.endswith(".weight") for name in state)
    names = [*(f"{_HIDDEN}{2 * index}" for index in range(depth)), "action_net"]
    return _fitting([(state[f"{name}.weight"].numpy(), state[f"{name}.bias"].numpy()) for name in names])


def _as_npz(layers: Sequence[Layer]) -> bytes:
    parts: dict[str, Any] = {}
    for number, (weights, biases) in enumerate(layers):
        parts |= {f"weights_{number}": np.float32(weights), f"biases_{number}": np.float32(biases)}
    written = io.BytesIO()
    np.savez(written, **parts)
    return written.getvalue()


def _fitting(arrays: Sequence[tuple[Any, Any]]) -> tuple[Layer, ...]:
    """Return layers of finite numbers; a `ValueError` says that they do not fit one another."""
    layers = tuple((_array(weights, 2), _array(biases, 1)) for weights, biases in arrays)
    for (_, before), (weights, _) in pairwise(layers):
        if weights.shape[1] != len(before):
            raise ValueError("its layers do not fit one another")
    return layers


def _widths(layers: tuple[Layer, ...]) -> tuple[int, ...]:
    return tuple(len(biases) for _, biases in layers[:-1])


def _array(values: Any, dimensions: int) -> Any:
    found = np.asarray(values, np.float64)
    if found.ndim != dimensions or not np.isfinite(found).all():
        raise ValueError("a layer is not a matrix of numbers")
    return found


def _refused(path: Path, why: str) -> InvalidInputError:
    return InvalidInputError(f"{path} is no policy of BasketWorld: {why}.", _REMEDY)
