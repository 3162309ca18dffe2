"""Files of a source: which there are, which batch each belongs to, and how their columns are read as declared.

Belongs here: the folder, the file formats, and typing. Does not: rules over values (validation.py), the lake's tables.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from ml_assets.errors import SourceError
from ml_assets.spec import OWN_COLUMNS, Column, Outcomes, PipelineSpec, Source
from ml_assets.store.formats import SQL_TYPES, format_of, reader, without_words
from ml_assets.store.paths import Paths
from ml_assets.store.remote import Entry, Place, is_url
from ml_assets.store.sql import identifier

WAITS = "Waits for its turn: other new files are read first."
HIVE = re.compile(r"([^/=]+)=[^/]*/")


@dataclass(frozen=True)
class Arrival:
    """One file that was seen.

    Args:
        path: Absolute path, or URL.
        batch: The batch that its name says; None where the pattern does not match.
        sha256: Of its bytes; None while it has not settled.
        size_bytes: Size.
        modified_at: Last change, UTC.
        seen_at: When it was first seen with this size and time of change, UTC.
        status: ready, settling, unmatched, refused, duplicate, or vanished.
        error: Why it is not ready.
    """

    path: str
    batch: str | None
    sha256: str | None
    size_bytes: int
    modified_at: dt.datetime
    seen_at: dt.datetime
    status: str = "ready"
    error: str | None = None

    @property
    def version(self) -> str:
        """Tells one content of the file from another without reading it."""
        return f"{self.size_bytes} {self.modified_at.isoformat()}"

    def is_as(self, other: Arrival | Entry | None) -> bool:
        """Has the other the same size and time of change, so that its bytes need not be read again?"""
        return other is not None and (self.size_bytes, self.modified_at) == (other.size_bytes, other.modified_at)


@dataclass(frozen=True)
class Delivery:
    """Files of one batch as they lie on this machine, in order.

    Args:
        local: Their paths here.
        paths: Where they lie: absolute paths or URLs.
        names: Their paths below the source folder.
        sha256: Of their bytes.
    """

    local: list[str]
    paths: list[str]
    names: list[str]
    sha256: list[str]

    @property
    def hive_columns(self) -> set[str]:
        """Columns that folders such as `year=2013` below the source folder stand for."""
        return {column for name in self.names for column in HIVE.findall(name)}

    def parts(self) -> Iterator[Delivery]:
        """Each file alone."""
        for one in zip(self.local, self.paths, self.names, self.sha256, strict=True):
            yield Delivery(*([value] for value in one))


def place_of(spec: PipelineSpec, paths: Paths, source: Source | Outcomes | None = None) -> Place:
    """Where the pipeline's files arrive, by default those of its batches."""
    source = source or spec.source
    address = source.path.rstrip("/") if is_url(source.path) else str(paths.resolve(source.path))
    return Place(address, paths.spool / spec.name, source.options)


