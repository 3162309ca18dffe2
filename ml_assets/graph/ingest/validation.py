"""Rules: all column constraints, the key and the YAML's SQL rules as one SELECT that lists what each row breaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb

from ml_assets.errors import BatchRefused, SpecError, did_you_mean
from ml_assets.lake import sql_guard
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.sql import identifier, identifiers, table
from ml_assets.sources.formats import SQL_TYPES
from ml_assets.sources.references import load_references
from ml_assets.spec import Column, PipelineSpec
from ml_assets.tables.data import QUARANTINE, RAW_DATA, VALIDATED_DATA, validated_batches

EXAMPLES = 5


@dataclass(frozen=True)
class Rule:
    """One rule over a row.

    Args:
        name: As it stands in `reasons`, such as `distance.min`.
        sql: Predicate; as in a SQL CHECK, NULL passes.
        value: Value of the predicate's parameter, if it has one.
    """

    name: str
    sql: str
    value: Any = None


@dataclass(frozen=True)
class Broken:
    """How often a batch breaks a rule: feeds quarantine metadata, checks and errors alike."""

    rule: str
    rows: int
    examples: list[int]


@dataclass(frozen=True)
class Checked:
    """What the rules found in a batch.

    Args:
        rows: All raw rows.
        quarantined: Rows that break a rule.
        broken: How often each rule is broken, most first.
    """

    rows: int
    quarantined: int
    broken: list[Broken]


def rules(spec: PipelineSpec) -> list[Rule]:
    """Every rule of a pipeline, in the order of the YAML."""
    found = [rule for column in spec.columns for rule in _column_rules(column)]
    if spec.key:
        complete = " AND ".join(f"{identifier(name)} IS NOT NULL" for name in spec.key)
        # The first row of a key is kept: a delivery that repeats rows loses nothing.
        order = f"row_number() OVER (PARTITION BY {identifiers(spec.key)} ORDER BY row_id)"
        found.append(Rule("key.unique", f"NOT ({complete}) OR {order} = 1"))
        if spec.key_batches:
            row = f"struct_pack({', '.join(f'k{n} := {identifier(name)}' for n, name in enumerate(spec.key))})"
            seen = f"{row} IN (SELECT {row} FROM _earlier_keys)"
            found.append(Rule("key.new", f"NOT (({complete}) AND {seen})"))
    return found + [Rule(name, sql) for name, sql in spec.rules.items()]


def _column_rules(column: Column) -> list[Rule]:
    name, quoted = column.name, identifier(column.name)
    found = []
    if not column.nullable:
        found.append(Rule(f"{name}.not_null", f"{quoted} IS NOT NULL"))
    if column.type == "number":
        found.append(Rule(f"{name}.finite", f"isfinite({quoted})"))
    if column.min is not None:
        found.append(Rule(f"{name}.min", f"{quoted} >= $value", column.min))
    if column.max is not None:
        found.append(Rule(f"{name}.max", f"{quoted} <= $value", column.max))
    if column.allowed is not None:
        found.append(Rule(f"{name}.allowed", f"list_contains($value, {quoted})", column.allowed))
    if column.regex is not None:
        found.append(Rule(f"{name}.regex", f"regexp_full_match({quoted}, $value)", column.regex))
    if column.references is not None:
        reference, _, other = column.references.partition(".")
        value = f"TRY_CAST({identifier(other)} AS {SQL_TYPES[column.type]})"
        listed = f"SELECT {value} FROM {identifier(reference)} WHERE {value} IS NOT NULL"
        found.append(Rule(f"{name}.references", f"{quoted} IN ({listed})"))
    return found


def open_references(lake: Lake, spec: PipelineSpec, paths: Paths) -> None:
    """Load the reference tables that columns refer to.

    Raises:
        SourceError: A file cannot be read.
        SpecError: It has no such column.
    """
    wanted = {column.references for column in spec.columns if column.references}
    load_references(lake, spec, paths, sorted({name.partition(".")[0] for name in wanted}))
    for name in sorted(wanted):
        reference, _, other = name.partition(".")
        present = lake.columns(identifier(reference))
        if other.lower() not in [column.lower() for column in present]:
            raise SpecError(
                f"The reference {reference!r} has no column {other!r}; {did_you_mean(other, present)}",
                where={"file": spec.references[reference].path},
                fix="Correct `references` of the column in defs.yaml.",
            )


def open_earlier_keys(lake: Lake, spec: PipelineSpec, batch: str) -> None:
    """Point the view `_earlier_keys` at the keys of the `key_batches` batches before this one."""
    if not spec.key_batches:
        return
    there = lake.exists(VALIDATED_DATA.of(spec.name))
    earlier = validated_batches(lake, spec.name, batch, spec.key_batches) if there else []
    source = lake.relation((VALIDATED_DATA if earlier else RAW_DATA).of(spec.name), earlier)
    lake.con.execute(f"CREATE OR REPLACE TEMP VIEW _earlier_keys AS SELECT {identifiers(spec.key)} FROM {source}")


def checked_select(spec: PipelineSpec, source: str) -> tuple[str, dict[str, Any]]:
    """SELECT of all rows of `source` with the list of `reasons`, and its parameters."""
    cases, kept, values = [], ["len(unreadable) = 0"], {}
    for number, rule in enumerate(rules(spec)):
        sql = rule.sql
        if rule.value is not None:
            sql = sql.replace("$value", f"$value_{number}")
            values[f"value_{number}"] = rule.value
        values[f"rule_{number}"] = rule.name
        cases.append(f"CASE WHEN ({sql}\n) IS FALSE THEN $rule_{number} END")
        kept.append(f"({sql}\n) IS NOT FALSE")
    listed = f"list_filter([{', '.join(cases)}], lambda x: x IS NOT NULL)" if cases else "[]"
    reasons = f"list_concat(list_transform(unreadable, lambda x: concat('type of ', x)), CAST({listed} AS VARCHAR[]))"
    # Lists are expensive: making one for each good row would double the time of the whole check.
    guarded = f"CASE WHEN {' AND '.join(kept)} THEN CAST([] AS VARCHAR[]) ELSE {reasons} END"
    return f"SELECT * EXCLUDE (unreadable), {guarded} AS reasons FROM {source}", values


def check_batch(lake: Lake, spec: PipelineSpec, batch: str) -> Checked:
    """Split the raw rows of a batch into the relations `_valid_batch` and `_broken_batch`, as views.

    Only what is wrong is kept in memory, so the batch may be larger than that.

    Raises:
        BatchRefused: raw_data has no rows of the batch.
    """
    raw = RAW_DATA.of(spec.name)
    rows = lake.count(raw, batch)
    if not rows:
        raise BatchRefused(
            "raw_data has no rows of the batch: its files are empty, or it is not materialized.",
            fix=f"Deliver the files again, or materialize {spec.name}/raw_data for it.",
        )
    open_earlier_keys(lake, spec, batch)
    # `reasons` may stand in a lake of an earlier version, from a file that had such a column.
    columns = [column for column in lake.columns(table(raw)) if column.lower() != "reasons"]
    source = f"(SELECT {identifiers(columns)} FROM {lake.relation(raw, [batch])})"
    sql, values = checked_select(spec, source)
    lake.con.execute(
        f"CREATE OR REPLACE TEMP TABLE _broken AS SELECT row_id, reasons FROM ({sql}) WHERE len(reasons) > 0", values
    )
    quarantined = int(lake.con.execute("SELECT count(*) FROM _broken").fetchall()[0][0])
    without = "ANTI JOIN _broken USING (row_id)" if quarantined else ""
    lake.con.execute(
        f"""CREATE OR REPLACE TEMP VIEW _valid_batch AS SELECT * EXCLUDE (unreadable) FROM {source} {without};
        CREATE OR REPLACE TEMP VIEW _broken_batch AS
        SELECT * EXCLUDE (unreadable) FROM {source} JOIN _broken USING (row_id)"""
    )
    return Checked(rows, quarantined, count_broken(lake.con, "_broken"))


def count_broken(con: duckdb.DuckDBPyConnection, checked: str) -> list[Broken]:
    """Per rule, the rows that break it, most first, with up to five row ids."""
    found = con.execute(
        f"""
        SELECT split_part(reason, ': ', 1) AS rule, count(*) AS rows, list(row_id ORDER BY row_id)[:{EXAMPLES}]
        FROM (SELECT row_id, unnest(reasons) AS reason FROM {checked}) GROUP BY 1 ORDER BY 2 DESC, 1
        """
    ).fetchall()
    return [Broken(*row) for row in found]


def refuse_if_intolerable(spec: PipelineSpec, checked: Checked) -> None:
    """Raise BatchRefused where more rows of a batch break a rule than `tolerate.quarantined`."""
    share = checked.quarantined / checked.rows
    if share > spec.tolerate.quarantined:
        worst = checked.broken[0]
        raise BatchRefused(
            f"{share:.1%} of the rows break a rule; {spec.tolerate.quarantined:.1%} are tolerated. "
            "Earlier validated rows stay as they were.",
            found=f"{checked.quarantined:,} of {checked.rows:,} rows; most often {worst.rule} ({worst.rows:,} rows, "
            f"such as row_id {', '.join(map(str, worst.examples))})",
            where={"column": worst.rule.removeprefix("type of ").partition(".")[0]},
            fix=f"Query {QUARANTINE.of(spec.name)}; then fix the file, the rule, or tolerate.quarantined.",
        )


def check_sql(spec: PipelineSpec) -> None:
    """Bind every rule and the target against the declared columns, without data.

    Raises:
        SpecError: One is no expression over a row, names a column that is not declared, or reaches for more.
    """
    row = {column.name: SQL_TYPES[column.type] for column in spec.columns}
    expressions = {**{f"rules.{name}": sql for name, sql in spec.rules.items()}, "target.sql": spec.target.sql}
    for place, sql in expressions.items():
        sql_guard.check_expression(sql, place)
        try:
            sql_guard.bind(f"SELECT ({sql}\n) FROM row_", {"row_": row})
        except duckdb.Error as error:
            raise sql_guard.no_expression(place, sql, str(sql_guard.SelectProblem.of(error))) from error
