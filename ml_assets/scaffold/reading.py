"""The rows of files that nobody has described yet, typed as a pipeline would read them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb

from ml_assets.errors import SourceError
from ml_assets.lake.sql import identifier
from ml_assets.scaffold.files import SourceFiles
from ml_assets.scaffold.texts import Style, missing_words, style_of
from ml_assets.sources import casts
from ml_assets.sources.csv_faults import find_fault
from ml_assets.sources.formats import SQL_TYPES, format_of, reader
from ml_assets.sources.packed import opened
from ml_assets.spec import OWN_COLUMNS
from ml_assets.spec.data import unfit_for_requests

ROWS = "rows_"  # the table of all rows: row_id, batch, and the columns as declared
FIRST_ROWS = 1000  # rule out most types before all rows are read
AT_ONCE = 25  # columns in one statement
MOST_FILES_COMPARED = 300
FILES_SEARCHED = 3  # for a fault, to their end
FIRST_BYTES = 1 << 20
WORDS = ("boolean", "integer", "number", "date", "timestamp")


@dataclass(frozen=True)
class ReadTable:
    """What reading gave.

    Args:
        types: Column -> type word of the YAML.
        styles: Text columns of numbers or dates that a cast does not read -> how they are written.
        left_out: Columns that cannot be declared -> why.
        missing: Column -> word that is taken for a missing value -> rows.
        exempt: Column -> such words that are values there.
        partial: Columns that some files lack -> how many do.
    """

    types: dict[str, str]
    styles: dict[str, Style]
    left_out: dict[str, str]
    missing: dict[str, dict[str, int]] = field(default_factory=dict)
    exempt: dict[str, list[str]] = field(default_factory=dict)
    partial: dict[str, int] = field(default_factory=dict)

    @property
    def missing_words(self) -> list[str]:
        return sorted({word for words in self.missing.values() for word in words})


def read(
    con: duckdb.DuckDBPyConnection,
    source: SourceFiles,
    target: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> ReadTable:
    """Read all files into the table `rows_`, typed as a pipeline would read them.

    A column has a type when every one of its values can be read so; numbers that begin with a zero are codes, so text.
    Words for missing values are NULL.

    Args:
        con: Connection.
        source: The files.
        target: The target's column, where a word that many rows have is a class.
        say: Called with what goes on.

    Raises:
        SourceError: A file cannot be read, has no line of names, or has other columns than most.
    """
    paths = list(source.batches)
    partial, expected = _same_table(con, paths, target)
    say(f"Reading {len(paths):,} file{'s' if len(paths) > 1 else ''} ({_megabytes(paths):,.0f} MB) ...")
    found = _load(con, paths)
    if set(found) - expected or _plain(target or "") not in map(_plain, found):
        _refuse_faults(paths[:FILES_SEARCHED])
    left_out = _left_out(found, _plain(target or ""))
    kept = {name: kind for name, kind in found.items() if name not in left_out}
    if not kept or not con.execute("SELECT count(*) FROM found").fetchall()[0][0]:
        raise SourceError("The files have no rows.", found=", ".join(found), where={"folder": source.folder})
    say(f"Looking at {len(kept):,} column{'s' if len(kept) > 1 else ''} ...")
    partial = {name: count for name, count in partial.items() if name in kept}
    made = replace(_understood(con, kept, _plain(target or "")), left_out=left_out, partial=partial)
    if format_of(paths) == "csv":
        _refuse_values_as_names(con, made.types, paths)
    _keep(con, kept, made.types, source)
    return made


def _load(con: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> dict[str, str]:
    """Read the files into the table `found`; returns column -> SQL type.

    As text, like a pipeline reads: DuckDB alone would guess dates that a cast cannot read.

    Raises:
        SourceError: A file cannot be read.
    """
    try:
        described = con.execute(f"DESCRIBE FROM {reader(paths, as_text=True)}", {"files": paths}).fetchall()
        sql = reader(paths, as_text=True, names=[row[0] for row in described if row[0] != "__file"])
        con.execute(f"CREATE TABLE found AS SELECT row_number() OVER () AS __row, * FROM {sql}", {"files": paths})
    except duckdb.Error as error:
        raise _unreadable(con, error, paths) from error
    return {row[0]: row[1] for row in con.execute("DESCRIBE found").fetchall()[1:] if row[0] != "__file"}


def _left_out(found: Mapping[str, str], target: str) -> dict[str, str]:
    """Columns that cannot be declared -> why."""
    left_out = {name: f"{kind} is no type of a column" for name, kind in found.items() if _word(kind) is None}
    unfit = [name for name in found if unfit_for_requests(name) and _plain(name) != target]
    left_out |= dict.fromkeys(unfit, 'its name has a " or a \\, which no request can carry')
    left_out |= {name: "a name that ml_assets uses itself" for name in found if name.lower() in OWN_COLUMNS}
    return left_out | {name: "its name has a line break" for name in found if not name.isprintable()}


def _understood(con: duckdb.DuckDBPyConnection, kept: Mapping[str, str], target: str) -> ReadTable:
    """Types, words for missing values, which become NULL in `found`, and how other texts are written."""
    texts = [name for name, kind in kept.items() if kind == "VARCHAR"]
    types = {name: _word(kind) or "string" for name, kind in kept.items()} | _read_as(con, texts)
    texts = [name for name in texts if types[name] == "string"]
    missing, exempt = missing_words(con, "found", texts, target)
    for name, words in missing.items():
        c = identifier(name)
        con.execute(f"UPDATE found SET {c} = NULL WHERE list_contains($words, trim({c}))", {"words": list(words)})
    types |= _read_as(con, list(missing))
    texts = [name for name in texts if types[name] == "string"]
    styles = {name: style for name in texts if (style := style_of(con, "found", name)) is not None}
    return ReadTable(types, styles, {}, missing, exempt)


def _keep(
    con: duckdb.DuckDBPyConnection, kept: Mapping[str, str], types: Mapping[str, str], source: SourceFiles
) -> None:
    """Turn `found` into `rows_`."""
    read_as = {name: casts.typed(identifier(name), kind, types[name])[0] for name, kind in kept.items()}
    values = ", ".join(f"{value} AS {identifier(name)}" for name, value in read_as.items())
    con.execute(
        f"""CREATE TABLE {ROWS} AS SELECT f.__row AS row_id, m.batch, {values} FROM found f
        JOIN (SELECT unnest($files) AS path, unnest($batches) AS batch) m ON m.path = f.__file ORDER BY f.__row""",
        {"files": list(source.batches), "batches": list(source.batches.values())},
    )
    con.execute("DROP TABLE found")


def _plain(name: str) -> str:
    return name.strip().lower()


def _megabytes(paths: Iterable[str]) -> float:
    return sum(Path(path).stat().st_size for path in paths) / 1e6


def _unreadable(con: duckdb.DuckDBPyConnection, error: duckdb.Error, paths: Sequence[str]) -> SourceError:
    """The error of the first file that cannot be read by itself."""
    for path in paths:
        try:
            con.execute(f"SELECT count(COLUMNS(*)) FROM {reader([path], as_text=True)}", {"files": [path]}).fetchall()
        except duckdb.Error as alone:
            _refuse_faults([path])
            return SourceError(
                "The file cannot be read.",
                found=_first_words(alone),
                where={"file": path},
                fix="Correct it, or leave it out: --source takes a glob, too.",
            )
    return SourceError(
        "The files cannot be read as one table, though each can be by itself.",
        found=_first_words(error),
        where={"folder": Path(paths[0]).parent},
        fix="Give each column one type in all files, or name some of the files with a glob as --source.",
    )


def _first_words(error: duckdb.Error) -> str:
    return " ".join(str(error).split("Possible fixes")[0].split())[:300]


def _same_table(
    con: duckdb.DuckDBPyConnection, paths: Sequence[str], target: str | None
) -> tuple[dict[str, int], set[str]]:
    """Columns that some files lack -> how many do; and the names of all columns.

    Raises:
        SourceError: Files of several tables: they share less than half of their columns with the others.
    """
    step = -(-len(paths) // MOST_FILES_COMPARED)
    looked_at = {_beginning(path): path for path in reversed(paths[::step])}
    _refuse_faults(path for begin, path in looked_at.items() if isinstance(begin, bytes) and b"\0" in begin)
    known = {begin: names for begin, path in looked_at.items() if (names := _columns(con, path)) is not None}
    columns = {path: known[begin] for path in paths[::step] if (begin := _beginning(path)) in known}
    kinds: list[tuple[frozenset[str], list[str]]] = []
    for path, names in sorted(columns.items(), key=lambda item: -len(item[1])):
        alike = next((files for most, files in kinds if len(most & names) >= 0.5 * len(most | names)), None)
        if alike is None:
            kinds.append((names, alike := []))
        alike.append(path)
    if len(kinds) > 1:
        _refuse_faults(files[0] for _, files in kinds)
        raise _several_tables(kinds, target)
    counts = Counter(name for names in columns.values() for name in names)
    return {name: len(columns) - count for name, count in counts.items() if count < len(columns)}, set(counts)


def _refuse_faults(paths: Iterable[str]) -> None:
    """Refuse CSV files with a fault that DuckDB reads over: it takes another separator, or one column.

    Raises:
        SourceError: One has a fault.
    """
    for path in paths:
        fault = find_fault(path) if format_of([path]) == "csv" else None
        if fault:
            raise SourceError("The file cannot be read.", found=fault.found, where={"file": path}, fix=fault.fix)


def _beginning(path: str) -> str | bytes:
    """What is the same for files of the same columns: the first line of a CSV file, else the path itself."""
    if format_of([path]) != "csv":
        return path
    try:
        with opened(path) as file:
            return file.readline(FIRST_BYTES)
    except (OSError, EOFError):
        return path


def _columns(con: duckdb.DuckDBPyConnection, path: str) -> frozenset[str] | None:
    """The names of a file's columns; None where it cannot be read, which is told later."""
    try:
        rows = con.execute(f"DESCRIBE FROM {reader([path], as_text=True)}", {"files": [path]}).fetchall()
    except duckdb.Error:
        return None
    return frozenset(row[0] for row in rows if row[0] != "__file")


