"""What the columns of a table hold: one row of statistics a column, one SQL statement for twenty columns.

Counts, min, max, mean and std are of all rows; quantiles, values and histogram are of a
sample, the same one each time, once there are more than `SAMPLE_ROWS` rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from ml_assets.lake.lake import Lake, Put
from ml_assets.lake.sql import identifier
from ml_assets.tables.table import Column, Table

STATISTICS = Table(
    "statistics",
    "What a column of a batch's validated rows holds.",
    (
        Column("batch", "VARCHAR", "The batch."),
        Column("column_name", "VARCHAR", "The column."),
        Column("sql_type", "VARCHAR", "Its SQL type."),
        Column("row_count", "BIGINT", "Rows."),
        Column("null_count", "BIGINT", "Rows without a value; NaN counts as none."),
        Column("distinct_count", "BIGINT", "Different values, approximately: some 15 % off at worst."),
        Column("min_value", "VARCHAR", "Smallest value."),
        Column("max_value", "VARCHAR", "Greatest value."),
        Column("mean", "DOUBLE", "Mean of a number; share of true of a boolean."),
        Column("std", "DOUBLE", "Standard deviation of a number."),
        Column("sampled_rows", "BIGINT", "Rows that quantiles, values and histogram are of."),
        Column("quantiles", "DOUBLE[]", "Of a number, at 1, 5, 10, 25, 50, 75, 90, 95 and 99 %."),
        Column("top_values", 'STRUCT("value" VARCHAR, count BIGINT)[]', "Most frequent values, up to 20."),
        Column("histogram", "STRUCT(low DOUBLE, high DOUBLE, count BIGINT)[]", "Of a number: 20 bins of equal width."),
    ),
    written_by="asset validated_data",
    key=("batch", "column_name"),
)
PROBABILITIES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
SAMPLE_ROWS = 100_000
TOP = 20
BINS = 20
LONGEST_TEXT = 200
AT_ONCE = 20  # columns in one statement; planning costs the square of it
WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
INTEGERS = (*WHOLE, *(f"U{name}" for name in WHOLE))
FLOATS = ("FLOAT", "DOUBLE")


def read(lake: Lake, pipeline: str) -> list[dict[str, Any]]:
    """Statistics of all batches, by batch; none where there are none yet."""
    return STATISTICS.query(lake, pipeline, "SELECT * FROM {t} ORDER BY batch")


def put(lake: Lake, pipeline: str, rows: Sequence[Mapping[str, Any]], batch: str) -> Put:
    """The write of a batch's statistics."""
    return STATISTICS.put(pipeline, lake.values(STATISTICS.types, rows), batch)


def column_statistics(
    con: duckdb.DuckDBPyConnection,
    relation: str,
    columns: Mapping[str, str],
    *,
    row: str = "row_id",
    sample_rows: int = SAMPLE_ROWS,
) -> list[dict[str, Any]]:
    """Statistics of the columns of a relation.

    NaN counts as missing. Mean and std have ten digits, and leave out infinities and what is beyond 1e150; of booleans,
    mean is the share of true. Quantiles and histogram are of numbers; a histogram has 20 bins of equal width between
    the 1 % and the 99 % quantile, of which the first and the last reach out to the smallest and greatest value. The
    most frequent values, up to 20 with their counts, are of text and booleans, and of numbers that have at most 20.
    Texts are cut to 200 characters. Lists, structs and blobs are only counted.

    Args:
        con: Connection that sees the relation.
        relation: SQL of a table, view or subquery; it is scanned more than once, so it should be computed already.
        columns: Column name -> SQL type.
        row: Column that tells rows apart; its hash draws the sample.
        sample_rows: Rows that the sample has, within a percent or so, once the relation has more.

    Returns:
        A row of `STATISTICS` for each column, in their order, without `batch`.
    """
    names = list(columns)
    found = []
    for start in range(0, len(names), AT_ONCE):
        part = {name: columns[name] for name in names[start : start + AT_ONCE]}
        found += _of_part(con, relation, part, row, sample_rows)
    return found


def _of_part(
    con: duckdb.DuckDBPyConnection, relation: str, columns: Mapping[str, str], row: str, sample_rows: int
) -> list[dict[str, Any]]:
    numbers = [n for n, kind in enumerate(columns.values()) if _is_number(kind)]
    texts = [n for n, kind in enumerate(columns.values()) if _is_text(kind)]
    cleaned = ", ".join(f"{_cleaned(identifier(name), kind)} AS c{n}" for n, (name, kind) in enumerate(columns.items()))
    all_rows = ", ".join(f"{_of_all_rows(f'c{n}', kind)} AS a{n}" for n, kind in enumerate(columns.values()))
    spreads = "".join(f"{_spread(f'c{n}')} AS s{n}, " for n in numbers)
    bins = "".join(f"{_bins(f'c{n}', f's{n}')} AS b{n}, " for n in numbers)
    share = (
        f"(SELECT CASE WHEN count(*) > {int(sample_rows)} THEN {int(sample_rows)} / count(*) ELSE 2 END FROM source)"
    )
    sql = f"""
        WITH source AS (SELECT {identifier(row)} AS row_, {cleaned} FROM {relation}),
        sample AS MATERIALIZED (
            SELECT * EXCLUDE (row_) FROM source WHERE hash(row_) / 18446744073709551616.0 < {share}),
        whole AS (SELECT {all_rows} FROM source),
        spread AS MATERIALIZED (SELECT {spreads} count(*) AS sampled_rows FROM sample),
        bins AS (SELECT {bins} 0 AS none_ FROM sample, spread)
        SELECT *{"".join(f", {_most_frequent(f'c{n}')} AS t{n}" for n in texts)} FROM whole, spread, bins"""
    cursor = con.execute(sql)
    found = dict(zip([column[0] for column in cursor.description or ()], cursor.fetchall()[0], strict=True))
    rows = []
    for n, (name, kind) in enumerate(columns.items()):
        row_ = {"column_name": name, "sql_type": kind, **found[f"a{n}"], "sampled_rows": found["sampled_rows"]}
        row_ |= {"mean": _rounded(row_["mean"]), "std": _rounded(row_["std"])}
        if n in numbers:
            spread, counts = found[f"s{n}"], found[f"b{n}"]
            row_ |= {"quantiles": spread["quantiles"], "top_values": _ranked(counts["few"])}
            row_ |= {"histogram": _histogram(spread, counts["bins"])}
        else:
            row_ |= {"quantiles": None, "top_values": found.get(f"t{n}"), "histogram": None}
        rows.append(row_)
    return rows


