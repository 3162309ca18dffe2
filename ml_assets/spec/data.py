"""Source, columns, expectations, target and lookups: how files become features."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from ml_assets.spec.base import ColumnType, Kind, Name, Share, Strict


class Source(Strict):
    """Where batches arrive."""

    path: str = Field(
        description="Folder that is watched: relative to the project root, absolute, or a URL such as s3://bucket/folder."
    )
    pattern: str = Field(
        description="Regular expression over a file's name, or over its path below the folder where it has a `/`. "
        "Its group `batch` names the batch; without one, all its named groups do, joined by `-`.",
        examples=[r"flights_(?P<batch>\d{4}-\d{2})\.parquet", r"year=(?P<year>\d+)/month=(?P<month>\d+)/.*\.parquet"],
    )
    settle_seconds: float = Field(
        5, ge=0, description="A file is taken when its size and time have not changed for this long, in seconds."
    )
    marker: str | None = Field(
        None, description="Name of a file, such as _SUCCESS, that says that the files beside it are complete."
    )
    missing: list[str] = Field(
        default_factory=list,
        description="Texts that stand for a missing value, such as '?' or NA; '' is a text of spaces only. Spaces "
        "around a value do not count. They are read as NULL in every column that holds text; an empty field of a CSV "
        "file always is.",
        examples=[["", "?", "NA"]],
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Options of the URL's fsspec filesystem, such as endpoint_url or anon; secrets as {{ env.NAME }}.",
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
    """Outcomes that are known later than their rows: files of their own, with the key's columns and outcome columns."""

    path: str = Field(description="Folder that is watched: relative to the project root, absolute, or a URL.")
    pattern: str = Field(
        r".+\.(parquet|csv|jsonl)",
        description="Regular expression over a file's name. Its group `batch`, where it has one, names the batch of "
        "the rows; it is needed where the key may repeat in another batch.",
    )
    settle_seconds: float = Field(5, ge=0, description="As of the source, in seconds.")
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
    """A table that features may join and that does not arrive in batches."""

    path: str = Field(description="Parquet, CSV or JSON-lines file: relative to the project root, absolute, or a URL.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the URL's fsspec filesystem.")


def unfit_for_requests(name: str) -> bool:
    """Does a column's name have a character that the server's request type (msgspec) does not take?"""
    return any(mark in '"\\' or mark < " " for mark in name)


class Column(Strict):
    """One column of the source and what each of its values must keep."""

    name: str = Field(min_length=1, description="The column's name in the file.")
    type: ColumnType = Field(description="string, integer, number, boolean, date or timestamp (UTC).")
    nullable: bool = Field(False, description="May the value be missing?")
    missing: list[str] | None = Field(
        None, description="Texts that stand for a missing value in this column, in place of source.missing."
    )
    min: float | None = Field(None, description="Smallest allowed value.")
    max: float | None = Field(None, description="Largest allowed value.")
    allowed: list[str | int | float | bool] | None = Field(None, min_length=1, description="The only allowed values.")
    regex: str | None = Field(None, description="Regular expression that the whole value must match.")
    references: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9_]*\..+$",
        description="`reference.column`: the value must be in that column of a table under `references`.",
    )
    outcome: bool = Field(False, description="Known only after the event: features can never see it.")
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
        return self


class Tolerate(Strict):
    """How much may be wrong with a batch before it is refused."""

    quarantined: Share = Field(0.02, description="Largest share of rows that may break a rule.")
    missing_columns: Literal["error", "null"] = Field(
        "error", description="A declared column that the file lacks: refuse the file, or fill it with NULL."
    )
    new_columns: Literal["keep", "ignore", "error"] = Field(
        "keep", description="A column that is not declared: keep it in raw_data, leave it out, or refuse the file."
    )


class ExpectedRows(Strict):
    """How many rows a batch has."""

    min: int | None = Field(None, ge=0, description="Fewest rows.")
    max: int | None = Field(None, ge=1, description="Most rows.")
    max_change: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="Largest change against the median of the batches before, as a share: 0.5 is half to 1.5 times.",
    )
    batches: int = Field(6, ge=1, description="The median is over this many earlier batches.")


class ExpectedNewest(Strict):
    """How recent a batch is."""

    column: str = Field(description="A date or timestamp column.")
    max_age_days: float = Field(
        gt=0, description="Its newest value is at most this old, in days, when the file was last changed."
    )


class Expect(Strict):
    """What a whole batch is expected to be."""

    rows: ExpectedRows | None = Field(None, description="Volume.")
    newest: ExpectedNewest | None = Field(None, description="Freshness of the values.")
    max_silence_days: Annotated[float, Field(gt=0)] | None = Field(
        None, description="A new batch comes at least this often, in days; else Dagster shows raw_data as overdue."
    )
    otherwise: Literal["refuse", "warn"] = Field(
        "refuse", description="What happens to a batch that is not as expected; warn: a failed check only."
    )


class Target(Strict):
    """What the model predicts."""

    name: Name = Field(description="Name of the label column.")
    sql: str = Field(min_length=1, description="SQL expression over a validated row; NULL means not known yet.")
    kind: Kind = Field(description="binary, multiclass or regression.")

    @field_validator("sql")
    @classmethod
    def _is_written(cls, sql: str) -> str:
        if sql.strip().startswith("TODO"):
            raise ValueError(f"target.sql is still to be written here, as a SQL expression over a row; found {sql!r}")
        return sql


class Lookup(Strict):
    """An aggregate over earlier batches that features may join: point in time by construction."""

    key: list[str] = Field(min_length=1, description="Columns that identify one row of the lookup.")
    sql: str = Field(description="SELECT file beside the YAML; it sees the view `history`.")
    batches: int = Field(6, ge=1, description="At most this many earlier batches are in `history`.")
