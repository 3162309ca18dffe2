"""File formats that DuckDB reads, how paths reach it, and the SQL types of the YAML's type words.

A new format is one more `Format` in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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


def _json_as_text(names: Sequence[str]) -> str:
    """Types are told from a sample; a value that does not fit would end the whole file, not its row."""
    if names:
        return f", columns = {{{', '.join(f'{identifier(name)}: VARCHAR' for name in names)}}}"
    return ", sample_size = -1, maximum_depth = 1"


@dataclass(frozen=True)
class Format:
    """A file format that DuckDB reads.

    Args:
        suffixes: Of its files; .gz or .zst may follow.
        function: DuckDB's table function.
        options: Of the function, in every case.
        as_text: Its options that leave the values of these columns untyped; None where a file has types of its own.
    """

    suffixes: tuple[str, ...]
    function: str
    options: str = ""
    as_text: Callable[[Sequence[str]], str] | None = None

    @property
    def is_typed(self) -> bool:
        """Have the values the file's own types?"""
        return self.as_text is None


FORMATS: Mapping[str, Format] = {
    "parquet": Format((".parquet",), "read_parquet"),
    # Left to itself, DuckDB takes rows that begin with # for comments and drops them.
    "csv": Format((".csv", ".tsv"), "read_csv", "header = true, comment = ''", lambda _: ", all_varchar = true"),
    "json": Format((".json", ".jsonl", ".ndjson"), "read_json", as_text=_json_as_text),
}
SUFFIXES = {suffix: name for name, one in FORMATS.items() for suffix in one.suffixes}


def format_of(paths: Sequence[str]) -> str:
    """The name in `FORMATS`, told by the suffixes.

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
    made = FORMATS[format_of(paths)]
    text = made.as_text(names) if as_text and made.as_text else ""
    own = f"{made.options}, " if made.options else ""
    common = COMMON.format(hive=str(hive).lower())
    return f"{made.function}({EXACTLY.format(files=files)}, {own}{common}{text})"


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
