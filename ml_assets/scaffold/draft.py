"""A whole pipeline, inferred from files and the name of the target's column."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb

from ml_assets.errors import SpecError, did_you_mean
from ml_assets.lake.database import in_memory
from ml_assets.lake.sql import identifier
from ml_assets.ml.feature_types import NO_FEATURES
from ml_assets.scaffold import evidence, files, reading
from ml_assets.scaffold.files import SourceFiles
from ml_assets.scaffold.profile import profile
from ml_assets.scaffold.reading import ROWS, ReadTable
from ml_assets.scaffold.suggest import (
    Suggestion,
    TargetSuggestion,
    column_sql,
    holds,
    open_date,
    suggest_columns,
    suggest_target,
)
from ml_assets.scaffold.texts import Style
from ml_assets.sources.formats import SQL_TYPES

FEWEST_ROWS = 80  # each of three parts needs 20
FEWEST_OF_A_CLASS = 10
MOST_TEXTS = 100  # different values of a text feature
TIME_PARTS = {"hour": "hour", "weekday": "dayofweek", "month": "month"}


@dataclass(frozen=True)
class Feature:
    """One line of features.sql: `sql AS name`, with a remark."""

    name: str
    sql: str
    remark: str = ""


@dataclass(frozen=True)
class Draft:
    """What was inferred.

    Args:
        name: Of the pipeline.
        path: source.path as the YAML has it.
        rows: Rows in all files.
        columns: In the files' order.
        target_column: The column that the target is made of.
        suspects: Columns that may be known only after the event -> why it looks so.
        features: Of features.sql.
        skipped: Columns that are no feature -> why.
        rules: Name -> SQL of the rules that text columns can be read as their features read them.
        key: Columns that are unique in each batch and look like an identifier.
        other_keys: Combinations that are unique too, perhaps by chance.
        split: As the YAML has it, and why.
        warnings: Other things that you should know.
    """

    name: str
    source: SourceFiles
    path: str
    rows: int
    columns: list[Suggestion]
    target_column: str
    target: TargetSuggestion
    read: ReadTable
    suspects: dict[str, str]
    features: list[Feature]
    skipped: dict[str, str]
    rules: dict[str, str]
    key: list[str]
    other_keys: list[list[str]]
    split: dict[str, Any]
    split_reason: str
    warnings: list[str] = field(default_factory=list)

    @property
    def batches(self) -> list[str]:
        return sorted(set(self.source.batches.values()))

    @property
    def target_name(self) -> str:
        """`left_label` for the column left: a target has a name that no column has."""
        return _free(f"{slug(self.target_column)[:50]}_label", {column.name.lower() for column in self.columns})


def draft(
    name: str, path: str, target: str, root: Path, base: Path, say: Callable[[str], None] = lambda _: None
) -> Draft:
    """Read the files and infer a pipeline.

    Args:
        name: Of the pipeline.
        path: Folder, file or glob.
        target: Column to predict.
        root: The project that the pipeline will lie in; source.path is relative to it where the files lie in it.
        base: Folder that a relative `path` starts from.
        say: Called with what goes on.

    Raises:
        SourceError: No files, or files that cannot be read.
        SpecError: No such column, a target that cannot be learned, too few rows, or no feature.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise SpecError(
            "A pipeline's name has small letters, digits and _ and begins with a letter.",
            found=name,
            fix=f"Such as: {slug(name)}",
        )
    source = files.find(path, base)
    with in_memory() as con:
        con.execute("SET TimeZone = 'UTC'")
        read = reading.read(con, source, target, say)
        return _inferred(con, name, source, read, target, root, say)