def _several_tables(kinds: Sequence[tuple[frozenset[str], list[str]]], target: str | None) -> SourceError:
    shared = frozenset.intersection(*(names for names, _ in kinds))
    lines = []
    for names, files in kinds:
        own = ", ".join(sorted(names - shared)[:6])
        lines.append(f"{Path(min(files)).name} ({len(files)} file{'s' if len(files) > 1 else ''}): {own}")
    fitting = [files for names, files in kinds if target in names]
    chosen = min(fitting[0] if fitting else kinds[0][1])
    start = re.match(r"[A-Za-z]*", Path(chosen).name)
    mine = f"{start[0] if start else ''}*{''.join(Path(chosen).suffixes[-2:])}"
    return SourceError(
        f"The files are {len(kinds)} different tables; a pipeline reads one.",
        found="; ".join(lines),
        where={"folder": Path(chosen).parent},
        fix=f"Name those of one table by a glob, such as --source '{Path(chosen).parent / mine}', or move them apart.",
    )


def _word(kind: str) -> str | None:
    if kind in ("VARCHAR", "TIME", "UUID") or kind.startswith("ENUM"):
        return "string"
    if "INT" in kind and "[" not in kind and "(" not in kind:
        return "integer"
    if kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL"):
        return "number"
    if kind.startswith("TIMESTAMP"):
        return "timestamp"
    return {"BOOLEAN": "boolean", "DATE": "date"}.get(kind)


