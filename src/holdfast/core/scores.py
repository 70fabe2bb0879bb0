"""Scores one by one: what a metric is the mean of, kept as a file of the run so that two models can be paired.

The file is UTF-8 CSV with the columns `example,score`, one line an example; scores are written so that reading gives
back the very same number.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from holdfast.core.names import check_keys, is_unicode
from holdfast.core.uris import slug
from holdfast.errors import DataError, InvalidInputError

SCORES_FOLDER = "scores"
_HEADER = ["example", "score"]
_LONGEST_ID = 500
_NAMED = 5
_BREAKS = frozenset("\0\r\n")


def scores_path(metric: str) -> str:
    """Return where the scores of a metric lie among a run's artifacts: `scores/test-log_loss.csv` of `test/log_loss`.

    Different metrics have different files: where the name alone would not tell them apart, a part of its SHA-256 does.
    """
    name = slug(metric)
    if "-" in metric or name != metric.replace("/", "-"):
        name = f"{name}-{hashlib.sha256(metric.encode()).hexdigest()[:8]}"
    return f"{SCORES_FOLDER}/{name}.csv"


def to_scores(metric: str, scores: Any, examples: Any = None) -> list[tuple[str, float]]:
    """Return example and score, line by line, checked.

    Args:
        metric: What they are scores of.
        scores: One finite number an example: a list, an array, a column.
        examples: What each was measured on, by an id that another model's run has too; their positions if not given.

    Raises:
        InvalidInputError: Says everything that is wrong: the metric's name, lengths, ids, values.
    """
    check_keys([metric], "metric")
    values = _to_list(scores, "scores")
    ids = [str(number) for number in range(len(values))] if examples is None else _to_ids(examples)
    problems = _problems_of_values(values) + _problems_of_ids(ids)
    if len(ids) != len(values):
        problems.append(f"{len(values):,} scores stand beside {len(ids):,} examples")
    if problems:
        raise InvalidInputError(
            f"These scores of {metric!r} cannot be logged: {'; '.join(problems)}.",
            "give one finite number and one id of its own for each example",
        )
    return list(zip(ids, map(float, values), strict=True))


def _to_list(values: Any, what: str) -> list[Any]:
    plain = values.tolist() if callable(getattr(values, "tolist", None)) else values
    if isinstance(plain, str | bytes | dict) or not isinstance(plain, Iterable):
        raise InvalidInputError(f"A {type(values).__name__} holds no {what}.", f"give {what} as a list, one an example")
    return list(plain)


def _to_ids(examples: Any) -> list[str]:
    return [str(example) for example in _to_list(examples, "examples")]


def _problems_of_values(values: list[Any]) -> list[str]:
    if not values:
        return ["there is not one"]
    bad = [index for index, value in enumerate(values) if not _is_score(value)]
    return [f"no finite numbers: {_some(f'{values[i]!r:.40} at position {i}' for i in bad)}"] if bad else []


def _is_score(value: Any) -> bool:
    if isinstance(value, str | bytes):
        return False
    try:
        return math.isfinite(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        # RuntimeError is how PyTorch refuses a tensor of many values.
        return False


def _problems_of_ids(ids: list[str]) -> list[str]:
    problems = []
    bad = [text for text in ids if not _is_id(text)]
    if bad:
        form = f"ids that are empty, over {_LONGEST_ID} characters, of several lines, or of characters no file takes"
        problems.append(f"{form}: {_some(f'{text!r:.40}' for text in bad)}")
    if len(set(ids)) < len(ids):
        twice = [text for text, count in Counter(ids).items() if count > 1]
        problems.append(f"ids that occur more than once: {_some(f'{text!r:.40}' for text in twice)}")
    return problems


def _is_id(text: str) -> bool:
    # An id of several lines would be read back as another one: Python's csv does not quote a lone carriage return.
    return bool(text) and len(text) <= _LONGEST_ID and _BREAKS.isdisjoint(text) and is_unicode(text)


def _some(texts: Iterable[str]) -> str:
    shown = list(islice(texts, _NAMED + 1))
    return ", ".join(shown[:_NAMED]) + (" …" if len(shown) > _NAMED else "")


def write_scores(path: Path, scores: Iterable[tuple[str, float]]) -> None:
    """Write what `to_scores` returned."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_HEADER)
        writer.writerows((example, repr(score)) for example, score in scores)


def read_scores(path: Path) -> dict[str, float]:
    """Read a file of scores: example → score.

    Raises:
        DataError: It is none, or holds an example twice or a score that is no finite number; the line is named.
    """
    found: dict[str, float] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            if next(rows, None) != _HEADER:
                raise _damaged(path, 1, "the header is not example,score")
            for line, row in _lines(rows):
                example, score = _read_row(path, line, row)
                if example in found:
                    raise _damaged(path, line, f"example {example!r:.40} is there twice")
                found[example] = score
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise _damaged(path, 0, f"it cannot be read ({type(error).__name__})") from None
    if not found:
        raise _damaged(path, 0, "it holds no scores")
    return found


def _lines(rows: Any) -> Iterator[tuple[int, list[str]]]:
    for row in rows:
        yield rows.line_num, row


def _read_row(path: Path, line: int, row: list[str]) -> tuple[str, float]:
    try:
        example, text = row
        score = float(text)
    except ValueError:
        raise _damaged(path, line, "it is no id and number") from None
    if not math.isfinite(score):
        raise _damaged(path, line, f"{text!r:.40} is no finite number")
    return example, score


def _damaged(path: Path, line: int, why: str) -> DataError:
    where = f", line {line}" if line else ""
    return DataError(f"The scores in {path.name}{where} cannot be used: {why}.", "log them again with log_scores")