def _is_number(kind: str) -> bool:
    return kind in INTEGERS or kind in FLOATS or kind.startswith("DECIMAL")


def _is_text(kind: str) -> bool:
    return kind in ("VARCHAR", "BOOLEAN") or kind.startswith("ENUM")


def _cleaned(column: str, kind: str) -> str:
    if kind in FLOATS:
        return f"nullif({column}, 'nan'::{kind})"
    return f"CAST({column} AS VARCHAR)" if kind.startswith("ENUM") else column


def _of_all_rows(c: str, kind: str) -> str:
    """A struct of aggregates of one column."""
    low = high = distinct = mean = std = "NULL"
    if _is_number(kind) or _is_text(kind) or kind.startswith(("DATE", "TIME")):
        distinct = f"approx_count_distinct({c})"
        low, high = (f"left(CAST({function}({c}) AS VARCHAR), {LONGEST_TEXT})" for function in ("min", "max"))
    if _is_number(kind):
        # Beyond 1e150 the variance is no double any more, and DuckDB raises. CASE costs a third of FILTER.
        value = f"CASE WHEN {c} BETWEEN -1e150 AND 1e150 THEN {c}::DOUBLE END" if kind in FLOATS else f"{c}::DOUBLE"
        mean, std = f"avg({value})", f"stddev_samp({value})"
    elif kind == "BOOLEAN":
        mean, std = f"avg({c}::INTEGER)", f"stddev_samp({c}::INTEGER)"
    return f"""{{'row_count': count(*), 'null_count': count(*) - count({c}),
        'distinct_count': CAST({distinct} AS BIGINT), 'min_value': CAST({low} AS VARCHAR),
        'max_value': CAST({high} AS VARCHAR), 'mean': CAST({mean} AS DOUBLE), 'std': CAST({std} AS DOUBLE)}}"""


def _spread(c: str) -> str:
    """A struct of what the bins and the list of values need to know of a column of numbers."""
    finite = f"FILTER (isfinite({c}::DOUBLE))"
    return f"""{{'quantiles': quantile_cont({c}::DOUBLE, {list(PROBABILITIES)}) {finite},
        'low': min({c}::DOUBLE) {finite}, 'high': max({c}::DOUBLE) {finite},
        'distinct': count(DISTINCT {c}) {finite}}}"""


def _bins(c: str, spread: str) -> str:
    """Maps bin -> count and, where there are few, value -> count of a column of numbers."""
    first, last = f"{spread}.quantiles[1]", f"{spread}.quantiles[-1]"
    position = (
        f"CASE WHEN {last} > {first} THEN floor(({c}::DOUBLE - {first}) / ({last} - {first}) * {BINS}) ELSE 0 END"
    )
    return f"""{{
        'bins': histogram(least(greatest({position}, 0), {BINS - 1})::UTINYINT) FILTER (isfinite({c}::DOUBLE)),
        'few': histogram({c}) FILTER ({spread}.distinct <= {TOP} AND isfinite({c}::DOUBLE))}}"""


def _most_frequent(c: str) -> str:
    """The most frequent values of a column of text or booleans."""
    return f"""(
        SELECT list({{'value': left("value", {LONGEST_TEXT}), 'count': count}} ORDER BY count DESC, "value")
        FROM (SELECT CAST({c} AS VARCHAR) AS "value", count(*) AS count FROM sample WHERE {c} IS NOT NULL
              GROUP BY {c} ORDER BY count DESC, {c} LIMIT {TOP}))"""


def _rounded(value: float | None) -> float | None:
    """Ten digits: threads sum in any order, and equal data should give equal rows."""
    return None if value is None else float(f"{value:.10g}")


def _ranked(counts: Mapping[Any, int] | None) -> list[dict[str, Any]] | None:
    """Value -> count as a list, most frequent first."""
    if counts is None:
        return None
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"value": str(value), "count": count} for value, count in ordered]


def _histogram(spread: Mapping[str, Any], bins: Mapping[int, int] | None) -> list[dict[str, Any]] | None:
    """Bin -> count as a list of low, high, count, with empty bins."""
    if bins is None:
        return None
    first, last = spread["quantiles"][0], spread["quantiles"][-1]
    number = BINS if last > first else 1
    edges = [spread["low"], *(first + (last - first) * n / number for n in range(1, number)), spread["high"]]
    return [{"low": edges[n], "high": edges[n + 1], "count": bins.get(n, 0)} for n in range(number)]
