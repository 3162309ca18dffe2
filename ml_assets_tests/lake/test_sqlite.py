"""The catalog on SQLite keeps every promise of a catalog."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ml_assets.lake.catalog import Catalog
from ml_assets.lake.sqlite import SqliteCatalog
from ml_assets.lake.sqlite_files import database_files
from ml_assets_tests.lake.catalog_contract import CatalogContract

# Another SQLite, in a process of its own, holds the file as a writer in a rollback journal does: nobody reads.
HOLDS = """
import sqlite3, sys
con = sqlite3.connect(sys.argv[1], isolation_level=None)
con.execute("PRAGMA journal_mode = delete")
con.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.readline()
con.execute("ROLLBACK")
con.execute("PRAGMA journal_mode = wal")
"""


class Impatient(SqliteCatalog):
    """Waits a moment only for one who holds the file."""

    busy_ms = 50


class Unwritable(SqliteCatalog):
    """As one sees it who may not write the folder."""

    @property
    def _is_writable(self) -> bool:
        return False


class TestSqliteCatalog(CatalogContract):
    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        # Not below pytest's own folder, which every pytest of this user closes to others when it begins.
        with tempfile.TemporaryDirectory() as name:
            yield Path(name) / "lake"

    @pytest.fixture
    def catalog(self, folder: Path) -> Catalog:
        return Impatient(folder)

    def lose(self, catalog: Catalog) -> None:
        assert isinstance(catalog, SqliteCatalog)
        for file in database_files(catalog.file):
            file.unlink(missing_ok=True)

    @contextmanager
    def as_other_user(self, catalog: Catalog) -> Iterator[Catalog]:
        assert isinstance(catalog, SqliteCatalog)
        yield Unwritable(catalog.folder)

    @contextmanager
    def busy(self, catalog: Catalog) -> Iterator[None]:
        assert isinstance(catalog, SqliteCatalog)
        command = [sys.executable, "-c", HOLDS, str(catalog.file)]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield
        finally:
            holder.communicate("\n")

    def waiting(self, catalog: Catalog) -> int:
        assert isinstance(catalog, SqliteCatalog)
        return sum(1 for _ in catalog.folder.rglob("*.queue/[0-9]*"))

    def damage(self, catalog: Catalog) -> None:
        assert isinstance(catalog, SqliteCatalog)
        code = """import sqlite3, sys
con = sqlite3.connect(sys.argv[1])
for (name,) in con.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
    con.execute(f"DROP TABLE {name}")
"""
        subprocess.run([sys.executable, "-c", code, str(catalog.file)], check=True)
