"""Tables in Python: rows of the lake as pandas DataFrames, and what Python made as a table that the lake can store.

No value changes in silence: nullable integers stay integers, categories become what they stand for, NaN in a DataFrame
is a missing value, and a column of mixed types is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import duckdb

from ml_assets.errors import LakeError
from ml_assets.lake.sql import identifier

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# DuckLake widens signed integers only.
SIGNED = {"UTINYINT": "SMALLINT", "USMALLINT": "INTEGER", "UINTEGER": "BIGINT", "UBIGINT": "BIGINT"}


def to_pandas(con: duckdb.DuckDBPyConnection, sql: str, complete: Collection[str] = ()) -> pd.DataFrame:
    """Rows of a SELECT as a DataFrame whose dtypes follow from the SQL types alone, never from the values.

    Integers and booleans that may be missing are `Int64` and `boolean`, dates are datetimes, decimals are floats.

    Args:
        con: Connection.
        sql: The SELECT.
        complete: Columns without missing values: their integers and booleans are NumPy's `int64` and `bool`.
    """
    import pandas as pd
    import pyarrow as pa

    nullable = {
        pa.int8(): pd.Int8Dtype(),
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    described = con.execute(f"DESCRIBE {sql}").fetchall()
    decimals = [identifier(name) for name, kind, *_ in described if kind.startswith("DECIMAL")]
    casts = ", ".join(f"{name}::DOUBLE AS {name}" for name in decimals)
    rows: pa.Table = con.execute(f"SELECT *{f' REPLACE ({casts})' if casts else ''} FROM ({sql})").to_arrow_table()
    frame: pd.DataFrame = rows.to_pandas(types_mapper=nullable.get, date_as_object=False)
    plain = {
        field.name: field.type.to_pandas_dtype()
        for field in rows.schema
        if field.name in complete and field.type in nullable
    }
    return frame.astype(plain) if plain else frame


def store(con: duckdb.DuckDBPyConnection, into: str, data: pd.DataFrame | pa.Table | duckdb.DuckDBPyRelation) -> None:
    """Make a temporary table of a DataFrame, an Arrow table, or a relation of another connection.

    Named index levels of a DataFrame become columns; an index without a name is dropped.

    Raises:
        LakeError: A column has no name of its own, or holds values that are not of one type.
    """
    import pandas as pd
    import pyarrow as pa

    is_frame = isinstance(data, pd.DataFrame)
    rows: Any = data
    if is_frame:
        rows = _arrow(rows)
    elif not isinstance(data, pa.Table):
        rows = rows.to_arrow_reader()
    con.register("python_rows", rows)
    try:
        described = con.execute("DESCRIBE python_rows").fetchall()
        casts = []
        for name, kind, *_ in described:
            column = identifier(name)
            if kind in SIGNED:
                casts.append(f"{column}::{SIGNED[kind]} AS {column}")
            elif is_frame and kind in ("FLOAT", "DOUBLE"):
                casts.append(f"nullif({column}, 'nan'::{kind}) AS {column}")
        replaced = f" REPLACE ({', '.join(casts)})" if casts else ""
        con.execute(f"CREATE OR REPLACE TEMP TABLE {identifier(into)} AS SELECT *{replaced} FROM python_rows")
    except duckdb.Error as error:
        raise LakeError("The table cannot be stored.", found=" ".join(str(error).split())) from error
    finally:
        con.unregister("python_rows")


def _arrow(frame: pd.DataFrame) -> pa.Table:
    import pyarrow as pa

    named = [name for name in frame.index.names if name is not None]
    try:
        if named:
            frame = frame.reset_index(named)
        _check_names(list(frame.columns))
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise LakeError(
            "A column of the DataFrame cannot be stored: its values are not of one type.",
            found="; ".join(str(part) for part in error.args),
            fix="Give the column one type, for example with .astype(str) or pd.to_numeric.",
        ) from error
    for number, field in enumerate(table.schema):
        # A column of dtype object is text: without a value, Arrow would know no type and DuckDB would take an integer.
        kind = pa.string() if pa.types.is_null(field.type) else field.type
        kind = pa.float32() if pa.types.is_float16(kind) else kind
        if kind != field.type:
            table = table.set_column(number, field.name, table.column(number).cast(kind))
    return table


def _check_names(names: list[Any]) -> None:
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or not name or name.lower() in seen:
            raise LakeError(
                "Every column needs a name of its own, as text; names ignore case.",
                found=f"{name!r} among {', '.join(map(repr, names))}",
                fix="Rename the columns.",
            )
        seen.add(name.lower())
