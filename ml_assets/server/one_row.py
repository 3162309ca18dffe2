"""A request of one row as parameters of a prepared SELECT, instead of as a table that DuckDB scans.

Most requests have one row, and the scan of a table from Python cost as much as the joins. EXECUTE takes no values from
Python, so they are written into it; a string as hexadecimal digits, so that no text of a client is part of a statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import duckdb

from ml_assets.lake.sql import identifier, literal


def _text(value: str) -> str:
    return f"decode(unhex('{value.encode().hex()}'))"


def _plain(value: Any) -> str:
    return f"'{value}'"


# A column's type -> SQL type, and how a value of it is written; all but strings consist of digits and signs.
KINDS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "string": ("VARCHAR", _text),
    "integer": ("BIGINT", _plain),
    "number": ("DOUBLE", _plain),
    "boolean": ("BOOLEAN", _plain),
    "date": ("DATE", _plain),
    "timestamp": ("TIMESTAMP", _plain),
}


class OneRow:
    """Computes a SELECT over `batch` for one row; for one thread.

    Args:
        con: A connection with the tables that the SELECT reads.
        columns: Column -> its type.
        batch: What `batch.batch` says.
        select: The SELECT; it reads `batch` unqualified.

    Raises:
        duckdb.Error: It cannot be prepared.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, columns: Mapping[str, str], batch: str, select: str) -> None:
        self._con = con
        self._columns = [(name, *KINDS[word]) for name, word in columns.items()]
        given = [f"${place}::{kind} AS {identifier(name)}" for place, (name, kind, _) in enumerate(self._columns, 1)]
        row = f"SELECT {literal(batch)} AS batch, 1::BIGINT AS row_id, {', '.join(given)}"
        con.execute(f"PREPARE one_row AS WITH batch AS ({row}) {select}")

    def of(self, rows: Mapping[str, Sequence[Any]]) -> list[Any]:
        """What the SELECT gives for the first value of each column.

        Raises:
            UnicodeEncodeError: A string is no text.
            duckdb.Error: It cannot be computed with these values.
        """
        # The types are exactly those that were prepared: with others, DuckDB plans the statement again.
        values = [
            f"CAST({'NULL' if rows[name][0] is None else written(rows[name][0])} AS {kind})"
            for name, kind, written in self._columns
        ]
        return self._con.execute(f"EXECUTE one_row({', '.join(values)})").fetchall()
