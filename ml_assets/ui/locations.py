"""`python -m ml_assets.ui.locations`: which code locations the project has, as JSON, as Dagster itself finds them.

A process of its own, so that the one that lives as long as `ml-assets ui` need not import Dagster.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

WORKSPACE = "workspace.yaml"


@dataclass(frozen=True)
class Location:
    """A code location.

    Args:
        name: Its name.
        arguments: Of `dagster code-server start`, to serve it.
        workspace: Its entry in workspace.yaml where it is served already.
        about: What Dagster's UI says of it.
    """

    name: str
    arguments: list[str] = field(default_factory=list)
    workspace: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


def find(folder: Path) -> list[Location]:
    """The code locations of workspace.yaml, else of pyproject.toml."""
    from dagster._cli.workspace.cli_target import workspace_opts_to_load_target
    from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin
    from dagster_shared.cli import WorkspaceOpts

    opts = WorkspaceOpts(workspace=(WORKSPACE,) if (folder / WORKSPACE).exists() else ())
    found = []
    for origin in workspace_opts_to_load_target(opts).create_origins():
        if isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin):
            target = origin.loadable_target_origin
            found.append(Location(origin.location_name, list(target.get_cli_args()), {}, target.as_dict))
        else:
            entry = {name: getattr(origin, name) for name in ("host", "port", "socket", "location_name")}
            found.append(Location(origin.location_name, [], {name: v for name, v in entry.items() if v is not None}))
    return found


def main() -> None:
    """Print them as JSON."""
    print(json.dumps([asdict(location) for location in find(Path.cwd())]))


if __name__ == "__main__":
    main()
