"""A column of two tables, made comparable: numbers with numbers, or texts with texts; missing values apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from holdfast.core.missing import load_library
from holdfast.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_WANTED_FOR = "the drift report"


@dataclass(frozen=True)
class Column:
    """One column of both tables.

    Attributes:
        name: Its name.
        kind: `number` or `category`.
        reference: The reference's values, without those that are missing: an array of float64, or of texts.
        current: The new data's.
        rows_reference: How many rows the reference has.
        rows_current: How many the new data has.
        note: What was done to it that one should know; else empty.
    """

    name: str
    kind: str
    reference: Any
    current: Any
    rows_reference: int
    rows_current: int
    note: str = ""

    @property
    def missing_reference(self) -> int:
        """How many rows of the reference have no value."""
        return self.rows_reference - len(self.reference)

    @property
    def missing_current(self) -> int:
        """How many rows of the new data have no value."""
        return self.rows_current - len(self.current)


def prepare(name: str, reference: pd.Series[Any], current: pd.Series[Any]) -> Column:
    """Return a column of both tables, as numbers where every value of the reference is one, else as texts.

    Of numbers, NaN and infinities are missing; so is what is no number in the new data.
    """
    rows = (len(reference), len(current))
    ours = _numbers(reference)
    if ours is None:
        return Column(str(name), "category", _texts(reference), _texts(current), *rows)
    theirs, unreadable = _forced(current)
    note = f"{unreadable:,} values of the new data are no numbers, and count as missing" if unreadable else ""
    return Column(str(name), "number", _finite(ours), _finite(theirs), *rows, note)


def _numbers(values: pd.Series[Any]) -> Any:
    """Return the values as floats, or None where one that is not missing is no number."""
    pd = load_library("pandas", _WANTED_FOR)
    if pd.api.types.is_bool_dtype(values.dtype) or pd.api.types.is_complex_dtype(values.dtype):
        return None
    found, unreadable = _forced(values)
    # A column without any value is a category of none.
    return None if unreadable or not values.notna().any() else found


def _forced(values: pd.Series[Any]) -> tuple[Any, int]:
    """Return the values as floats, times in seconds, NaN for what is no number, and how many that were."""
    pd = load_library("pandas", _WANTED_FOR)
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        values = values - pd.Timestamp(0, tz=values.dt.tz)
    if pd.api.types.is_timedelta64_dtype(values.dtype):
        return values.dt.total_seconds().to_numpy(dtype="float64"), 0
    given = values.astype(object) if pd.api.types.is_bool_dtype(values.dtype) else values
    numbers = pd.to_numeric(given, errors="coerce")
    if pd.api.types.is_bool_dtype(numbers.dtype) or not pd.api.types.is_numeric_dtype(numbers.dtype):
        numbers = pd.to_numeric(given.astype(str), errors="coerce")
    unreadable = int((numbers.isna() & values.notna()).sum())
    return numbers.to_numpy(dtype="float64", na_value=float("nan")), unreadable


def _finite(values: Any) -> Any:
    np = load_library("numpy", _WANTED_FOR)
    return values[np.isfinite(values)]


def _texts(values: pd.Series[Any]) -> Any:
    return values[values.notna()].astype(str).to_numpy(dtype=object)


def read_table(file: IO[bytes], name: str) -> pd.DataFrame:
    """Read a CSV file with a header; every value is kept as the text it is, and an empty one is missing.

    Args:
        file: The open file.
        name: What to call it in errors.

    Raises:
        DataError: It is no CSV table of UTF-8 text.
        MissingDependencyError: pandas is not installed.
    """
    pandas = load_library("pandas", _WANTED_FOR)
    try:
        table: pd.DataFrame = pandas.read_csv(file, dtype=str, encoding="utf-8-sig")
    except (ValueError, OSError, MemoryError) as error:  # pandas' errors of parsing, and UnicodeError, are ValueErrors
        why = " ".join(str(error).split())[:200]
        raise DataError(f"{name} is no table: {why}.", "give a CSV file with a header, in UTF-8") from None
    return table
