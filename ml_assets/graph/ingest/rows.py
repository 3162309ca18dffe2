"""The rows of a batch's files, typed as declared.

Belongs here: columns and types of files. Does not: which files there are (files.py), rules over values (validation.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import duckdb

from ml_assets.errors import SourceError
from ml_assets.graph.ingest.files import HIVE, Delivery
from ml_assets.lake.sql import identifier
from ml_assets.sources import casts, csv_faults
from ml_assets.sources.formats import FORMATS, SQL_TYPES, format_of, reader, without_words
from ml_assets.spec import OWN_COLUMNS, PipelineSpec

# Undeclared columns that raw_data holds in all; beyond some hundreds every later batch takes several times as long.
MOST_NEW_COLUMNS = 200
SHOWN = 20


def header(con: duckdb.DuckDBPyConnection, spec: PipelineSpec, delivery: Delivery) -> dict[str, str]:
    """Column name -> SQL type as found in the files of one batch, checked against the declared columns.

    Raises:
        SourceError: A file is empty, cannot be read, lacks a declared column, or has one that it must not have.
    """
    for local, path in zip(delivery.local, delivery.paths, strict=True):
        if Path(local).stat().st_size == 0:
            raise SourceError("The file is empty (0 bytes).", where={"file": path}, fix="Deliver the file again.")
    try:
        source = reader(delivery.local, as_text=True, hive=bool(delivery.hive_columns))
        rows = con.execute(f"DESCRIBE SELECT * FROM {source}", {"files": delivery.local}).fetchall()
    except duckdb.Error as error:
        raise unreadable(error, delivery) from error
    above = {column for path in delivery.local for column in HIVE.findall(path)} - delivery.hive_columns
    ours = {column for column in delivery.hive_columns if column in OWN_COLUMNS}  # batch=2013-04 names the batch
    found = {
        name: "VARCHAR" if kind == "JSON" else kind
        for name, kind, *_ in rows
        if name != "__file" and name not in above | ours
    }
    _check_header(spec, found, delivery)
    return found


def _check_header(spec: PipelineSpec, found: Mapping[str, str], delivery: Delivery) -> None:
    where = {"file": ", ".join(delivery.paths)}
    declared = {column.name.lower() for column in spec.columns}
    present = [name.lower() for name in found]
    missing = [column.name for column in spec.columns if column.name.lower() not in present]
    if missing and (spec.tolerate.missing_columns == "error" or len(missing) == len(spec.columns)):
        fault = _fault(delivery)
        raise SourceError(
            "The file cannot be read."
            if fault
            else f"The file lacks {len(missing)} of {len(spec.columns)} declared columns: {', '.join(missing)}.",
            found=fault.found if fault else f"columns {shortened(found)}",
            where={**where, "column": missing[0]},
            fix=fault.fix if fault else "Deliver the file with all columns, or set tolerate.missing_columns: null.",
        )
    new = [name for name in found if name.lower() not in declared]
    if new and spec.tolerate.new_columns == "error":
        raise SourceError(
            f"The file has columns that are not declared: {shortened(new)}.",
            where={**where, "column": new[0]},
            fix="Declare them under columns, or set tolerate.new_columns: keep.",
        )
    if spec.tolerate.new_columns == "keep":
        _check_new(spec, new, where)


def _check_new(spec: PipelineSpec, new: Sequence[str], where: Mapping[str, object]) -> None:
    """Refuse undeclared columns that cannot be kept: too many, or of a name that something else has."""
    if len(new) > MOST_NEW_COLUMNS:
        raise too_many_columns(len(new), new, where)
    lower = [name.lower() for name in new]
    reasons = {
        **dict.fromkeys((*OWN_COLUMNS, "__file"), "is a name that ml_assets uses itself"),
        spec.target.name: "is the name of the target",
        **{name: "differs from another in capitals only" for name in lower if lower.count(name) > 1},
        **{name: "cannot be the name of a column" for name in lower if not name or "\0" in name},
    }
    for name in new:
        if name.lower() in reasons:
            raise SourceError(
                f"The file has a column that is not declared and cannot be kept: {name!r} {reasons[name.lower()]}.",
                where={**where, "column": name},
                fix="Rename the column in the file, or set tolerate.new_columns: ignore.",
            )


def too_many_columns(count: int, new: Sequence[str], where: Mapping[str, object]) -> SourceError:
    """The error for more undeclared columns than raw_data may hold; each makes every later batch slower."""
    return SourceError(
        f"raw_data holds at most {MOST_NEW_COLUMNS} undeclared columns; with this file it would hold {count:,}.",
        found=f"new: {shortened(new)}",
        where=where,
        fix="Declare the columns that matter and set tolerate.new_columns: ignore.",
    )


def shortened(names: Iterable[str]) -> str:
    """Names as a list, of which a long one is cut."""
    listed = list(names)
    more = f" and {len(listed) - SHOWN:,} more" if len(listed) > SHOWN else ""
    return ", ".join(name[:80] for name in listed[:SHOWN]) + more


def _fault(delivery: Delivery) -> csv_faults.CsvFault | None:
    is_csv = format_of(delivery.local) == "csv"
    return next((fault for path in delivery.local if is_csv and (fault := csv_faults.find_fault(path))), None)


def unreadable(error: duckdb.Error, delivery: Delivery) -> SourceError:
    """The error for files that DuckDB cannot read: what is wrong, and in which line."""
    again = "Deliver the file again; the batch is picked up when the file changes."
    fault = _fault(delivery) or csv_faults.explain(error, delivery.local[0], again)
    where = {"file": ", ".join(delivery.paths)}
    return SourceError("The file cannot be read.", found=fault.found, where=where, fix=fault.fix)


def open_rows(
    con: duckdb.DuckDBPyConnection, spec: PipelineSpec, batch: str, delivery: Delivery
) -> tuple[str, dict[str, str]]:
    """The rows of files, typed as declared, as a relation of the connection.

    Text is parsed now, into the temporary table `_raw_rows`. Files with types of their own are read when the relation
    is: a copy of a large batch would have to go to disk.

    Returns:
        Name of the relation, and column name -> SQL type as found.

    Raises:
        SourceError: A file cannot be read, or its columns are not as declared.
    """
    found = header(con, spec, delivery)
    for name, value in _variables(spec, found, delivery, batch).items():
        con.execute(f"SET VARIABLE {name} = $value", {"value": value})
    kind, name = ("VIEW", "_raw_view") if FORMATS[format_of(delivery.local)].is_typed else ("TABLE", "_raw_rows")
    try:
        con.execute(f"CREATE OR REPLACE TEMP {kind} {name} AS {typed_select(spec, found, delivery)}")
    except duckdb.Error as error:
        raise unreadable(error, delivery) from error
    return name, found


def read_through(
    con: duckdb.DuckDBPyConnection, spec: PipelineSpec, batch: str, delivery: Delivery
) -> tuple[str, dict[str, str]]:
    """Read files to their end; returns what `open_rows` does.

    Raises:
        SourceError: They cannot be read.
    """
    name, found = open_rows(con, spec, batch, delivery)
    try:
        con.execute(f"SELECT sum(hash(r)::HUGEINT) FROM {name} r").fetchall()
    except duckdb.Error as error:
        raise unreadable(error, delivery) from error
    return name, found


def typed_select(spec: PipelineSpec, found: Mapping[str, str], delivery: Delivery) -> str:
    """SELECT over a batch's files: row_id, the declared columns as declared, others as text, where each row is from.

    A value that cannot be read as its column's type becomes NULL and is kept, as `column: 'value'`, in the list
    `unreadable`. NaN becomes NULL. It reads the connection's variables that `open_rows` sets.
    """
    names = {name.lower(): name for name in found}
    selected: list[str] = []
    doubts: list[str] = []
    bad: list[str] = []
    for column in spec.columns:
        source = names.get(column.name.lower())
        if source is None:
            selected.append(f"CAST(NULL AS {SQL_TYPES[column.type]}) AS {identifier(column.name)}")
            continue
        value, doubt = casts.typed(identifier(source), _kind(found[source], delivery), column.type)
        selected.append(f"{value} AS {identifier(column.name)}")
        if doubt:
            doubts.append(f"({doubt})")
            text = f"CAST({identifier(source)} AS VARCHAR)"
            bad.append(
                f"CASE WHEN {doubt} THEN concat(getvariable('raw_doubtful')[{len(bad) + 1}], ': ''', {text}, '''') END"
            )
    declared = {column.name.lower() for column in spec.columns}
    if spec.tolerate.new_columns == "keep":
        selected += [
            f"CAST({identifier(name)} AS VARCHAR) AS {identifier(name)}"
            for name in found
            if name.lower() not in declared
        ]
    unreadable = "CAST([] AS VARCHAR[])"
    if bad:  # a list for each row would be expensive; hardly any row needs one
        listed = f"CAST(list_filter([{', '.join(bad)}], lambda x: x IS NOT NULL) AS VARCHAR[])"
        unreadable = f"CASE WHEN {' OR '.join(doubts)} THEN {listed} ELSE {unreadable} END"
    file = "1" if len(delivery.local) == 1 else "list_position(getvariable('raw_files'), __file)"
    names_in_file = [name for name in found if name not in delivery.hive_columns]
    source = reader(
        delivery.local,
        as_text=True,
        hive=bool(delivery.hive_columns),
        names=names_in_file,
        files="getvariable('raw_files')",
    )
    return f"""
        SELECT getvariable('raw_batch')::VARCHAR AS batch, row_number() OVER () AS row_id, {", ".join(selected)},
            getvariable('raw_names')[{file}] AS source_file, getvariable('raw_sha256')[{file}] AS source_sha256,
            {unreadable} AS unreadable
        FROM {without_words(source, _lists_of_words(spec, found, delivery))}"""


def missing_words(spec: PipelineSpec, found: Mapping[str, str], delivery: Delivery) -> dict[str, list[str]]:
    """Column as found -> the texts in it that stand for a missing value, of columns that hold text and have such."""
    own = {column.name.lower(): column.missing for column in spec.columns if column.missing is not None}
    texts = [name for name, kind in found.items() if _kind(kind, delivery) == casts.TEXT]
    words = {name: own.get(name.lower(), spec.source.missing) for name in texts}
    return {name: listed for name, listed in words.items() if listed}


def _lists_of_words(spec: PipelineSpec, found: Mapping[str, str], delivery: Delivery) -> dict[str, str]:
    names = missing_words(spec, found, delivery)
    return {name: f"getvariable('raw_missing')[{place + 1}]" for place, name in enumerate(names)}


def _kind(found: str, delivery: Delivery) -> str:
    """The SQL type that a column is read with: text formats give text, whatever their values look like."""
    return found if FORMATS[format_of(delivery.local)].is_typed else casts.TEXT


def _variables(
    spec: PipelineSpec, found: Mapping[str, str], delivery: Delivery, batch: str
) -> dict[str, str | list[str] | list[list[str]]]:
    """What `typed_select` reads: the batch, its files, and the columns whose values may be unreadable."""
    names = {name.lower(): name for name in found}
    doubtful = [
        column.name
        for column in spec.columns
        if (source := names.get(column.name.lower()))
        and casts.typed("x", _kind(found[source], delivery), column.type)[1]
    ]
    return {
        "raw_batch": batch,
        "raw_files": delivery.local,
        "raw_names": delivery.names,
        "raw_sha256": delivery.sha256,
        "raw_doubtful": doubtful,
        "raw_missing": list(missing_words(spec, found, delivery).values()),
    }
