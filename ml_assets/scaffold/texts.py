"""What texts stand for: a missing value, a number as people write it, a date in another order than a cast reads."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from ml_assets.lake.sql import identifier, literal

# What exporters and people write where there is nothing; '' is a text of spaces only.
MISSING = (
    *("", "?", "-", "--", ".", "...", "NA", "N/A", "n/a", "na", "#N/A", "#NA", "<NA>", "NaN", "nan", "-nan"),
    *("NULL", "null", "(null)", "None", "nil", "\\N", "#NULL!", "#DIV/0!", "#VALUE!"),
)
CURRENCIES = "$€£¥"
SIGN = r"\s*[-+]?\s*"
# Thousands and decimals: as in 1,343.64, as in 1.343,64, as in 1 343,64.
WRITTEN = {
    "point": (r"((\d{1,3}(,\d{3})+|\d+)(\.\d*)?|\.\d+)", [",", ""]),
    "comma": (r"(\d{1,3}(\.\d{3})+|\d+)(,\d+)?", [".", "", ",", "."]),
    "space": ("(\\d{1,3}([ \u00a0\u202f]\\d{3})+|\\d+)([.,]\\d+)?", [" ", "", "\u00a0", "", "\u202f", "", ",", "."]),
}
DAYS = (
    *("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m.%d.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *("%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%Y-%b-%d"),
    *("%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%d-%b-%y", "%b-%d-%y"),
)
TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S")
MOSTLY = 0.8  # of a column's texts must be read so
MOST_OF_A_TARGET = 0.1  # of all rows; a word that more have is a class
LOOKED_AT = 300  # different texts of a column


@dataclass(frozen=True)
class Style:
    """How a column's texts are written.

    Args:
        word: number, date or timestamp.
        expression: SQL that reads a text, with {c} for the column.
        share: Of the texts that are not missing, how many it reads.
        example: One of them.
        unread: Some that it does not read.
        doubt: SQL of another way that reads all of them just as well; empty where there is none.
    """

    word: str
    expression: str
    share: float
    example: str
    unread: tuple[str, ...] = ()
    doubt: str = ""

    def sql(self, column: str) -> str:
        """The expression over a column, given as SQL."""
        return self.expression.replace("{c}", column)


def style_of(con: duckdb.DuckDBPyConnection, relation: str, name: str) -> Style | None:
    """How most texts of a column are written, if they are numbers or dates that a cast does not read."""
    c = identifier(name)
    sql = f"SELECT {c}, count(*) FROM {relation} WHERE {c} IS NOT NULL GROUP BY 1 ORDER BY hash({c}) LIMIT {LOOKED_AT}"
    seen = dict(con.execute(sql).fetchall())
    if not any(map(str.isdigit, "".join(seen))):
        return None
    known = {**_numbers(con, seen), **_dates(con, seen)}
    found = sorted(known, key=lambda expression: -known[expression][1])
    if not found or known[found[0]][1] < MOSTLY / 2:  # the shares of a few texts are rough
        return None
    best = found[0]
    read = best.replace("{c}", c)
    reads, share, example, unread = con.execute(
        f"""SELECT count({read}), count({read}) / nullif(count({c}), 0), min({c}) FILTER ({read} IS NOT NULL),
        list(DISTINCT {c}) FILTER ({read} IS NULL AND {c} IS NOT NULL) FROM {relation}"""
    ).fetchall()[0]
    if not reads or share < MOSTLY:
        return None
    others = [one for one in found[1:] if known[one] == known[best] and known[one][1] == 1]
    doubt = others[0] if others else ""
    return Style(known[best][0], best, float(share), str(example), tuple(sorted(unread or ())[:5]), doubt)


def _numbers(con: duckdb.DuckDBPyConnection, seen: Mapping[str, int]) -> dict[str, tuple[str, float]]:
    """SQL -> (word, share of texts) of the ways to write numbers; numbers that begin with a zero are codes."""
    marks = {mark for text in seen for mark in text if mark in CURRENCIES + "%"}
    if len(marks) > 1 or any(text.isdigit() and text[0] == "0" and len(text) > 1 for text in seen):
        return {}
    mark = "".join(marks)
    around = rf"[{mark}]?" if mark else ""
    found: dict[str, tuple[str, float]] = {}
    for pattern, replaced in WRITTEN.values():
        share = _share(con, "regexp_full_match(v, $pattern)", seen, pattern=_whole(pattern, around))
        if not share:
            continue
        pairs = [*([mark, ""] if mark else []), *replaced]
        used = "".join(seen)
        sql = "{c}"
        for old, new in zip(pairs[::2], pairs[1::2], strict=True):
            if old in used:
                sql = f"replace({sql}, {literal(old)}, {literal(new)})"
        found.setdefault(f"TRY_CAST({sql} AS DOUBLE)", ("number", share))
    return found


def _whole(pattern: str, around: str) -> str:
    return rf"{SIGN}{around}{SIGN}({pattern})\s*{around}\s*"


def _dates(con: duckdb.DuckDBPyConnection, seen: Mapping[str, int]) -> dict[str, tuple[str, float]]:
    """SQL -> (word, share of texts) of the ways to write days and times; of two as good, month before day."""
    found = {}
    for day in DAYS:
        for time in TIMES:
            written = day + time
            if not any(_python_reads(text, written) for text in list(seen)[:5]):
                continue  # a query for each of all the ways would take long
            share = _share(con, "try_strptime(v, $written) IS NOT NULL", seen, written=written)
            if share and not _is_short_year(day, seen):
                read = f"try_strptime({{c}}, {literal(written)})"
                found[read if time else f"CAST({read} AS DATE)"] = ("timestamp" if time else "date", share)
    return found


def _python_reads(text: str, written: str) -> bool:
    try:
        dt.datetime.strptime(text.strip(), written)
    except ValueError:
        return False
    return True


def _is_short_year(day: str, seen: Mapping[str, int]) -> bool:
    """Does the format read four digits as a year of the first century, or two as another's?"""
    long = sum(any(len(part) == 4 for part in _digits(text)) for text in seen) > len(seen) / 2
    return long != ("%Y" in day)


