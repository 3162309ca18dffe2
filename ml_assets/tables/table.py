"""What a table of the lake is: its name, its columns with types and meaning, its key and format; how it is read.

Belongs here: what holds for every table. A table itself, its rows and its queries are in the module of its family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ml_assets.lake.lake import Commit, Lake, Put, Rows, at
from ml_assets.lake.sql import identifier
from ml_assets.lake.sql import table as quoted

ONLINE = "online "  # what names a day of real-time use among batches begins with


def is_online(batch: str) -> bool:
    """Is it the name of a day of real-time use?"""
    return batch.startswith(ONLINE)


@dataclass(frozen=True)
class Column:
    """A column.

    Args:
        name: Its name.
        type: SQL type.
        description: What a value means, in one sentence, with its unit.
        earlier: The name that it has in tables of an earlier format.
    """

    name: str
    type: str
    description: str
    earlier: str = ""


@dataclass(frozen=True)
class Table:
    """A table that each pipeline has in its schema. Nothing but the module that declares it writes its name.

    Args:
        name: Its name; of an asset's table, the asset's.
        description: What a row is.
        columns: Those that are always there, in order.
        written_by: The asset, command or sensor that writes it.
        key: Columns that tell its rows apart: a row takes the place of an earlier one with the same values. Without
            a key each row is an event, and stays.
        format: Counts the changes of its columns. From 2 on, tables of earlier formats are read as if they had been
            written today, and changed by the first write.
        further: What other columns there are, which the YAML names.
        earlier_name: The name that it has in lakes of an earlier format.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    written_by: str
    key: tuple[str, ...] = ()
    format: int = 1
    further: str = ""
    earlier_name: str = ""

    def of(self, pipeline: str) -> str:
        """`pipeline.name`, as the lake's functions take it."""
        return f"{pipeline}.{self.name}"

    def asset(self, pipeline: str) -> str:
        """`pipeline/name`, as the lake's audit trail and Dagster name the asset."""
        return f"{pipeline}/{self.name}"

    def sql(self, pipeline: str, snapshot: int | None = None) -> str:
        """The table as it is stored, as SQL that can follow FROM."""
        return quoted(self.of(pipeline)) + at(snapshot)

    @property
    def types(self) -> dict[str, str]:
        """Column -> SQL type."""
        return {column.name: column.type for column in self.columns}

    @property
    def descriptions(self) -> dict[str, str]:
        """Column -> what it means."""
        return {column.name: column.description for column in self.columns}

    @property
    def comment(self) -> str:
        """What the lake says of it: a row's meaning, and from 2 on its format, which formats.py reads."""
        return self.description if self.format == 1 else f"{self.description} [format {self.format}]"

    @property
    def renamed(self) -> dict[str, str]:
        """Column -> its earlier name."""
        return {column.name: column.earlier for column in self.columns if column.earlier}

    def relation(
        self, lake: Lake, pipeline: str, snapshot: int | None = None, batches: Sequence[str] | None = None
    ) -> str | None:
        """The table with today's columns, as SQL that can follow FROM; None where there is no such table.

        Args:
            lake: The lake.
            pipeline: Its schema.
            snapshot: As it was at this snapshot.
            batches: Only the rows of these batches.
        """
        found = self._stored(lake, pipeline, snapshot)
        if found is None:
            return None
        stored, there = found
        source = lake.relation(stored, batches, snapshot)
        if self.format == 1:
            return source
        before = {column.earlier: column.name for column in self.columns if column.name not in there}
        renamed = [f"{identifier(old)} AS {identifier(new)}" for old, new in before.items() if old in there]
        missing = [
            f"NULL::{column.type} AS {identifier(column.name)}"
            for column in self.columns
            if column.name not in there and column.earlier not in there
        ]
        if not renamed and not missing:
            return source
        star = f"* RENAME ({', '.join(renamed)})" if renamed else "*"
        return f"(SELECT {', '.join([star, *missing])} FROM {source})"

    def _stored(self, lake: Lake, pipeline: str, snapshot: int | None) -> tuple[str, list[str]] | None:
        """The name under which the lake has the table, and its columns."""
        names = [f"{pipeline}.{name}" for name in (self.name, self.earlier_name) if name]
        found = ((name, lake.column_names(name, snapshot)) for name in names)
        return next((one for one in found if one[1]), None)

    def query(
        self,
        lake: Lake,
        pipeline: str,
        sql: str,
        parameters: Sequence[object] | Mapping[str, object] = (),
        batches: Sequence[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Rows of a query over the table, which it calls {t}; none where there is no such table yet.

        What an earlier version of ml_assets has written has today's columns, with NULL where it knew none. With
        `batches`, {t} has their rows alone: it costs far less than a condition in a lake of many batches.
        """
        with lake.one_snapshot():
            relation = self.relation(lake, pipeline, batches=batches)
            if relation is None:
                return []
            text = sql.replace("{t}", relation)
            return [dict(row) for row in lake.once((text, repr(parameters)), lambda: lake.rows(text, parameters))]

    def newest(
        self,
        lake: Lake,
        pipeline: str,
        limit: int,
        where: str = "true",
        columns: str = "*",
        among: Sequence[str] | None = None,
        **parameters: object,
    ) -> list[dict[str, Any]]:
        """Rows of the newest batches, and of the newest days of real-time use, by batch; files of others are not read.

        Args:
            lake: The lake.
            pipeline: The pipeline.
            limit: Maximum number of batches, and of days.
            where: A further condition on the rows.
            columns: What is selected, as SQL.
            among: Batches in order, of which the newest are meant; by default all that have rows.
            parameters: Of both.
        """
        there = lake.batches(self.of(pipeline)) if among is None else among
        days = [name for name in there if is_online(name)]
        batches = [name for name in there if not is_online(name)]
        chosen = [*batches[-limit:], *days[-limit:]]
        sql = f"SELECT {columns} FROM {{t}} WHERE {where} ORDER BY batch"
        return self.query(lake, pipeline, sql, parameters, chosen if there else None)  # else not written by batch

    def rows(self, pipeline: str, rows: Sequence[Mapping[str, object]]) -> Rows:
        """Rows to append."""
        return Rows(self.of(pipeline), self.types, rows, self.key, self.renamed, self.comment, self.descriptions)

    def put(
        self,
        pipeline: str,
        source: str,
        batch: str | None = None,
        descriptions: Mapping[str, str] | None = None,
        **how: Any,
    ) -> Put:
        """A relation to write, as `Put` describes.

        Args:
            pipeline: The pipeline.
            source: The rows.
            batch: The batch that they replace.
            descriptions: What columns mean that are not declared here.
            how: As in `Put`.
        """
        described = self.descriptions | dict(descriptions or {})
        return Put(
            self.of(pipeline),
            source,
            batch,
            renamed=self.renamed,
            description=self.comment,
            column_descriptions=described,
            **how,
        )

    def rename(self, lake: Lake, pipeline: str, commit: Commit) -> None:
        """Give a table of an earlier format its name of today, before the first write."""
        if not self.earlier_name or lake.exists(self.of(pipeline)):
            return
        before = f"{pipeline}.{self.earlier_name}"
        if lake.exists(before):
            sql = f"ALTER TABLE {quoted(before)} RENAME TO {identifier(self.name)}"
            lake.maintain(lambda: lake.con.execute(sql).fetchall(), commit)

    def named(self, name: str, description: str = "") -> Table:
        """The table of one name, of a kind of which there are several."""
        return replace(self, name=name, description=description or self.description)
