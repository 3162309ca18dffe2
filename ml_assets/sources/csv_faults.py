"""What is wrong with a CSV file that cannot be read as declared, and in which line; DuckDB often says only the line.

A file is read for this only after it has failed.
"""

from __future__ import annotations

import codecs
import csv
import io
from dataclasses import dataclass

from ml_assets.sources.formats import format_of
from ml_assets.sources.packed import CHUNK, opened

BOMS = {b"\xff\xfe\x00\x00": "UTF-32", b"\x00\x00\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
SEPARATORS = ",;\t|"


@dataclass(frozen=True)
class CsvFault:
    """One fault.

    Args:
        found: What is wrong, with the number of the line.
        fix: The next step.
    """

    found: str
    fix: str


def explain(error: Exception, path: str, fix: str) -> CsvFault:
    """Why DuckDB cannot read a file: the fault of a CSV, else what DuckDB says of the data.

    Args:
        error: DuckDB's.
        path: The file here.
        fix: The next step where no fault names one.
    """
    fault = find_fault(path) if format_of([path]) == "csv" else None
    told = str(error).partition("\n\n")[0].splitlines()  # what follows are DuckDB's options and our SQL
    return fault or CsvFault(" ".join(line.strip()[:200] for line in told[:4]), fix)


def find_fault(path: str) -> CsvFault | None:
    """The first fault of a CSV file, or None where there is none that can be told.

    Args:
        path: The file here; .gz and .zst are unpacked.
    """
    try:
        return _of_encoding(path) or _of_rows(path) or _of_line_ends(path)
    except (OSError, EOFError):
        return None


def _of_encoding(path: str) -> CsvFault | None:
    with opened(path) as file:
        start = file.read(400)
    encoding = next((name for bom, name in BOMS.items() if start.startswith(bom)), None)
    if encoding is None and b"\0" in start and start.count(b"\0") >= len(start) * 0.4:
        encoding = "UTF-16LE" if start[1:2] == b"\0" else "UTF-16BE"
    if encoding:
        return _not_utf8(f"it is {encoding}, not UTF-8 (its first bytes say so)", encoding)
    decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
    with opened(path) as file:
        while chunk := file.read(CHUNK):
            try:
                line += decoder.decode(chunk).count("\n")
            except UnicodeDecodeError as error:
                data = error.object
                return _undecodable(data[error.start : error.start + 1000], line + data[: error.start].count(b"\n"))
    return None


def _undecodable(data: bytes, line: int) -> CsvFault:
    """What has no letters between 0x80 and 0x9f is Latin-1; Windows has its dashes and quotes there."""
    is_windows = any(0x80 <= code < 0xA0 for code in data)
    encoding, name = ("WINDOWS-1252", "Windows-1252") if is_windows else ("ISO-8859-1", "Latin-1 (ISO-8859-1)")
    return _not_utf8(
        f"line {line:,} holds the byte 0x{data[0]:02x}, which is not UTF-8; probably it is {name}", encoding
    )


def _not_utf8(found: str, encoding: str) -> CsvFault:
    return CsvFault(found, f"Deliver it as UTF-8: iconv -f {encoding} -t UTF-8 OLD.csv > NEW.csv")


def _of_rows(path: str) -> CsvFault | None:
    """An open quote, or a line with another number of columns than the header."""
    with opened(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        first = text.readline(CHUNK)
        text.seek(0)
        separator = max(SEPARATORS, key=first.count)
        rows = csv.reader(text, delimiter=separator, strict=True)
        header, begins = 0, 1
        try:
            for row in rows:
                header = header or len(row)
                if row and len(row) != header:
                    return CsvFault(
                        f"line {begins:,} has {len(row):,} columns, the header has {header:,} "
                        f"(separated by {_shown(separator)})",
                        "Correct the line, or put values that hold the separator in double quotes.",
                    )
                begins = rows.line_num + 1
        except csv.Error as error:
            return CsvFault(
                f"a quoted value that begins in line {begins:,} does not end as it should ({error})",
                "Close the quote; a quote inside a quoted value is written twice.",
            )
    return None


def _of_line_ends(path: str) -> CsvFault | None:
    windows = both = 0
    with opened(path) as file:
        while chunk := file.read(CHUNK):
            windows, both = windows + chunk.count(b"\r\n"), both + chunk.count(b"\n")
    if 0 < windows < both:
        found = f"{windows:,} lines end with CR LF and {both - windows:,} with LF alone"
        return CsvFault(found, "End all lines alike: tr -d '\\r' < OLD.csv > NEW.csv")
    return None


def _shown(separator: str) -> str:
    return "a tab" if separator == "\t" else repr(separator)