def scan(
    source: Source | Outcomes, place: Place, known: Mapping[str, Arrival], deadline: float | None = None
) -> list[Arrival]:
    """Every file in the folder and every known one that has vanished, ordered by path.

    Reads the bytes only of files that are new or whose size or time has changed.

    Args:
        known: Files as they were last seen, by path.
        deadline: Time (`time.monotonic`) after which no further file is read; those left are settling.

    Raises:
        SourceError: The folder does not exist or cannot be listed.
    """
    pattern, marker, now = re.compile(source.pattern), source.marker, _now()
    entries = sorted(place.entries(deep="/" in source.pattern), key=lambda entry: entry.path)
    complete = {_folder(entry.relative) for entry in entries if entry.relative.rpartition("/")[2] == marker}
    found: dict[str, Arrival] = {}
    for entry in entries:
        if any(part.startswith("_") for part in entry.relative.split("/")):
            continue  # as in Hadoop and Spark, such names are not data
        earlier = known.get(entry.path)
        match = pattern.fullmatch(entry.relative)
        arrival = Arrival(
            path=entry.path,
            batch=_batch(match, source) if match else None,
            sha256=None,
            size_bytes=entry.size_bytes,
            modified_at=entry.modified_at,
            seen_at=earlier.seen_at if earlier and earlier.is_as(entry) else now,
        )
        if not match:
            reason = f"The name does not match {type(source).__name__.lower()}.pattern {pattern.pattern!r}."
            found[entry.path] = replace(arrival, status="unmatched", error=reason)
            continue
        wait = _unsettled(source, arrival, now, _folder(entry.relative) in complete)
        is_read = earlier is not None and earlier.sha256 is not None and arrival.is_as(earlier)
        if wait is None and not is_read and is_past(deadline):
            wait = WAITS
        if wait:
            found[entry.path] = replace(arrival, status="settling", error=wait)
        else:
            found[entry.path] = _hashed(place, entry, arrival, earlier)
    gone = [
        replace(arrival, status="vanished", error=None)
        for path, arrival in known.items()
        if path not in found and arrival.status in ("ready", "vanished")
    ]
    return sorted([*found.values(), *gone], key=lambda arrival: arrival.path)


def _batch(match: re.Match[str], source: Source | Outcomes) -> str | None:
    groups = match.groupdict()
    if isinstance(source, Outcomes):
        return groups.get("batch")
    return groups["batch"] if "batch" in groups else "-".join(value or "" for value in groups.values())


def _folder(relative: str) -> str:
    return relative.rpartition("/")[0]


def _unsettled(source: Source | Outcomes, arrival: Arrival, now: dt.datetime, is_marked: bool) -> str | None:
    """Why a file is not taken yet. Its own clock may be ahead of ours, so the time that we have seen it counts too."""
    if source.marker:
        return None if is_marked else f"There is no {source.marker} beside it yet."
    settled_for = max((now - arrival.modified_at).total_seconds(), (now - arrival.seen_at).total_seconds())
    return None if settled_for >= source.settle_seconds else f"Changed less than {source.settle_seconds:g} s ago."


