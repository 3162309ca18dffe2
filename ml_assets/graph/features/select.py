"""The pipeline's own SELECT statements, and the views that they run against.

A SELECT sees the views that it is given and nothing else (lake/sql_guard.py); columns that it may not see are not in
the views. So a leak is an error before a row is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import duckdb

from ml_assets.errors import FeatureError, did_you_mean
from ml_assets.lake import sql_guard
from ml_assets.lake.lake import Lake
from ml_assets.lake.sql import identifier, identifiers
from ml_assets.ml.feature_types import NO_FEATURES, feature_type
from ml_assets.spec import PipelineSpec
from ml_assets.tables import outcomes
from ml_assets.tables.data import VALIDATED_DATA, lookup, validated_batches


def visible_columns(spec: PipelineSpec) -> list[str]:
    """Columns of the view `batch`: all declared ones without the outcomes, and row_id."""
    return ["batch", "row_id", *(column.name for column in spec.columns if not column.outcome)]


def open_batch(lake: Lake, spec: PipelineSpec, batch: str) -> None:
    """Point the view `batch` and one view per lookup at this batch."""
    lake.con.execute("SET VARIABLE batch = ?", [batch])
    views = {"batch": (identifiers(visible_columns(spec)), VALIDATED_DATA)}
    views |= {name: ("* EXCLUDE (batch)", lookup(name)) for name in spec.lookups}
    for name, (columns, of) in views.items():
        rows = lake.relation(of.of(spec.name), [batch])
        lake.con.execute(f"CREATE OR REPLACE TEMP VIEW {identifier(name)} AS SELECT {columns} FROM {rows}")


def open_history(lake: Lake, spec: PipelineSpec, batch: str | None, most: int) -> list[str]:
    """Point the view `history` at validated rows (outcomes and target included) of at most `most` earlier batches.

    Outcomes are those that are known now; what came later changes no lookup that is made already.

    Args:
        lake: The lake.
        spec: The pipeline.
        batch: The batch; None for the next one, before which all others are.
        most: Number of batches.

    Returns:
        The batches in it.
    """
    earlier = validated_batches(lake, spec.name, batch, most)
    validated = lake.relation(VALIDATED_DATA.of(spec.name), earlier)
    rows = outcomes.known_sql(spec.name, outcomes.late(lake, spec), rows=validated)
    lake.con.execute(
        f"""CREATE OR REPLACE TEMP VIEW history AS
        SELECT *, ({spec.target.sql}\n) AS {identifier(spec.target.name)} FROM {rows}"""
    )
    return earlier


def run_select(lake: Lake, sql: str, into: str, file: str, views: Iterable[str], hidden: Iterable[str]) -> None:
    """Run a SELECT into a temporary table, with the constant column `batch` in front.

    Args:
        lake: Its connection has the views.
        sql: The SELECT.
        into: Name of the temporary table.
        file: File name for errors.
        views: What it may see.
        hidden: Outcome columns: naming one is a leak, and the error says so.

    Raises:
        FeatureError: The SELECT fails, or reaches for more than the views.
    """
    check_select(sql, {name: lake.columns(identifier(name)) for name in views}, file, hidden)
    try:
        whole = sql_guard.embedded(sql, "SELECT getvariable('batch')::VARCHAR AS batch, *")
        lake.con.execute(f"CREATE OR REPLACE TEMP TABLE {identifier(into)} AS {whole}")
    except duckdb.Error as error:
        raise _explained(error, file, hidden) from error


def check_select(
    sql: str, views: Mapping[str, Mapping[str, str]], file: str, hidden: Iterable[str]
) -> dict[str, str] | None:
    """Refuse a SELECT that cannot be bound to the views (name -> column -> SQL type), or that reaches for more.

    Returns:
        Column name -> SQL type of its result; None where only running it can tell.

    Raises:
        FeatureError: It is refused.
    """
    sql_guard.check_select(sql, views, file)
    try:
        return sql_guard.bind(sql, views)
    except duckdb.Error as error:
        raise _explained(error, file, hidden) from error


def _explained(error: duckdb.Error, file: str, hidden: Iterable[str]) -> FeatureError:
    found = sql_guard.SelectProblem.of(error)
    for name in hidden:
        if name.lower() == (found.column or "").lower():
            return leaks(file, name, file=file, line=found.line)
    return FeatureError(
        f"{file} fails.",
        found=found,
        where={"file": file, "line": found.line, "column": found.column},
        fix="The views `batch`, the lookups and the references are what it sees.",
    )


def leaks(name: str, column: str, **where: object) -> FeatureError:
    """The error of features that name an outcome column or the target."""
    return FeatureError(
        f"{name} names the outcome column {column!r}, which is known only after the event: that would leak.",
        where={**where, "column": column},
        fix="Use it in a lookup over earlier batches, or drop `outcome: true` if it is known before.",
    )


def check_rows(lake: Lake, made: str, file: str) -> None:
    """Refuse features that are not exactly one row per validated row.

    Raises:
        FeatureError: Rows are dropped, doubled, or not of the batch; or there is no row_id.
    """
    check_row_id(lake.columns(made), file)
    # A fingerprint takes a fiftieth of the time that the joins take, which are there to say what is wrong.
    given, wanted = (
        lake.con.execute(f"SELECT count(row_id), count(*), sum(hash(row_id)::HUGEINT) FROM {relation}").fetchall()
        for relation in (identifier(made), "batch")
    )
    if given == wanted:
        return
    dropped, doubled, foreign = lake.con.execute(
        f"""
        SELECT (SELECT count(*) FROM batch ANTI JOIN {identifier(made)} USING (row_id)),
               (SELECT count(*) - count(DISTINCT row_id) FROM {identifier(made)}),
               (SELECT count(*) FROM {identifier(made)} ANTI JOIN batch USING (row_id))
        """
    ).fetchall()[0]
    for rows, what, fix in (
        (doubled, "doubles", "A join matches more than one row: make its key unique, or aggregate first."),
        (dropped, "drops", "Use left joins and no filter: every validated row needs its features."),
        (foreign, "invents", "row_id must come from `batch` unchanged."),
    ):
        if rows:
            raise FeatureError(
                f"{file} {what} rows; it must give exactly one per validated row.",
                found=f"{rows:,} rows",
                where={"file": file},
                fix=fix,
            )


def check_row_id(columns: Iterable[str], file: str) -> None:
    """Refuse features without row_id, by the names of their columns."""
    if "row_id" not in columns:
        raise FeatureError(
            f"{file} must give row_id.", where={"file": file}, fix="Take row_id from `batch`, unchanged."
        )


def feature_types(columns: Mapping[str, str], file: str) -> dict[str, str]:
    """Feature name -> number | category, from the SQL types of the SELECT's columns.

    Raises:
        FeatureError: A column of a type that no estimator takes, or no feature at all.
    """
    found = {}
    for name, sql_type in columns.items():
        if name in ("batch", "row_id"):
            continue
        if name.lower() in NO_FEATURES:
            raise FeatureError(
                f"A feature cannot be called {name!r}: a training set has a column of that name.",
                where={"file": file, "column": name},
                fix=f"Give it another name: AS {name}_",
            )
        kind = feature_type(sql_type)
        if kind is None:
            raise FeatureError(
                f"The feature {name!r} is a {sql_type}; features are numbers, booleans or text.",
                where={"file": file, "column": name},
                fix="Turn it into numbers, such as the hour of a timestamp.",
            )
        found[name] = kind
    if not found:
        raise FeatureError(f"{file} gives no feature beside row_id.", where={"file": file})
    return found


def check_key(lake: Lake, made: str, key: list[str], file: str) -> None:
    """Refuse a lookup that has two rows for one key: it would double rows of the features.

    Raises:
        FeatureError: A key column is missing, or a key is not unique.
    """
    check_key_columns(lake.columns(made), key, file)
    repeated = lake.con.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM {identifier(made)} GROUP BY {identifiers(key)} HAVING count(*) > 1)"
    ).fetchall()[0][0]
    if repeated:
        raise FeatureError(
            f"{file} has more than one row for a key ({', '.join(key)}).",
            found=f"{repeated:,} keys",
            where={"file": file},
            fix=f"GROUP BY {', '.join(key)}.",
        )


def check_key_columns(columns: Iterable[str], key: Iterable[str], file: str) -> None:
    """Refuse a lookup that does not select its key, by the names of its columns."""
    for name in key:
        if name not in columns:
            raise FeatureError(
                f"{file} does not select its key {name!r}; {did_you_mean(name, columns)}",
                where={"file": file, "column": name},
            )
