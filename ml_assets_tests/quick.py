"""What most tests have no use for and do without: upgrades of Dagster's records, and plots.

Nothing here changes what a test can see, but for what it draws: fixtures of conftest.py say which tests go without.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from alembic.util import pyfiles
from dagster._core.storage.event_log import in_memory as event_records
from dagster._core.storage.event_log.sqlite import sqlite_event_log as event_files
from dagster._core.storage.runs import in_memory as run_records
from dagster._core.storage.runs.sqlite import sqlite_run_storage as run_files
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage as tick_files
from sqlalchemy import Engine, create_engine
from sqlalchemy.event import listen
from sqlalchemy.pool import QueuePool

from ml_assets.reporting import evaluation_evidently, html

PAGE = "<!DOCTYPE html><html><head></head><body></body></html>"


def records(patch: pytest.MonkeyPatch) -> None:
    """Dagster's records without what only its upgrades read, and without a new connection or engine a query."""
    for storage in (event_records, run_records):
        patch.setattr(storage, "stamp_alembic_rev", lambda *_: None)
        patch.setattr(storage, "NullPool", QueuePool)
        patch.setattr(storage, "create_engine", _engine_with_foreign_keys)
    patch.setattr(event_records.InMemoryEventLogStorage, "_connect", _transaction_under_lock)
    patch.setattr(event_records.InMemoryEventLogStorage, "has_table", lambda *_: True)
    patch.setattr(run_records.InMemoryRunStorage, "connect", _transaction)
    for storage in (event_files, run_files, tick_files):
        patch.setattr(storage, "create_engine", _engine_of_file)
    patch.setattr(pyfiles, "load_module_py", _loaded_once(pyfiles.load_module_py))


def drawing(patch: pytest.MonkeyPatch) -> None:
    """Plots of the right size with nothing on them, and an empty page for Evidently's of an evaluation."""
    patch.setattr("matplotlib.figure.Figure.draw", lambda *_: None)
    page = SimpleNamespace(get_html_str=lambda **_: PAGE)
    patch.setattr(evaluation_evidently, "_report", lambda *_: page)
    patch.setattr(evaluation_evidently, "html", SimpleNamespace(write=html.write, sealed=str))  # it has no scripts


def _engine_with_foreign_keys(*arguments: Any, **options: Any) -> Engine:
    """An engine that says once a connection what Dagster says before each query."""
    engine = create_engine(*arguments, **options)
    listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys = ON"))
    return engine


def _engine_of_file(address: str, **options: Any) -> Engine:
    """The engine of a file of records, which Dagster makes anew, and its compiled SQL with it, for each event."""
    return _engine(address, tuple(options.get("connect_args", {}).items()))


@lru_cache(maxsize=64)
def _engine(address: str, connect_args: tuple[tuple[str, Any], ...]) -> Engine:
    """One that keeps its connections: to close the last one takes longer than to write the event."""
    kept = {**dict(connect_args), "check_same_thread": False}
    engine = create_engine(address, poolclass=QueuePool, connect_args=kept)
    listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    engine.dispose = lambda *_: None  # type: ignore[method-assign]
    return engine


def _loaded_once(load: Callable[[str, Path], ModuleType]) -> Callable[[str, Path], ModuleType]:
    """Dagster's hundred migrations, which are read to stamp each new file of records."""
    migration = cache(load)
    return lambda name, path: (migration if path.parent.name == "versions" else load)(name, path)


@contextlib.contextmanager
def _transaction(storage: Any) -> Iterator[Any]:
    with storage._engine.begin() as connection:
        yield connection


@contextlib.contextmanager
def _transaction_under_lock(storage: Any) -> Iterator[Any]:
    with storage._db_lock, _transaction(storage) as connection:
        yield connection