def _hashed(place: Place, entry: Entry, arrival: Arrival, earlier: Arrival | None) -> Arrival:
    if earlier and earlier.sha256 and arrival.is_as(earlier):
        return replace(arrival, sha256=earlier.sha256)
    try:
        with place.local(entry.path, entry.relative, arrival.version).open("rb") as file:
            return replace(arrival, sha256=hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        text = str(SourceError("The file cannot be read.", found=str(error), where={"file": entry.path}))
        return replace(arrival, status="refused", error=text)


def is_past(deadline: float | None) -> bool:
    """Is it later than this time of `time.monotonic`?"""
    return deadline is not None and time.monotonic() > deadline


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def deliver(place: Place, arrivals: Sequence[Arrival]) -> Delivery:
    """The files of one batch on this machine; remote ones are copied.

    Raises:
        SourceError: A file cannot be copied.
    """
    names = [relative(place, arrival.path) for arrival in arrivals]
    local = [place.local(a.path, name, a.version) for a, name in zip(arrivals, names, strict=True)]
    return Delivery(
        local=[str(path) for path in local],
        paths=[arrival.path for arrival in arrivals],
        names=names,
        sha256=[str(arrival.sha256) for arrival in arrivals],
    )


def relative(place: Place, path: str) -> str:
    """A file's path below the source folder."""
    return path.removeprefix(place.address).lstrip("/")


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
    taken = [name for name in found if name.lower() in OWN_COLUMNS]
    if taken and spec.tolerate.new_columns == "keep":
        raise SourceError(
            f"The file has a column {taken[0]!r}, a name that ml_assets uses itself ({', '.join(OWN_COLUMNS)}).",
            where={**where, "column": taken[0]},
            fix="Rename the column in the file, or set tolerate.new_columns: ignore.",
        )


def unreadable(error: duckdb.Error, delivery: Delivery) -> SourceError:
    """The error for files whose bytes DuckDB cannot read."""
    return SourceError(
        "The file cannot be read.",
        found=str(error).splitlines()[0],
        where={"file": ", ".join(delivery.paths)},
        fix="Deliver the file again; the batch is taken up when the file changes.",
    )


def open_rows(
    con: duckdb.DuckDBPyConnection, spec: PipelineSpec, batch: str, delivery: Delivery
) -> tuple[str, dict[str, str]]:
    """The rows of files, typed as declared, as a relation of the connection.

    Text is parsed now, into the temporary table `_raw_rows`. Parquet is read when the relation is: a copy of a large
    batch would have to go to disk.

    Returns:
        Name of the relation, and column name -> SQL type as found.

    Raises:
        SourceError: A file cannot be read, or its columns are not as declared.
    """
    found = header(con, spec, delivery)
    for name, value in _variables(spec, found, delivery, batch).items():
        con.execute(f"SET VARIABLE {name} = $value", {"value": value})
    kind, name = ("VIEW", "_raw_view") if format_of(delivery.local) == "parquet" else ("TABLE", "_raw_rows")
    try:
        con.execute(f"CREATE OR REPLACE TEMP {kind} {name} AS {typed_select(spec, found, delivery)}")
    except duckdb.Error as error:
        raise unreadable(error, delivery) from error
    return name, found


def read_through(con: duckdb.DuckDBPyConnection, spec: PipelineSpec, batch: str, delivery: Delivery) -> None:
    """Read files to their end, and keep nothing.

    Raises:
        SourceError: They cannot be read.
    """
    name, _ = open_rows(con, spec, batch, delivery)
    try:
        con.execute(f"SELECT sum(hash(r)::HUGEINT) FROM {name} r").fetchall()
    except duckdb.Error as error:
        raise unreadable(error, delivery) from error


def joined(parts: Sequence[Delivery]) -> Delivery:
    """Deliveries as one."""
    return Delivery(
        local=[path for part in parts for path in part.local],
        paths=[path for part in parts for path in part.paths],
        names=[name for part in parts for name in part.names],
        sha256=[sha256 for part in parts for sha256 in part.sha256],
    )


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
        value, doubt = _typed(column, identifier(source), found[source])
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
    if bad:  # a list for each row would be dear; hardly any row needs one
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
        FROM {without_words(source, _lists_of_words(spec, found))}"""


def missing_words(spec: PipelineSpec, found: Mapping[str, str]) -> dict[str, list[str]]:
    """Column as found -> the texts in it that stand for a missing value, of columns that hold text and have such."""
    own = {column.name.lower(): column.missing for column in spec.columns if column.missing is not None}
    words = {name: own.get(name.lower(), spec.source.missing) for name, kind in found.items() if kind == "VARCHAR"}
    return {name: listed for name, listed in words.items() if listed}


def _lists_of_words(spec: PipelineSpec, found: Mapping[str, str]) -> dict[str, str]:
    names = missing_words(spec, found)
    return {name: f"getvariable('raw_missing')[{place + 1}]" for place, name in enumerate(names)}


def _variables(
    spec: PipelineSpec, found: Mapping[str, str], delivery: Delivery, batch: str
) -> dict[str, str | list[str] | list[list[str]]]:
    """What `typed_select` reads: the batch, its files, and the columns whose values may be unreadable."""
    names = {name.lower(): name for name in found}
    doubtful = [
        column.name
        for column in spec.columns
        if column.name.lower() in names and _typed(column, "x", found[names[column.name.lower()]])[1]
    ]
    return {
        "raw_batch": batch,
        "raw_files": delivery.local,
        "raw_names": delivery.names,
        "raw_sha256": delivery.sha256,
        "raw_doubtful": doubtful,
        "raw_missing": list(missing_words(spec, found).values()),
    }


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