def _read_as(con: duckdb.DuckDBPyConnection, texts: Sequence[str]) -> dict[str, str]:
    """Text column -> the type word that all of its values can be read as, of those that have one."""
    first = _fitting(con, f"(FROM found LIMIT {FIRST_ROWS})", dict.fromkeys(texts, WORDS), of_none=True)
    fits = _fitting(con, "found", {name: words for name, words in first.items() if words}, of_none=False)
    return {name: words[0] for name, words in fits.items() if words}


def _fitting(
    con: duckdb.DuckDBPyConnection, relation: str, words: Mapping[str, Sequence[str]], of_none: bool
) -> dict[str, list[str]]:
    """Column -> those of the type words that all of its values can be read as; all, or none, where it has no value."""
    names, found = list(words), {}
    for start in range(0, len(names), AT_ONCE):
        part = names[start : start + AT_ONCE]
        tests = (
            f"coalesce(bool_and({_reads(identifier(name), word)}), {of_none})" for name in part for word in words[name]
        )
        holds = iter(con.execute(f"SELECT {', '.join(tests)} FROM {relation}").fetchall()[0])
        for name in part:
            found[name] = [word for word in words[name] if next(holds)]
    return found


def _reads(c: str, word: str) -> str:
    """Can a text be read as this? NULL where there is none. Numbers that begin with a zero are codes."""
    _, doubt = casts.typed(c, casts.TEXT, word)
    only = {
        "boolean": f"lower({c}) IN ('true', 'false')",
        "date": f"length({c}) = 10",
        **dict.fromkeys(("integer", "number", "timestamp"), f"NOT regexp_matches({c}, '^0[0-9]+$')"),
    }
    return f"CASE WHEN {c} IS NOT NULL THEN {only[word]} AND NOT ({doubt or False}) END"


