"""File formats that DuckDB reads, and the SQL types of the YAML's type words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ml_assets.errors import SourceError

SQL_TYPES = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}
READERS = {
    "parquet": "read_parquet($files, filename = '__file')",
    "csv": "read_csv($files, header = true, filename = '__file'{as_text})",
    "json": "read_json($files, filename = '__file')",
}
SUFFIXES = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}


def reader(paths: Sequence[str], as_text: bool = False) -> str:
    """The DuckDB table function for these files; its parameter is $files, and `__file` names each row's file.

    Args:
        paths: Files of one format.
        as_text: Leave the values of a text format untyped.

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
    return READERS[formats[0]].format(as_text=", all_varchar = true" if as_text else "")
