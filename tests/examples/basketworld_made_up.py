"""Policies of random weights for the tests that only play them: written without PyTorch, which takes long to load."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

from holdfast_examples.basketworld.game.actions import ACTIONS
from holdfast_examples.basketworld.game.rules import Rules
from holdfast_examples.basketworld.play.policies import features_of
from holdfast_examples.basketworld.play.policy_files import FORMAT, MEMBER, WEIGHTS, _as_npz

WIDTH = 16


def write_made_up(path: Path, rules: Rules, alternation: int) -> Path:
    """Write what is read of a policy's file to play it; what it takes to go on training is not there.

    Args:
        path: The file.
        rules: What it plays.
        alternation: Its number, and the seed of its weights.
    """
    random, features, outputs = np.random.default_rng(alternation), features_of(rules), rules.players * ACTIONS
    layers = tuple(
        (random.normal(0, 1 / np.sqrt(inner), (outer, inner)), np.zeros(outer))
        for inner, outer in ((features, WIDTH), (WIDTH, outputs))
    )
    about = {"format": FORMAT, "rules": rules.as_dict(), "net_arch": [WIDTH], "alternation": alternation}
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, json.dumps(about))
        archive.writestr(WEIGHTS, _as_npz(layers))
    return path
