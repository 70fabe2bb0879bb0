"""Files of policies: whole ones are read without running anything of theirs, all others are refused by name."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.errors import InvalidInputError
from holdfast_examples.basketworld.game.games import Games
from holdfast_examples.basketworld.game.rules import Rules
from holdfast_examples.basketworld.play.policies import PolicyPlayer
from holdfast_examples.basketworld.play.policy_files import (
    MEMBER,
    WEIGHTS,
    load_player,
    policy_of,
    read_about,
    read_policy,
    untrained_policy,
    write_policy,
)


def rewritten(source: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Write a zip anew with its members changed."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def about(**changes: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members[MEMBER] = json.dumps(json.loads(members[MEMBER]) | changes).encode()

    return change


def test_what_was_written_is_read(tmp_path: Path) -> None:
    rules, path = Rules(players=3, dunks=True, steal=0.1), tmp_path / "models" / "one.zip"
    model = untrained_policy(rules, 5, (24, 12))
    write_policy(model, path, rules, 7, (24, 12))
    assert read_about(path).alternation == 7
    found = read_policy(path)
    assert (found.rules, found.alternation, found.net_arch, len(found.checksum)) == (rules, 7, (24, 12), 64)
    games, everyone = Games(rules, 10, 0), np.ones(10, np.bool_)
    in_memory = PolicyPlayer(policy_of(model, rules))
    assert (in_memory.chances(games, everyone) == PolicyPlayer(found).chances(games, everyone)).all()
    assert [one.name for one in path.parent.iterdir()] == ["one.zip"]
    # A training goes on from the same file.
    from sb3_contrib import MaskablePPO

    again = MaskablePPO.load(path, device="cpu")
    assert policy_of(again, rules).net_arch == (24, 12)


def test_the_seed_makes_the_policy() -> None:
    first, again, other = (policy_of(untrained_policy(Rules(), seed, (8,)), Rules()) for seed in (1, 1, 2))
    assert (first.layers[0][0] == again.layers[0][0]).all()
    assert (first.layers[0][0] != other.layers[0][0]).any()


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused_by_name(part: float, basketworld_files: list[Path], tmp_path: Path) -> None:
    content = basketworld_files[0].read_bytes()
    path = tmp_path / "cut.zip"
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(InvalidInputError, match=r"cut\.zip is no policy of BasketWorld: it ") as caught:
        read_policy(path)
    assert "unified_policy_alt_" in caught.value.hint


def test_a_flipped_byte_among_the_weights_is_noticed(basketworld_files: list[Path], tmp_path: Path) -> None:
    content = bytearray(basketworld_files[0].read_bytes())
    with zipfile.ZipFile(BytesIO(content)) as archive:
        member = archive.getinfo(WEIGHTS)
    content[member.header_offset + 400] ^= 0x40
    path = tmp_path / "flipped.zip"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="flipped"):
        read_policy(path)


def _foreign(members: dict[str, bytes]) -> None:
    del members[MEMBER]


def _no_json(members: dict[str, bytes]) -> None:
    members[MEMBER] = b"\xff{"


def _no_object(members: dict[str, bytes]) -> None:
    members[MEMBER] = b"[1]"


def _no_arrays(members: dict[str, bytes]) -> None:
    members[WEIGHTS] = b"weights"


def _not_finite(members: dict[str, bytes]) -> None:
    with np.load(BytesIO(members[WEIGHTS])) as arrays:
        parts = dict(arrays)
    parts["biases_0"][0] = float("nan")
    stored = BytesIO()
    np.savez(stored, **parts)
    members[WEIGHTS] = stored.getvalue()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_foreign, "it has no basketworld.json"),
        (_no_json, "basketworld.json is not this example's"),
        (_no_object, "basketworld.json is not this example's"),
        (_no_arrays, "its weights cannot be read"),
        (_not_finite, "its weights cannot be read"),
        (about(format=9), "its format is 9, not 1"),
        (about(rules={"gravity": 1}), "no rule named gravity"),
        (about(rules={"players": 7}), "players is 7"),
        (about(rules=Rules(players=3).as_dict()), "by its rules it is"),
        (about(net_arch=[16]), "its layers have (16, 16) outputs, not (16,)"),
        (about(alternation=None), "basketworld.json is not this example's"),
    ],
)
def test_what_is_no_policy_is_refused(
    change: Callable[[dict[str, bytes]], None], why: str, basketworld_files: list[Path], tmp_path: Path
) -> None:
    path = rewritten(basketworld_files[0], tmp_path / "odd.zip", change)
    with pytest.raises(InvalidInputError, match=r"odd\.zip") as caught:
        read_policy(path)
    assert why in str(caught.value)


def test_nothing_that_is_pickled_is_run(basketworld_files: list[Path], tmp_path: Path) -> None:
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (trap,)

    def set_trap(members: dict[str, bytes]) -> None:
        members["data"] = members["pytorch_variables.pth"] = pickle.dumps(Trap())

    def bait(members: dict[str, bytes]) -> None:
        set_trap(members)
        stored = BytesIO()
        np.savez(stored, weights_0=np.array([Trap()], dtype=object), biases_0=np.zeros(1))
        members[WEIGHTS] = stored.getvalue()

    assert read_policy(rewritten(basketworld_files[0], tmp_path / "data.zip", set_trap)).alternation == 0
    with pytest.raises(InvalidInputError, match="its weights cannot be read"):
        read_policy(rewritten(basketworld_files[0], tmp_path / "weights.zip", bait))
    assert not trap.exists()


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.zip", tmp_path):
        with pytest.raises(InvalidInputError, match=f"The policy {path} cannot be read"):
            load_player(path)
