"""File formats that DuckDB reads, how paths reach it, and the SQL types of the YAML's type words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_assets.errors import SourceError
from ml_assets.lake.sql import identifier

SQL_TYPES = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}
# Files of one batch may differ in the order of their columns; a column that one lacks is NULL there.
COMMON = "filename = '__file', union_by_name = true, hive_partitioning = {hive}, hive_types_autocast = false"
# DuckDB takes a path for a pattern: unescaped, report[1].csv would read the rows of report1.csv.
EXACTLY = "list_transform({files}, lambda path: regexp_replace(path, '([*?\\[])', '[\\1]', 'g'))"
READERS = {
    "parquet": f"read_parquet({EXACTLY}, {COMMON})",
    # Left to itself, DuckDB takes rows that begin with # for comments and drops them.
    "csv": f"read_csv({EXACTLY}, header = true, comment = '', {COMMON}{{as_text}})",
    "json": f"read_json({EXACTLY}, {COMMON}{{as_text}})",
}
SUFFIXES = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}


def format_of(paths: Sequence[str]) -> str:
    """parquet, csv or json, told by the suffixes.

    Raises:
        SourceError: A suffix that cannot be read, or two formats at once.
    """
    suffixes = {Path(path.removesuffix(".gz").removesuffix(".zst")).suffix.lower() for path in paths}
    unknown = sorted(suffix for suffix in suffixes if suffix not in SUFFIXES)
    if unknown:
        raise SourceError(
            "The file's format is not known.",
            found=unknown[0] or "no suffix",
            where={"file": paths[0]},
            fix="Known: " + ", ".join(sorted(SUFFIXES)),
        )
    formats = sorted({SUFFIXES[suffix] for suffix in suffixes})
    if len(formats) > 1:
        raise SourceError("The files of one batch have different formats.", found=", ".join(formats))
    return formats[0]


def reader(
    paths: Sequence[str], as_text: bool = False, hive: bool = False, names: Sequence[str] = (), files: str = "$files"
) -> str:
    """The DuckDB table function for these files; `__file` names each row's file.

    Args:
        paths: Files of one format.
        as_text: Leave the values of a text format untyped.
        hive: Folders such as `year=2013` are columns.
        names: The columns, where they are known; without them JSON lines as text are read for their columns only.
        files: SQL of the list of files, by default the parameter $files.

    Raises:
        SourceError: A suffix that cannot be read, or two formats at once.
    """
    text = {
        "parquet": "",
        "csv": ", all_varchar = true",
        # Types are told from a sample; a value that does not fit would end the whole file, not its row.
        "json": f", columns = {{{', '.join(f'{identifier(name)}: VARCHAR' for name in names)}}}"
        if names
        else ", sample_size = -1, maximum_depth = 1",
    }
    kind = format_of(paths)
    return READERS[kind].format(files=files, as_text=text[kind] if as_text else "", hive=str(hive).lower())


def without_words(relation: str, words: Mapping[str, str]) -> str:
    """A relation in which some texts of some columns are NULL; spaces around a value do not count.

    Args:
        relation: SQL of the relation.
        words: Column -> SQL of the list of texts that stand for a missing value.
    """
    if not words:
        return relation
    quoted = {identifier(name): sql for name, sql in words.items()}
    values = (f"CASE WHEN NOT list_contains({sql}, trim({c})) THEN {c} END AS {c}" for c, sql in quoted.items())
    return f"(SELECT * REPLACE ({', '.join(values)}) FROM {relation})"
