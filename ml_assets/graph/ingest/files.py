"""Files of a source: which there are, which batch each belongs to, and how their columns are read as declared.

Belongs here: the folder, the file formats, and typing. Does not: rules over values (validation.py), the lake's tables.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from ml_assets.errors import SourceError
from ml_assets.spec import Column, PipelineSpec
from ml_assets.store.formats import SQL_TYPES, reader
from ml_assets.store.sql import identifier


@dataclass(frozen=True)
class Arrival:
    """One file that was seen.

    Args:
        path: Absolute path.
        batch: The batch that its name says; None where the pattern does not match.
        sha256: Of its bytes; None while it has not settled.
        size_bytes: Size.
        modified_at: Last change, UTC.
        status: ready, settling, unmatched, refused, or vanished.
        error: Why it is not ready.
    """

    path: str
    batch: str | None
    sha256: str | None
    size_bytes: int
    modified_at: dt.datetime
    status: str = "ready"
    error: str | None = None

    def same_stat(self, other: Arrival | None) -> bool:
        """Does the other have the same size and time of change, so that its bytes need not be read again?"""
        return other is not None and (self.size_bytes, self.modified_at) == (other.size_bytes, other.modified_at)


def scan(spec: PipelineSpec, folder: Path, known: Mapping[str, Arrival]) -> list[Arrival]:
    """Every file in the source folder and every known one that has vanished, ordered by path.

    Reads the bytes only of files that are new or whose size or time has changed.

    Raises:
        SourceError: The folder does not exist.
    """
    if not folder.is_dir():
        raise SourceError(
            "The source folder does not exist.",
            where={"pipeline": spec.name, "folder": folder},
            fix="Create the folder, or correct source.path in defs.yaml.",
        )
    pattern = re.compile(spec.source.pattern)
    found: dict[str, Arrival] = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not entry.is_file() or entry.name.startswith("."):
            continue
        arrival = _arrival(entry, pattern, spec.source.settle_seconds)
        earlier = known.get(entry.path)
        if arrival.status == "ready":
            sha256 = (
                earlier.sha256 if earlier and earlier.sha256 and arrival.same_stat(earlier) else _sha256(entry.path)
            )
            arrival = replace(arrival, sha256=sha256)
        found[entry.path] = arrival
    gone = [replace(arrival, status="vanished", error=None) for path, arrival in known.items() if path not in found]
    return sorted([*found.values(), *gone], key=lambda arrival: arrival.path)


def of_path(path: Path) -> Arrival:
    """A file's size and time of change, and nothing that its name or bytes say."""
    stat = path.stat()
    changed = dt.datetime.fromtimestamp(stat.st_mtime, dt.UTC).replace(tzinfo=None)
    return Arrival(path=str(path), batch=None, sha256=None, size_bytes=stat.st_size, modified_at=changed)


def _arrival(entry: os.DirEntry[str], pattern: re.Pattern[str], settle_seconds: float) -> Arrival:
    match = pattern.fullmatch(entry.name)
    arrival = replace(of_path(Path(entry.path)), batch=match["batch"] if match else None)
    if not match:
        return replace(
            arrival, status="unmatched", error=f"The name does not match source.pattern {pattern.pattern!r}."
        )
    age = dt.datetime.now(dt.UTC).replace(tzinfo=None) - arrival.modified_at
    if age.total_seconds() < settle_seconds:
        return replace(arrival, status="settling", error=f"Changed less than {settle_seconds:g} s ago.")
    return arrival