def _inferred(
    con: duckdb.DuckDBPyConnection,
    name: str,
    source: SourceFiles,
    read: ReadTable,
    target: str,
    root: Path,
    say: Callable[[str], None],
) -> Draft:
    target = _existing(target, read)
    statistics, distinct, exact = profile(con, ROWS, {name: SQL_TYPES[word] for name, word in read.types.items()})
    made = _target([row for row in statistics if row["column_name"] == target], target, read.styles.get(target))
    rows = int(con.execute(f"SELECT count(*) FROM {ROWS}").fetchall()[0][0])
    styles = {name: style for name, style in read.styles.items() if name != target}
    first = [one for one in suggest_columns(statistics, (), distinct, exact) if one.name not in {target, *styles}]
    identifiers = _identifiers(con, first, rows / len(set(source.batches.values())))
    suggested = suggest_columns(statistics, identifiers | set(read.styles), distinct, exact)
    columns = [holds(con, ROWS, one) for one in suggested]
    columns = [replace(one, nullable=True) if one.name == target else one for one in columns]
    others = [one for one in columns if one.name != target]
    say("Looking for columns that give the target away, and for a key ...")
    could_tell = [one for one in others if one.name not in identifiers and not made.is_open]
    suspects = evidence.suspects(con, ROWS, could_tell, made, styles) if could_tell else {}
    features, skipped = _features(con, others, identifiers, styles, suspects)
    keys = evidence.keys(con, ROWS, [one for one in others if one.name not in styles])
    words = {one.name: one.type for one in others}
    sure = [names for names in keys if len(names) == 1 and names[0] in identifiers]
    sure = [names for names in sure if evidence.is_id_name(names[0]) or words[names[0]] == "integer"]
    key = sure[0] if sure else []
    label = column_sql(target) if made.is_open else made.sql
    split, reason, warnings = _split(evidence.class_counts(con, ROWS, label), made)
    return Draft(
        name=name,
        source=source,
        path=_as_written(source.folder, root),
        rows=rows,
        columns=columns,
        target_column=target,
        target=made,
        read=read,
        suspects=suspects,
        features=features,
        skipped=skipped,
        rules=_rules({name: style for name, style in styles.items() if name not in skipped}),
        key=key,
        other_keys=[names for names in keys if names != key][:3],
        split=split,
        split_reason=reason,
        warnings=warnings + _warnings(source),
    )


def _target(rows: list[dict[str, Any]], target: str, style: Style | None) -> TargetSuggestion:
    made = suggest_target(rows, target)
    if style is None or (made.classes is not None and not made.is_open):
        return made
    if style.word != "number":
        return open_date(style.sql(column_sql(target)))
    note = f"{target} is text such as {style.example!r}, which target.sql reads as a number"
    return TargetSuggestion(style.sql(column_sql(target)), "regression", None, note)


def _rules(styles: Mapping[str, Style]) -> dict[str, str]:
    """A rule for each text column all of whose values could be read: one that cannot must not become missing."""
    rules: dict[str, str] = {}
    for name, style in styles.items():
        if style.share == 1:
            c = column_sql(name)
            rule = _free(f"{slug(name)[:40]}_is_a_{style.word}", set(rules))
            rules[rule] = f"{c} IS NULL OR {style.sql(c)} IS NOT NULL"
    return rules


def _existing(target: str, read: ReadTable) -> str:
    names = list(read.types)
    same = [name for name in names if name.strip().lower() == target.strip().lower()]  # DuckDB strips a CSV's names
    if target in names or same:
        return target if target in names else same[0]
    if target in read.left_out:
        raise SpecError(
            "The target's column cannot be declared.", found=f"{target}: {read.left_out[target]}", fix="Rename it."
        )
    raise SpecError(f"The files have no column {target!r}; {did_you_mean(target, names)}")


def _identifiers(con: duckdb.DuckDBPyConnection, columns: Iterable[Suggestion], rows: float) -> set[str]:
    """Columns that name a row or a thing and say nothing else: unique texts, counters, and what is called an id."""
    found = set()
    for one in columns:
        many = one.distinct > min(MOST_TEXTS, 0.8 * rows)
        nearly_unique = one.distinct >= 0.8 * rows
        named = evidence.is_id_name(one.name)
        if (one.type == "string" and (nearly_unique or (named and many))) or (
            one.type == "integer" and many and (named or (nearly_unique and evidence.is_counter(con, ROWS, one.name)))
        ):
            found.add(one.name)
    return found


def _features(
    con: duckdb.DuckDBPyConnection,
    columns: Iterable[Suggestion],
    identifiers: set[str],
    styles: Mapping[str, Style],
    suspects: Mapping[str, str],
) -> tuple[list[Feature], dict[str, str]]:
    features: list[Feature] = []
    skipped: dict[str, str] = {}
    for one in columns:
        why = _why_no_feature(one, identifiers, styles)
        remark = f"known before the event? {suspects[one.name]}" if one.name in suspects else ""
        made = [] if why else _made(con, one, styles.get(one.name), remark)
        if not made:
            skipped[one.name] = why or "its hour, weekday and month are the same in all rows"
        for feature in made:
            features.append(replace(feature, name=_free(feature.name, {other.name for other in features})))
    if not features:
        raise SpecError(
            "No column is left to learn from.",
            found=", ".join(f"{name}: {why}" for name, why in skipped.items()),
            fix="Add columns that are known before the event.",
        )
    return features, skipped


def _why_no_feature(one: Suggestion, identifiers: set[str], styles: Mapping[str, Style]) -> str:
    if one.name in identifiers:
        return "an identifier"
    if one.distinct <= 1:
        return "one value only so far" if one.distinct else "no value in any row"
    if one.type == "string" and one.distinct > MOST_TEXTS and one.name not in styles:
        return f"text with {one.distinct:,} different values"
    return ""


