"""Whole sessions go to one part each, near what each is due, and the same ones each time."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from holdfast import MLflowTracker, TrainingPipeline
from holdfast.errors import DataError, InvalidInputError
from holdfast.training import split_by_session
from holdfast.training.splits import FRACTIONS

SESSIONS = st.lists(st.integers(0, 40), min_size=1, max_size=300)
PARTS = st.lists(st.integers(0, 10), min_size=1, max_size=5).filter(any)


def sizes(parts: tuple[list[int], ...]) -> list[int]:
    return [len(part) for part in parts]


@settings(max_examples=150)
@given(SESSIONS, PARTS, st.integers(0, 2**32 - 1))
def test_what_holds_for_any_sessions(sessions: list[int], weights: list[int], seed: int) -> None:
    fractions = [weight / sum(weights) for weight in weights]
    wanted = [fraction > 0 for fraction in fractions]
    if len(set(sessions)) < sum(wanted):
        with pytest.raises(DataError, match="cannot be split"):
            split_by_session(sessions, fractions, seed)
        return
    parts = split_by_session(sessions, fractions, seed)
    # Each sample is in one part, and each session too.
    assert sorted(itertools.chain(*parts)) == list(range(len(sessions)))
    held = [{sessions[index] for index in part} for part in parts]
    assert all(not one & other for one, other in itertools.combinations(held, 2))
    # Nobody who is due samples has none, nobody else has any, and nobody has a whole session too many.
    assert [bool(part) for part in parts] == wanted
    largest = max(sessions.count(session) for session in set(sessions))
    for part, fraction in zip(parts, fractions, strict=True):
        assert len(part) < fraction * len(sessions) + largest
    assert all(part == sorted(part) for part in parts)
    assert parts == split_by_session(sessions, fractions, seed)


@settings(max_examples=30)
@given(st.integers(60, 200), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_near_72_18_10(count: int, each: int, seed: int) -> None:
    parts = split_by_session([session for session in range(count) for _ in range(each)], seed=seed)
    for part, fraction in zip(parts, FRACTIONS, strict=True):
        assert abs(len(part) / each - fraction * count) <= 1.0


def test_the_seed_says_which() -> None:
    sessions = [index // 4 for index in range(400)]
    assert sizes(split_by_session(sessions)) == [288, 72, 40]
    assert len({str(split_by_session(sessions, seed=seed)) for seed in range(20)}) == 20
    # It is the order in which sessions appear that counts, not their names, whose hash may be another in each process.
    assert split_by_session([f"session {session}" for session in sessions]) == split_by_session(sessions)


def test_arrays_and_tensors() -> None:
    plain = [0, 0, 1, 1, 2, 2, 3, 3]
    arrays: list[Any] = [torch.tensor(plain), np.array(plain), tuple(plain)]
    for sessions in arrays:
        assert split_by_session(sessions) == split_by_session(plain)


@pytest.mark.parametrize("fractions", [(0.5, 0.4), (1.2, -0.2), (math.nan, 1.0), (math.inf,), ()])
def test_fractions_that_are_none(fractions: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInputError, match="do not add up to 1"):
        split_by_session([1, 2, 3], fractions)


def test_too_few_and_unknown_sessions() -> None:
    with pytest.raises(DataError, match="2 sessions cannot be split into 3 parts"):
        split_by_session([7, 7, 7, 8])
    assert sizes(split_by_session([7, 7, 7, 8], (0.5, 0.5, 0.0)))[2] == 0
    with pytest.raises(DataError, match="session sample 1 is of"):
        split_by_session([1.0, math.nan, 2.0, 3.0])


def test_loaders_of_the_pipeline(sqlite_uri: str) -> None:
    tracker = MLflowTracker(sqlite_uri, experiment_name="splits")
    sessions = [index // 10 for index in range(200)]
    dataset = TensorDataset(torch.arange(200))

    def loaded(seed: int) -> list[set[int]]:
        pipeline = TrainingPipeline(tracker, None, {"batch_size": 16, "num_workers": 0, "seed": seed})
        loaders = pipeline.setup_data_loaders(dataset, sessions)
        return [{int(index) for (batch,) in loader for index in batch} for loader in loaders]

    parts = loaded(1)
    assert [len(part) for part in parts] == [140, 40, 20]
    assert parts == loaded(1) != loaded(2)
    assert len(set().union(*({sessions[index] for index in part} for part in parts))) == 20
    with pytest.raises(InvalidInputError, match="3 sessions for 200 samples"):
        TrainingPipeline(tracker, None).setup_data_loaders(dataset, [1, 2, 3])