def _refuse_values_as_names(con: duckdb.DuckDBPyConnection, types: Mapping[str, str], paths: Sequence[str]) -> None:
    """Refuse a file without a line of names: what stands there are values like those below.

    All names of numbers are numbers in the range of their columns, or, where there are no numbers, most names are
    values of their columns. 0, 1, 2, ... are names that pandas gives.

    Raises:
        SourceError: It has none.
    """
    names = list(types)
    if names == [str(n) for n in range(len(names))] or names == [str(n + 1) for n in range(len(names))]:
        return
    typed = [name for name in names if types[name] != "string"]
    judged = typed or names
    alike = sum(_is_value(con, name, types[name]) for name in judged)
    if len(judged) < 2 or alike < (len(typed) if typed else 0.6 * len(names)):
        return
    raise SourceError(
        "The first line has values, where the names of the columns should be.",
        found=", ".join(names[:8]) + (", ..." if len(names) > 8 else ""),
        where={"file": paths[0], "line": 1},
        fix=f"Put a line of {len(names)} names first in each file, such as: sed -i '1i name_1,name_2,...' FILE",
    )


def _is_value(con: duckdb.DuckDBPyConnection, name: str, word: str) -> bool:
    """Does a column's name look like one more of its values?"""
    text = re.sub(r"_\d+$", "", name) if word != "string" else name  # a value twice in the line has a number behind it
    c, kind = identifier(name), SQL_TYPES[word]
    if word == "string":
        sql = f"SELECT count(*) > 0 FROM found WHERE trim({c}) = trim($text)"
    elif word in ("integer", "number"):
        sql = f"""SELECT TRY_CAST($text AS DOUBLE) BETWEEN low - (high - low) AND high + (high - low)
            FROM (SELECT min(TRY_CAST({c} AS DOUBLE)) AS low, max(TRY_CAST({c} AS DOUBLE)) AS high FROM found)"""
    else:
        sql = f"SELECT TRY_CAST($text AS {kind}) IS NOT NULL"
    return bool(con.execute(sql, {"text": text}).fetchall()[0][0])
