"""Chronological split by season: train, then one season to validate, then one to test."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from holdfast.errors import DataError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class SeasonSplit:
    """Which seasons serve what; every training season lies before the validation season.

    Attributes:
        train: Seasons that the model learns from, in order.
        validation: The season that decides when to stop.
        test: The season that decides nothing and is looked at last.
    """

    train: tuple[int, ...]
    validation: int
    test: int

    def select(self, games: pd.DataFrame, part: str) -> pd.Series:
        """Marks the rows of `games` that belong to a part.

        Args:
            games: Any table with the column `season`.
            part: `train`, `validation` or `test`.

        Returns:
            True or False a row, with the index of `games`.

        Raises:
            DataError: There is no part of this name.
        """
        seasons = {"train": self.train, "validation": (self.validation,), "test": (self.test,)}
        if part not in seasons:
            raise DataError(f"no part {part!r} in a split", f"name one of {', '.join(PARTS)}")
        return games["season"].isin(seasons[part])

    def __str__(self) -> str:
        return self.describe()

    def describe(self) -> str:
        """Gives the split as a line of text: `train 2016-2020, validation 2021, test 2022`."""
        first, last = self.train[0], self.train[-1]
        train = str(first) if first == last else f"{first}-{last}"
        return f"train {train}, validation {self.validation}, test {self.test}"


def split_seasons(games: pd.DataFrame, test_season: int | None = None) -> SeasonSplit:
    """Takes the last season for the test, the one before for validation, the earlier ones to train on.

    Args:
        games: A table of games.
        test_season: Test on this season and leave out later ones; the last one by default.

    Returns:
        The split.

    Raises:
        DataError: Fewer than three seasons are there up to the test season.
    """
    held = [int(season) for season in sorted(games["season"].unique())]
    last = held[-1] if test_season is None and held else test_season
    seasons = [season for season in held if last is not None and season <= last]
    if last not in seasons or len(seasons) < 3:
        text = (
            f"the games hold seasons {', '.join(map(str, held)) or 'none'}; a test on {last} needs it and two earlier"
        )
        raise DataError(text, "add seasons: one to train on, one to validate, one to test")
    return SeasonSplit(tuple(seasons[:-2]), seasons[-2], seasons[-1])
