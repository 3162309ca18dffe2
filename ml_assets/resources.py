"""Dagster resources: thin handles on the stores."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from pydantic import Field, PrivateAttr

from ml_assets import launcher
from ml_assets.home import check_home
from ml_assets.lake.faults import ENV_MEMORY
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths, private_folder
from ml_assets.step_errors import user_errors
from ml_assets.tables import formats

ENV_STATIC = "ML_ASSETS_STATIC_PAGES"
_writers: list[subprocess.Popen[bytes]] = []
DEFAULT_LIMIT = "4GiB"
MEMORY_LIMIT: str = Field(default=DEFAULT_LIMIT, description="Memory that DuckDB may use before it spills to disk.")


def memory_limit() -> str:
    """DuckDB's memory limit, from the environment."""
    return os.environ.get(ENV_MEMORY) or DEFAULT_LIMIT


class LakeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The lake, as one connection for a run (in-process executor) or a step (any other)."""

    paths: dg.ResourceDependency[Paths]  # not config: a run cannot be of another project than its code
    memory_limit: str = MEMORY_LIMIT
    _lake: Lake | None = PrivateAttr(default=None)

    def open(self) -> Lake:
        """The connection; opened at its first use and closed after the run."""
        if self._lake is None:
            with user_errors():
                self._lake = Lake.of(self.paths, memory_limit=self.memory_limit)
                formats.check(self._lake)
        return self._lake

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["LakeResource"]:
        with _at_work(context, self.paths.root):
            try:
                yield self
            finally:
                if self._lake is not None:
                    self._lake.close()
                    self._lake = None
                    if context.instance is not None and not context.instance.is_ephemeral:
                        write_pages(self.paths)


def write_pages(paths: Paths) -> None:
    """Let the pages be written anew as files, by a process that nothing waits for (pages/static.py).

    It never fails a run. `ML_ASSETS_STATIC_PAGES=0` says that nobody reads them.
    """
    if os.environ.get(ENV_STATIC) == "0":
        return
    command = [sys.executable, "-m", "ml_assets.pages.static", str(paths.root), str(paths.data)]
    with contextlib.suppress(OSError), (private_folder(paths.data / "logs") / "pages.log").open("a") as log:
        writer = subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=paths.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        _writers[:] = [writer, *(one for one in _writers if one.poll() is None)]


@contextlib.contextmanager
def _at_work(context: dg.InitResourceContext, root: Path) -> Iterator[None]:
    """Let this process be known as the one that works on the run, so that its death is noticed (launcher.py)."""
    instance, run = context.instance, context.run
    if run is None or instance is None or instance.is_ephemeral:
        yield
        return
    with user_errors():
        check_home(launcher.home(instance), root)
    with launcher.at_work(instance, run.run_id):
        yield
