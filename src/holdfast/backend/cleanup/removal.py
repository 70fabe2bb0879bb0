"""Removing rows with all that hangs on them, as the database's own foreign keys and MLflow's loose references say.

MLflow leaves references without keys behind (`mlflow gc` does), and SQLite keeps no key unless it is asked to: every
row is removed by a statement of its own table, those that hang on others first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from holdfast.backend.cleanup.rollups import QUEUE, SUMS
from holdfast.backend.cleanup.tables import Tables

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, ForeignKeyConstraint, Table


@dataclass(frozen=True)
class _Loose:
    """A column that names rows of another table without a foreign key.

    Attributes:
        table: Where it stands.
        column: Which it is.
        of_table: The table whose rows it names.
        of_column: By which of their columns.
        kinds: A column that tells what is named, and what it says where it is a row of that table.
        emptied: Whether the column is emptied; if not, its row is removed.
    """

    table: str
    column: str
    of_table: str
    of_column: str
    kinds: tuple[str, tuple[str, ...]] | None = None
    emptied: bool = False


def _associated(of_table: str, of_column: str, kind: str) -> tuple[_Loose, ...]:
    return tuple(
        _Loose("entity_associations", f"{side}_id", of_table, of_column, (f"{side}_type", (kind,)))
        for side in ("source", "destination")
    )


_LOOSE = (
    _Loose("inputs", "source_id", "runs", "run_uuid", ("source_type", ("RUN_INPUT", "RUN_OUTPUT", "RUN"))),
    _Loose("inputs", "destination_id", "runs", "run_uuid", ("destination_type", ("RUN",))),
    _Loose(
        *("inputs", "destination_id", "logged_models", "model_id"),
        ("destination_type", ("MODEL_INPUT", "MODEL_OUTPUT", "MODEL")),
    ),
    _Loose("inputs", "source_id", "datasets", "dataset_uuid", ("source_type", ("DATASET",))),
    _Loose("input_tags", "input_uuid", "inputs", "input_uuid"),
    # What people or judges said of a trace stays true when the run is gone in which they said it.
    _Loose("assessments", "run_id", "runs", "run_uuid", emptied=True),
    _Loose("review_queue_items", "item_id", "trace_info", "request_id", ("item_type", ("trace", "TRACE"))),
    *_associated("runs", "run_uuid", "run"),
    *_associated("logged_models", "model_id", "model"),
    *_associated("trace_info", "request_id", "trace"),
    *_associated("experiments", "experiment_id", "experiment"),
    # The numbers of experiments are given anew on SQLite: what is left would become another one's.
    *(_Loose(table, "experiment_id", "experiments", "experiment_id") for table in (QUEUE, *SUMS)),
)


@dataclass(frozen=True)
class _Chosen:
    """Rows of a table.

    Attributes:
        table: Their table.
        clause: Which they are.
        column: The column by whose values they are chosen, where they are.
        values: Those values.
    """

    table: Table
    clause: ColumnElement[bool]
    column: str = ""
    values: tuple[Any, ...] = ()


@dataclass
class Removal:
    """Removes rows in an open transaction, and counts them.

    Args:
        tables: The transaction, with all tables and their keys.
    """

    tables: Tables
    rows: Counter[str] = field(default_factory=Counter)

    def remove(self, table: str, column: str, values: Sequence[str]) -> None:
        """Remove the rows of a table that have one of some values in a column, and all that hangs on them."""
        if values:
            self._remove(_by_values(self.tables[table], column, values), ())

    def _remove(self, chosen: _Chosen, above: tuple[str, ...]) -> None:
        from sqlalchemy import delete

        way = (*above, chosen.table.name)
        for child, constraint in self._keyed(chosen.table):
            if child.name not in way:
                self._detach(_hanging(chosen, child, constraint), constraint, way)
        for loose in _LOOSE:
            if loose.of_table == chosen.table.name and loose.table in self.tables and loose.table not in way:
                self._untie(chosen, loose, way)
        removed = self.tables.connection.execute(delete(chosen.table).where(chosen.clause))
        self._count(chosen.table.name, removed.rowcount)

    def _keyed(self, parent: Table) -> Iterator[tuple[Table, ForeignKeyConstraint]]:
        for child in self.tables.known.values():
            for constraint in child.foreign_key_constraints:
                if constraint.referred_table is parent:
                    yield child, constraint

    def _detach(self, hanging: _Chosen, constraint: ForeignKeyConstraint, way: tuple[str, ...]) -> None:
        if (constraint.ondelete or "").upper() == "SET NULL":
            self._empty(hanging, list(constraint.column_keys))
        else:
            self._remove(hanging, way)

    def _untie(self, chosen: _Chosen, loose: _Loose, way: tuple[str, ...]) -> None:
        table = self.tables[loose.table]
        if loose.column not in table.c or loose.of_column not in chosen.table.c:
            return
        hanging = _naming(chosen, table, loose)
        if loose.emptied:
            self._empty(hanging, [loose.column])
        else:
            self._remove(hanging, way)

    def _empty(self, chosen: _Chosen, columns: Sequence[str]) -> None:
        from sqlalchemy import update

        values = dict.fromkeys(columns)
        self.tables.connection.execute(update(chosen.table).where(chosen.clause).values(values))

    def _count(self, table: str, rows: int) -> None:
        if rows > 0:
            self.rows[table] += rows


def _by_values(table: Table, column: str, values: Sequence[Any]) -> _Chosen:
    fitting = tuple(_fitting(table.c[column], value) for value in values)
    return _Chosen(table, table.c[column].in_(fitting), column, fitting)


def _fitting(column: Any, value: Any) -> Any:
    """Return a value as its column has it: the ids of experiments are numbers in some and texts in others."""
    return int(value) if column.type.python_type is int else str(value)


def _hanging(chosen: _Chosen, child: Table, constraint: ForeignKeyConstraint) -> _Chosen:
    """Return the rows that a foreign key ties to others."""
    from sqlalchemy import select, tuple_

    pairs = [(element.parent, element.column) for element in constraint.elements]
    for mine, theirs in pairs:
        # Part of a key is enough: who has it is tied to one of the rows that were chosen by it.
        if theirs.name == chosen.column:
            return _by_values(child, mine.name, chosen.values)
    theirs_of = select(*(theirs for _, theirs in pairs)).where(chosen.clause)
    if len(pairs) == 1:
        return _Chosen(child, pairs[0][0].in_(theirs_of))
    return _Chosen(child, tuple_(*(mine for mine, _ in pairs)).in_(theirs_of))


def _naming(chosen: _Chosen, table: Table, loose: _Loose) -> _Chosen:
    """Return the rows that name others without a key."""
    from sqlalchemy import and_, select

    if loose.of_column == chosen.column:
        named = _by_values(table, loose.column, chosen.values)
    else:
        of = select(chosen.table.c[loose.of_column]).where(chosen.clause)
        named = _Chosen(table, table.c[loose.column].in_(of))
    if loose.kinds is None:
        return named
    said, kinds = loose.kinds
    return _Chosen(table, and_(table.c[said].in_(kinds), named.clause))
