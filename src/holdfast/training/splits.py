"""Training, validation and test samples, so that what belongs together is in one of them only."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import torch

from holdfast.errors import DataError, InvalidInputError

FRACTIONS = (0.72, 0.18, 0.10)


def split_by_session(
    sessions: Sequence[Hashable], fractions: Sequence[float] = FRACTIONS, seed: int = 0
) -> tuple[list[int], ...]:
    """Deal whole sessions out, so that no two parts hold samples of the same one.

    Sessions are shuffled, and each goes to the part that lacks most of what it is due, by samples.

    Args:
        sessions: Of each sample, what session it is of; an array or a tensor of one dimension will do.
        fractions: How much of all samples each part is due; their sum is 1.
        seed: Of the shuffling.

    Returns:
        For each part, the indices of its samples, ascending.

    Raises:
        InvalidInputError: The fractions do not add up to 1.
        DataError: There are fewer sessions than parts, or samples whose session is not known (NaN).
    """
    if any(part < 0 for part in fractions) or not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
        raise InvalidInputError(f"The fractions {tuple(fractions)} do not add up to 1.", "give one for each part")
    members = _members(sessions)
    wanted = sum(part > 0 for part in fractions)
    if len(members) < wanted:
        raise DataError(
            f"{len(members)} sessions cannot be split into {wanted} parts.", "record more, or give each sample its own"
        )
    groups = list(members.values())
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed)).tolist()
    return _dealt([groups[i] for i in order], [part * len(sessions) for part in fractions])


def _members(sessions: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    # Of a tensor, each element is an object of its own, and unlike all others.
    plain = sessions.tolist() if hasattr(sessions, "tolist") else sessions
    members: dict[Hashable, list[int]] = {}
    for index, session in enumerate(plain):
        if session != session:  # noqa: PLR0124 - NaN, which is unlike itself
            raise DataError(f"It is not known which session sample {index} is of.", "leave it out, or name one")
        members.setdefault(session, []).append(index)
    return members


def _dealt(groups: list[list[int]], due: list[float]) -> tuple[list[int], ...]:
    parts: list[list[int]] = [[] for _ in due]
    wanted = [i for i, samples in enumerate(due) if samples > 0]
    for number, group in enumerate(groups):
        empty = [i for i in wanted if not parts[i]]
        # The last sessions go to those that have none yet.
        open_to = empty if len(groups) - number <= len(empty) else wanted
        most = max(open_to, key=lambda i: due[i] - len(parts[i]))
        parts[most].extend(group)
    return tuple(sorted(part) for part in parts)
