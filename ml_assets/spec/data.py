"""Source, columns, expectations, target and lookups: how files become features."""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self

import duckdb
from pydantic import Field, field_validator, model_validator

from ml_assets.metrics import Kind
from ml_assets.spec.base import ColumnType, Name, Share, Strict


class Source(Strict):
    """Where batches arrive."""

    path: str = Field(
        min_length=1,
        description="Folder to watch: relative to the project root, absolute, or a URL such as s3://bucket/folder.",
    )
    pattern: str = Field(
        description="Regular expression that a file's whole name must match; with a `/` in it, the path below the "
        "folder. Its group `batch` is the batch's name; without that group, all named groups joined by `-` are.",
        examples=[r"flights_(?P<batch>\d{4}-\d{2})\.parquet", r"year=(?P<year>\d+)/month=(?P<month>\d+)/.*\.parquet"],
    )
    settle_seconds: float = Field(
        5, ge=0, description="A file is read once its size and time have not changed for this many seconds."
    )
    marker: str | None = Field(
        None,
        description="Name of a file, such as _SUCCESS, whose presence means that the other files in its folder are "
        "complete.",
    )
    missing: list[str] = Field(
        default_factory=list,
        description="Texts to read as NULL, such as '?' or NA; '' matches text of spaces only. Spaces around a value "
        "are ignored. Applies to every value that the file holds as text; an empty field of a CSV file is always NULL.",
        examples=[["", "?", "NA"]],
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Options of the URL's fsspec filesystem, such as endpoint_url or anon; write secrets as {{ "
        "env.NAME }}.",
    )

    @field_validator("pattern")
    @classmethod
    def _names_a_batch(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if not groups:
            raise ValueError(f"the pattern needs a group (?P<batch>...); found {pattern!r}")
        return pattern


class Outcomes(Strict):
    """Files with outcomes that become known after their rows: the key columns and outcome columns."""

    path: str = Field(description="Folder to watch: relative to the project root, absolute, or a URL.")
    pattern: str = Field(
        r".+\.(parquet|csv|jsonl)",
        description="Regular expression that a file's whole name must match. Its optional group `batch` is the name of "
        "the rows' batch; it is required if the same key may occur in several batches.",
    )
    settle_seconds: float = Field(
        5,
        ge=0,
        description="A file is read once its size and time have not changed for this many seconds, as in source.",
    )
    marker: ClassVar[None] = None
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the URL's fsspec filesystem.")

    @field_validator("pattern")
    @classmethod
    def _is_one(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern


class Reference(Strict):
    """A table that features can join and that does not arrive in batches."""

    path: str = Field(description="Parquet, CSV or JSON lines file: relative to the project root, absolute, or a URL.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the URL's fsspec filesystem.")


def unfit_for_requests(name: str) -> bool:
    """Does a column's name have a character that the server's request type (msgspec) does not take?"""
    return any(mark in '"\\' or mark < " " for mark in name)


class Column(Strict):
    """One column of the source, and constraints on its values."""

    name: str = Field(min_length=1, description="The column's name in the file.")
    type: ColumnType = Field(description="string, integer, number, boolean, date or timestamp (UTC).")
    nullable: bool = Field(False, description="Whether values may be missing.")
    missing: list[str] | None = Field(
        None, description="Texts to read as NULL in this column, instead of source.missing."
    )
    min: float | None = Field(None, description="Smallest allowed value.")
    max: float | None = Field(None, description="Largest allowed value.")
    allowed: list[str | int | float | bool] | None = Field(None, min_length=1, description="The only allowed values.")
    regex: str | None = Field(None, description="Regular expression that the whole value must match.")
    references: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9_]*\..+$",
        description="`reference.column`: the value must occur in that column of a table under `references`.",
    )
    outcome: bool = Field(False, description="Known only after the event; features cannot see it.")
    unit: str | None = Field(None, description="Unit of the value, shown in the UI.")
    description: str | None = Field(None, description="What the column means, shown in the UI.")

    @model_validator(mode="after")
    def _fits_a_request(self) -> Self:
        is_template = "{{" in self.name or "{%" in self.name
        if not self.outcome and not is_template and unfit_for_requests(self.name):
            raise ValueError(
                f'the name of a column has no " or \\ and no control character, which a request to the server could '
                f"not carry, unless it is an outcome; found {self.name!r}"
            )
        return self

    @model_validator(mode="after")
    def _constraints_fit_the_type(self) -> Self:
        if self.type not in ("integer", "number") and (self.min is not None or self.max is not None):
            raise ValueError(f"min and max are for integer and number columns; {self.name!r} is a {self.type}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is greater than max {self.max:g} in column {self.name!r}")
        if self.regex is not None:
            if self.type != "string":
                raise ValueError(f"regex is for string columns; {self.name!r} is a {self.type}")
            try:
                re.compile(self.regex)
            except re.error as error:
                raise ValueError(f"regex of column {self.name!r} is not a regular expression: {error}") from None
            if (wrong := _wrong_in_duckdb(self.regex)) is not None:
                raise ValueError(f"regex of column {self.name!r} is not one that DuckDB knows (RE2): {wrong}")
        return self