def _sha256(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def header(con: duckdb.DuckDBPyConnection, spec: PipelineSpec, paths: Sequence[str]) -> dict[str, str]:
    """Column name -> SQL type as found in the files of one batch, checked against the declared columns.

    Raises:
        SourceError: A file is empty, cannot be read, lacks a declared column, or has one that it must not have.
    """
    for path in paths:
        if Path(path).stat().st_size == 0:
            raise SourceError("The file is empty (0 bytes).", where={"file": path}, fix="Deliver the file again.")
    try:
        rows = con.execute(f"DESCRIBE SELECT * FROM {reader(paths, as_text=True)}", {"files": list(paths)}).fetchall()
    except duckdb.Error as error:
        raise unreadable(error, paths) from error
    found = {name: kind for name, kind, *_ in rows if name != "__file"}
    _check_header(spec, found, paths)
    return found


def _check_header(spec: PipelineSpec, found: Mapping[str, str], paths: Sequence[str]) -> None:
    where = {"file": ", ".join(paths)}
    declared = {column.name.lower() for column in spec.columns}
    present = [name.lower() for name in found]
    missing = [column.name for column in spec.columns if column.name.lower() not in present]
    if missing and spec.tolerate.missing_columns == "error":
        raise SourceError(
            f"The file lacks {len(missing)} of {len(spec.columns)} declared columns: {', '.join(missing)}.",
            found=f"columns {', '.join(found)}",
            where={**where, "column": missing[0]},
            fix="Deliver the file with all columns, or set tolerate.missing_columns: null.",
        )
    new = [name for name in found if name.lower() not in declared]
    if new and spec.tolerate.new_columns == "error":
        raise SourceError(
            f"The file has columns that are not declared: {', '.join(new)}.",
            where={**where, "column": new[0]},
            fix="Declare them under columns, or set tolerate.new_columns: keep.",
        )


def unreadable(error: duckdb.Error, paths: Sequence[str]) -> SourceError:
    """The error for files whose bytes DuckDB cannot read."""
    return SourceError(
        "The file cannot be read.",
        found=str(error).splitlines()[0],
        where={"file": ", ".join(paths)},
        fix="Deliver the file again; the batch is taken up when the file changes.",
    )


def typed_select(spec: PipelineSpec, found: Mapping[str, str], paths: Sequence[str]) -> str:
    """SELECT over a batch's files: row_id, the declared columns as declared, others as text, where each row is from.

    A value that cannot be read as its column's type becomes NULL and is kept, as `column: 'value'`, in the list
    `unreadable`. NaN becomes NULL. Parameters: $files, $batch, $sha256 (list, in the order of the files).
    """
    names = {name.lower(): name for name in found}
    selected: list[str] = []
    bad: list[str] = []
    for column in spec.columns:
        source = names.get(column.name.lower())
        if source is None:
            selected.append(f"CAST(NULL AS {SQL_TYPES[column.type]}) AS {identifier(column.name)}")
            continue
        value, doubt = _typed(column, identifier(source), found[source])
        selected.append(f"{value} AS {identifier(column.name)}")
        if doubt:
            text = f"CAST({identifier(source)} AS VARCHAR)"
            bad.append(f"CASE WHEN {doubt} THEN concat($name_{len(bad)}, ': ''', {text}, '''') END")
    declared = {column.name.lower() for column in spec.columns}
    if spec.tolerate.new_columns == "keep":
        selected += [
            f"CAST({identifier(name)} AS VARCHAR) AS {identifier(name)}"
            for name in found
            if name.lower() not in declared
        ]
    return f"""
        SELECT $batch AS batch, row_number() OVER () AS row_id, {", ".join(selected)},
            parse_filename(__file) AS source_file,
            list_extract($sha256, list_position($files, __file)) AS source_sha256,
            CAST(list_filter([{", ".join(bad)}], lambda x: x IS NOT NULL) AS VARCHAR[]) AS unreadable
        FROM {reader(paths, as_text=True)}"""


def typed_parameters(spec: PipelineSpec, found: Mapping[str, str]) -> dict[str, str]:
    """Names of the columns whose values may be unreadable, as parameters of `typed_select`."""
    names = {name.lower(): name for name in found}
    doubtful = [
        column.name
        for column in spec.columns
        if column.name.lower() in names and _typed(column, "x", found[names[column.name.lower()]])[1]
    ]
    return {f"name_{number}": name for number, name in enumerate(doubtful)}


def _typed(column: Column, source: str, found: str) -> tuple[str, str | None]:
    """SQL of a column's value as declared, and a predicate for values that cannot be read so (None: all can)."""
    kind = SQL_TYPES[column.type]
    whole = found in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
    if column.type == "number":
        if whole or found in ("FLOAT", "DOUBLE") or found.startswith("DECIMAL"):
            return f"nullif(CAST({source} AS DOUBLE), 'nan'::DOUBLE)", None
        value = f"nullif(TRY_CAST({source} AS DOUBLE), 'nan'::DOUBLE)"
        return value, f"{source} IS NOT NULL AND TRY_CAST({source} AS DOUBLE) IS NULL"
    if found == kind or column.type == "string" or (column.type == "integer" and whole):
        return f"CAST({source} AS {kind})", None
    value = f"TRY_CAST({source} AS {kind})"
    doubt = f"{source} IS NOT NULL AND {value} IS NULL"
    if column.type == "integer":
        # A cast rounds 1.7 to 2; such a value is not an integer. A NaN in a floating column is a missing value.
        number = f"TRY_CAST({source} AS DOUBLE)"
        exact = f"{number} = CAST({value} AS DOUBLE)"
        missing = f"isnan({number})" if found in ("FLOAT", "DOUBLE") else "false"
        doubt = f"{source} IS NOT NULL AND NOT {missing} AND ({exact}) IS NOT TRUE"
        value = f"CASE WHEN {exact} THEN {value} END"
    return value, doubt
