"""Dagster's connections to its records on PostgreSQL, kept open while a process works on a run.

By itself Dagster opens a new one for each of the hundreds of statements of a run, which is more work than the run of
a small batch, for the server, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dagster as dg


@contextlib.contextmanager
def kept_open(instance: dg.DagsterInstance) -> Iterator[None]:
    """Keep one connection of each of the instance's storages on PostgreSQL open while the block runs.

    One that the server has ended meanwhile is opened anew. More are opened and closed as threads need them.
    """
    with contextlib.ExitStack() as stack:
        for storage in (instance.run_storage, instance.event_log_storage):
            if _opens_each_time(storage):
                stack.enter_context(_pooled(storage))
        yield


def server_of(instance: dg.DagsterInstance) -> str | None:
    """The PostgreSQL database of an instance's records, as libpq takes it; None where they are elsewhere.

    The instance knows it also on a machine that has no dagster.yaml.
    """
    url = getattr(instance.run_storage, "postgres_url", None)
    if url is None:
        return None
    scheme, _, rest = str(url).partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"


def _opens_each_time(storage: Any) -> bool:
    from sqlalchemy.pool import NullPool

    engine = getattr(storage, "_engine", None)
    return engine is not None and engine.dialect.name == "postgresql" and isinstance(engine.pool, NullPool)


@contextlib.contextmanager
def _pooled(storage: Any) -> Iterator[None]:
    """Give a storage another engine, as Dagster does for its web server, which also limits how long statements take."""
    from dagster_postgres.utils import create_pg_engine

    own = storage._engine
    storage._engine = create_pg_engine(
        storage.postgres_url,
        storage._token_provider,
        isolation_level="AUTOCOMMIT",
        pool_size=1,
        max_overflow=-1,
        pool_pre_ping=True,
    )
    try:
        yield
    finally:
        storage._engine.dispose()
        storage._engine = own
