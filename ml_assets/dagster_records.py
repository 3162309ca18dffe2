"""Where Dagster keeps its records, and what of them is read without importing Dagster, which takes a second.

Files in its home, or the PostgreSQL database that `storage` of its dagster.yaml names.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from ml_assets.errors import LakeBusy, SpecError

CONNECT_S = 5
BEAT = "SELECT max(timestamp) FROM daemon_heartbeats"


def heartbeat(home: Path) -> dt.datetime | None:
    """When Dagster's daemon last said that it lives, UTC; None where it has never.

    Raises:
        SpecError: dagster.yaml cannot be read, or names a variable that is not set.
        LakeBusy: Dagster's database cannot be reached.
    """
    address = database(home)
    return _from_files(home) if address is None else _from_server(address)


def database(home: Path) -> str | None:
    """The PostgreSQL database of Dagster's records, as libpq takes it; None where they are elsewhere.

    Raises:
        SpecError: dagster.yaml cannot be read, or names a variable that is not set.
    """
    file = home / "dagster.yaml"
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SpecError("dagster.yaml cannot be read.", found=error, where={"file": file}) from error
    storage = found.get("storage") if isinstance(found, dict) else None
    given = storage.get("postgres") if isinstance(storage, dict) else None
    if not isinstance(given, dict):
        return None
    if "postgres_url" in given:
        scheme, _, rest = _value(given["postgres_url"], file).partition("://")
        return f"{scheme.partition('+')[0]}://{rest}"
    parts = {name: _value(value, file) for name, value in (given.get("postgres_db") or {}).items() if name != "params"}
    user, password = quote(parts.get("username", ""), safe=""), quote(parts.get("password", ""), safe="")
    who = f"{user}:{password}" if password else user
    return f"postgresql://{who}@{parts.get('hostname', '')}:{parts.get('port', 5432)}/{parts.get('db_name', '')}"


def _value(given: Any, file: Path) -> str:
    """A value of dagster.yaml, which may be that of a variable."""
    if not isinstance(given, dict):
        return str(given)
    name = str(given.get("env"))
    if name not in os.environ:
        raise SpecError(
            "dagster.yaml names an environment variable that is not set.",
            found=name,
            where={"file": file},
            fix="Set it as for the daemon; it is the address of Dagster's database, or a part of it.",
        )
    return os.environ[name]


def _from_files(home: Path) -> dt.datetime | None:
    file = home / "history" / "runs.db"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_opened(file)) as records:
        found = records.execute(BEAT).fetchone()[0]
        return dt.datetime.fromisoformat(found) if found else None
    return None


def _opened(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=1)


def _from_server(address: str) -> dt.datetime | None:
    import psycopg2
    from psycopg2.errors import UndefinedTable

    try:
        with contextlib.closing(psycopg2.connect(address, connect_timeout=CONNECT_S)) as records:
            cursor = records.cursor()
            cursor.execute(BEAT)
            found: dt.datetime | None = cursor.fetchone()[0]
            return found
    except UndefinedTable:  # nothing of Dagster has been started yet
        return None
    except psycopg2.Error as error:
        raise LakeBusy(
            "Dagster's database cannot be reached.",
            found=str(error).strip(),
            fix="Start the server, or correct the address that `storage` of dagster.yaml names.",
        ) from error