def _made(con: duckdb.DuckDBPyConnection, one: Suggestion, style: Style | None, remark: str) -> list[Feature]:
    """The features of one column."""
    alias, c = slug(one.name), f"b.{column_sql(one.name)}"
    if style is not None:
        return _written_out(con, one, style, alias, c, remark)
    if one.type in ("date", "timestamp"):
        return _time_features(con, one.type, identifier(one.name), alias, c, remark)
    return [Feature(alias, f"{c}::INTEGER" if one.type == "boolean" else c, remark)]


def _written_out(
    con: duckdb.DuckDBPyConnection, one: Suggestion, style: Style, alias: str, sql: str, remark: str
) -> list[Feature]:
    """Features of text that is numbers or dates, with how it is read."""
    says = f"text such as {style.example!r}"
    if style.share < 1:
        says += f", {style.share:.0%} of it; missing where it is as {style.unread[0]!r}"
    remark = "; ".join(filter(None, [says, remark]))
    if style.word == "number":
        return [Feature(alias, style.sql(sql), remark)]
    return _time_features(con, style.word, style.sql(identifier(one.name)), alias, style.sql(sql), remark)


def _time_features(
    con: duckdb.DuckDBPyConnection, word: str, value: str, alias: str, sql: str, remark: str
) -> list[Feature]:
    """The parts of a time that are not the same in all rows."""
    parts = TIME_PARTS if word == "timestamp" else {n: f for n, f in TIME_PARTS.items() if n != "hour"}
    counts = ", ".join(f"count(DISTINCT {function}({value}))" for function in parts.values())
    different = con.execute(f"SELECT {counts} FROM {ROWS}").fetchall()[0]
    return [
        Feature(f"{alias}_{part}", f"{function}({sql})", remark)
        for (part, function), count in zip(parts.items(), different, strict=True)
        if count > 1
    ]


def _split(counts: Mapping[str, Mapping[Any, int]], made: TargetSuggestion) -> tuple[dict[str, Any], str, list[str]]:
    """The split, why this one, and what may go wrong with it."""
    rows = sum(sum(of_batch.values()) for of_batch in counts.values())
    if rows < FEWEST_ROWS:
        raise SpecError(
            f"At least {FEWEST_ROWS} rows with a target are needed to train, compare and test.",
            found=f"{rows} rows",
            fix="Add more files.",
        )
    total: dict[Any, int] = {}
    for of_batch in counts.values():
        for label, count in of_batch.items():
            total[label] = total.get(label, 0) + count
    rare = [f"{label} ({count} rows)" for label, count in total.items() if count < FEWEST_OF_A_CLASS]
    warnings = [f"classes with few rows are hardly learned: {', '.join(rare)}"] if rare and made.classes else []
    share = 0.2 if rows >= 2 * FEWEST_ROWS else 0.3
    drawn = {"by": "stratified" if made.classes else "random", "validation": share, "test": share}
    batches = sorted(counts)
    if len(batches) < 3:
        return drawn, "the last batches, once there are three: {by: batch, validation: 1, test: 1}", warnings
    held = batches[-2:]
    parts = [counts[held[0]], counts[held[1]]]
    enough = all(sum(part.values()) >= 20 and (not made.classes or set(part) == set(total)) for part in parts)
    if not enough:
        return drawn, f"{held[0]} or {held[1]} alone has too few rows, or not every class", warnings
    return {"by": "batch", "validation": 1, "test": 1}, f"{held[0]} compares, {held[1]} tests", warnings


def _warnings(source: SourceFiles) -> list[str]:
    found = []
    batches = sorted(set(source.batches.values()))
    if all(batch.isdigit() for batch in batches) and batches != sorted(batches, key=int):
        found.append("batches are ordered by name, so 10 comes before 2: write 02 in the files' names")
    if source.others:
        what = "another file is" if source.others == 1 else f"{source.others} other files are"
        found.append(f"{what} in {source.folder}, listed as unmatched: a folder of its own is tidier")
    return found


def _as_written(folder: Path, root: Path) -> str:
    return str(folder.relative_to(root)) if folder.is_relative_to(root) else str(folder)


def slug(text: str) -> str:
    """A name for SQL and YAML: small letters, digits and _."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower()
    found = re.sub(r"[^a-z0-9]+", "_", words).strip("_")
    return found if found[:1].isalpha() else f"c_{found}".rstrip("_")


def _free(name: str, taken: set[str]) -> str:
    while name in taken | {"batch", "row_id", *NO_FEATURES}:
        name += "_"
    return name
