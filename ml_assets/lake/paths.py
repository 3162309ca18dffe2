"""Where everything lies on disk: one data folder, found from the project, never from the working directory alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ml_assets.errors import LakeError
from ml_assets.lake.artifacts import Artifacts, Stores, artifacts_at
from ml_assets.lake.catalog import Catalog
from ml_assets.lake.catalog_copy import DATA
from ml_assets.lake.copying import LakeFiles
from ml_assets.lake.sqlite import SqliteCatalog
from ml_assets.lake.storage import storage_at
from ml_assets.settings import settings

ENV_DATA = "ML_ASSETS_DATA"
# Each setting of [tool.ml_assets.lake], and the variable that is stronger.
SETTINGS = {"catalog": "ML_ASSETS_CATALOG", "data": "ML_ASSETS_LAKE_DATA"}


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
        return cls(root=root, data=_data_folder(root))

    @property
    def lake(self) -> Path:
        return self.data / "lake"

    @property
    def catalog(self) -> Catalog:
        """The lake's catalog; all locks between runs are its locks.

        A file in the lake's folder; or the PostgreSQL database that `catalog` in `[tool.ml_assets.lake]` of
        pyproject.toml or `$ML_ASSETS_CATALOG` names, with files at `data` or `$ML_ASSETS_LAKE_DATA`. These settings
        are of the project's own data folder alone: a replay, which has folders of its own, never writes there.
        """
        return self.place.catalog

    @property
    def place(self) -> LakeFiles:
        """The lake with all its files, where the settings say that it is."""
        return self.place_at(self._setting("catalog"), self._setting("data"))

    def place_at(self, address: str | None, data: str | None) -> LakeFiles:
        """Where the lake is with these settings: without an address, in the project's data folder."""
        if not address:
            return LakeFiles(SqliteCatalog(self.lake), storage_at(self.data))
        try:
            from ml_assets.lake.postgres import PostgresCatalog
        except ImportError as error:
            raise LakeError(
                "The lake's catalog is on PostgreSQL, whose driver is not installed.",
                found=str(error),
                fix="pip install 'ml-assets[postgres]'",
            ) from error
        catalog = PostgresCatalog(address, self.lake, data and f"{data.rstrip('/')}/{DATA}")
        return LakeFiles(catalog, storage_at(data or self.data))

    @property
    def artifacts(self) -> Stores:
        """Bundles, releases and reports; whoever reads one asks here for a local path."""
        return Stores.of(artifacts_at(self._place or self.data, self.data / "cache"))

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
        """The prediction log of the servers of this machine."""
        return self.data / "serving"

    @property
    def shipped_log(self) -> Artifacts | None:
        """Where servers put the closed files of their log, and pipelines read them; None: pipelines read `serving`."""
        return artifacts_at(f"{self._place.rstrip('/')}/serving", self.data / "cache") if self._place else None

    @property
    def spool(self) -> Path:
        return self.data / "spool"

    @property
    def _place(self) -> str | None:
        """Where all machines find the project's files, if that is not its data folder."""
        return self._setting("data") if self._setting("catalog") else None

    def _setting(self, name: str) -> str | None:
        """A setting of the lake, for the project's own data folder alone."""
        if self.data != _data_folder(self.root):
            return None
        return os.environ.get(SETTINGS[name]) or settings(self.root, "lake", dict.fromkeys(SETTINGS, str)).get(name)

    def resolve(self, path: str) -> Path:
        """A path of the YAML, relative to the project root or absolute."""
        return self.root / path


def _data_folder(root: Path) -> Path:
    return Path(os.environ.get(ENV_DATA) or root / "data").resolve()


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