@cache
def _wrong_in_duckdb(regex: str) -> str | None:
    """What DuckDB, which checks the values, says against a regular expression; it knows no look-ahead, for one."""
    text = regex.replace("'", "''")  # a parameter would have DuckDB import pandas
    with duckdb.connect() as con:
        try:
            con.execute(f"SELECT regexp_full_match('', '{text}')")
        except duckdb.Error as error:
            return str(error).partition("\n")[0].removeprefix("Invalid Input Error: ")
    return None


class Tolerate(Strict):
    """How much may be wrong before a batch is rejected."""

    quarantined: Share = Field(0.02, description="Maximum share of rows that may break a rule.")
    missing_columns: Literal["error", "null"] = Field(
        "error",
        description="If a declared column is missing from a file: reject the file (error), or fill the column with "
        "NULL (null).",
    )
    new_columns: Literal["keep", "ignore", "error"] = Field(
        "keep",
        description="If a file has an undeclared column: store it in raw_data (keep), drop it (ignore), or reject the "
        "file (error).",
    )


class ExpectedRows(Strict):
    """How many rows a batch may have."""

    min: int | None = Field(None, ge=0, description="Minimum number of rows.")
    max: int | None = Field(None, ge=1, description="Maximum number of rows.")
    max_change: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="Maximum change from the median of the earlier batches, as a share: 0.5 allows half to 1.5 times.",
    )
    batches: int = Field(6, ge=1, description="Number of earlier batches in the median.")


class ExpectedNewest(Strict):
    """How recent the values of a batch must be."""

    column: str = Field(description="A date or timestamp column.")
    max_age_days: float = Field(
        gt=0,
        description="Maximum age of the column's newest value, in days, at the time when the file was last changed.",
    )


class Expect(Strict):
    """Expected volume and freshness of a batch."""

    rows: ExpectedRows | None = Field(None, description="Expected number of rows.")
    newest: ExpectedNewest | None = Field(None, description="Expected freshness of the values.")
    max_silence_days: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Maximum number of days without a new batch; after that, Dagster shows raw_data as overdue."
    )
    otherwise: Literal["refuse", "warn"] = Field(
        "refuse", description="What to do with an unexpected batch: reject it (refuse), or only fail a check (warn)."
    )


class Target(Strict):
    """What the model predicts."""

    name: Name = Field(description="Name of the label column.")
    sql: str = Field(
        min_length=1, description="SQL expression over the columns of a validated row; NULL means not known yet."
    )
    kind: Kind = Field(description="binary, multiclass or regression.")

    @field_validator("sql")
    @classmethod
    def _is_written(cls, sql: str) -> str:
        if sql.strip().startswith("TODO"):
            raise ValueError(f"target.sql is still to be written here, as a SQL expression over a row; found {sql!r}")
        return sql


class Lookup(Strict):
    """An aggregate over earlier batches that features can join; it is point-in-time correct by construction."""

    key: list[str] = Field(min_length=1, description="Columns that identify one row of the lookup.")
    sql: str = Field(description="File beside the YAML with a SELECT over the view `history`.")
    batches: int = Field(6, ge=1, description="Maximum number of earlier batches in `history`.")
