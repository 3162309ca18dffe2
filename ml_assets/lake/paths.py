"""Where everything lies on disk: one data folder, found from the project, never from the working directory alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ml_assets.lake.artifacts import Stores, artifacts_at
from ml_assets.lake.catalog import Catalog
from ml_assets.lake.sqlite import SqliteCatalog

ENV_DATA = "ML_ASSETS_DATA"


@dataclass(frozen=True)
class Paths:
    """The folders of one project.

    Args:
        root: The folder that holds pyproject.toml; relative paths of the YAML start here.
        data: The folder of everything that ml_assets writes.
    """

    root: Path
    data: Path

    @classmethod
    def of(cls, root: Path | None = None) -> Paths:
        """Paths of the project at `root`, by default the one around the working directory.

        `$ML_ASSETS_DATA` puts the data folder elsewhere.
        """
        root = (root or _project_root(Path.cwd())).resolve()
        return cls(root=root, data=Path(os.environ.get(ENV_DATA) or root / "data").resolve())

    @property
    def lake(self) -> Path:
        return self.data / "lake"

    @property
    def catalog(self) -> Catalog:
        """The lake's catalog; all locks between runs are its locks."""
        return SqliteCatalog(self.lake)

    @property
    def artifacts(self) -> Stores:
        """Bundles, releases and reports; whoever reads one asks here for a local path."""
        return Stores.of(artifacts_at(self.data, self.data / "cache"))

    @property
    def bundles(self) -> Path:
        return self.data / "bundles"

    @property
    def releases(self) -> Path:
        return self.data / "releases"

    @property
    def reports(self) -> Path:
        return self.data / "reports"

    @property
    def evidently(self) -> Path:
        return self.data / "evidently"

    @property
    def sensors(self) -> Path:
        return self.data / "sensors"

    @property
    def serving(self) -> Path:
        """The prediction log of the servers."""
        return self.data / "serving"

    @property
    def spool(self) -> Path:
        return self.data / "spool"

    def resolve(self, path: str) -> Path:
        """A path of the YAML, relative to the project root or absolute."""
        return self.root / path


def private_folder(folder: Path) -> Path:
    """The folder, made for this user alone where it is missing: logs and run histories may quote data and settings.

    One that exists keeps its permissions. Files of the lake are made as the umask says.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _project_root(start: Path) -> Path:
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").exists():
            return folder
    return start
