"""SQL text that is safe to build: identifiers are quoted here, and values never enter SQL as text."""

from __future__ import annotations


def identifier(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def identifiers(names: list[str] | tuple[str, ...]) -> str:
    """Names as a comma-separated list of quoted identifiers."""
    return ", ".join(identifier(name) for name in names)


def table(name: str) -> str:
    """`flights.features` as a quoted table of the lake."""
    schema, _, table_name = name.partition(".")
    return f"lake.{identifier(schema)}.{identifier(table_name)}"


def literal(text: str) -> str:
    """A quoted string, for the few statements that take no parameters: ATTACH, LOAD, SET."""
    return "'" + text.replace("'", "''") + "'"


def at(snapshot: int | None) -> str:
    """SQL suffix that reads a table at a snapshot."""
    return "" if snapshot is None else f" AT (VERSION => {int(snapshot)})"