def _digits(text: str) -> list[str]:
    return "".join(mark if mark.isdigit() else " " for mark in text).split()


def _share(con: duckdb.DuckDBPyConnection, predicate: str, seen: Mapping[str, int], **values: Any) -> float:
    """Share of rows whose text fits."""
    sql = f"""SELECT sum(n) FILTER ({predicate}) / sum(n)
        FROM (SELECT unnest($texts::VARCHAR[]) AS v, unnest($counts::BIGINT[]) AS n)"""
    texts: Sequence[str] = list(seen)
    return float(con.execute(sql, {"texts": texts, "counts": list(seen.values()), **values}).fetchall()[0][0] or 0)


def missing_words(
    con: duckdb.DuckDBPyConnection, relation: str, names: Sequence[str], target: str = ""
) -> tuple[dict[str, dict[str, int]], dict[str, list[str]]]:
    """Column -> word for a missing value -> rows; and column -> such words that are values there.

    NA among codes of two capital letters is a country or a state; what more than a tenth of all targets are is a class.
    """
    found: dict[str, dict[str, int]] = {}
    rows = 0
    for start in range(0, len(names), 50):
        part = list(names[start : start + 50])
        counted = ", ".join(
            f"histogram(trim({identifier(name)})) FILTER (list_contains($words, trim({identifier(name)})))"
            for name in part
        )
        cells = con.execute(f"SELECT count(*), {counted} FROM {relation}", {"words": list(MISSING)}).fetchall()[0]
        rows = cells[0]
        found |= {name: dict(words) for name, words in zip(part, cells[1:], strict=True) if words}
    kept = {
        name: [
            word
            for word, count in words.items()
            if (word == "NA" and _has_codes(con, relation, name))
            or (word != "" and name.strip().lower() == target and count > MOST_OF_A_TARGET * rows)
        ]
        for name, words in found.items()
    }
    missing = {name: {w: n for w, n in words.items() if w not in kept[name]} for name, words in found.items()}
    return {name: words for name, words in missing.items() if words}, {n: words for n, words in kept.items() if words}


def _has_codes(con: duckdb.DuckDBPyConnection, relation: str, name: str) -> bool:
    """Are ten or more different texts, and nearly all, of two capital letters?"""
    c = identifier(name)
    sql = f"""SELECT count(DISTINCT {c}) FILTER (fits) >= 10 AND avg(fits::INT) > 0.95
        FROM (SELECT {c}, regexp_full_match(trim({c}), '[A-Z]{{2}}') AS fits FROM {relation} WHERE {c} IS NOT NULL)"""
    return bool(con.execute(sql).fetchall()[0][0])
