"""`python -m ml_assets.ui.web HOST PORT WORKSPACE`: Dagster's web server behind the guard.

Dagster itself executes what any page in the browser sends it, mutations by GET included.
"""

from __future__ import annotations

import os
import sys

from ml_assets.ui.guard import Guard, Origins

ENV_UI_URL = "ML_ASSETS_UI_URL"
STOP_S = 2  # open pages hold a connection for ever


def serve(host: str, port: int, workspace: str) -> None:
    """Serve until a signal ends it."""
    import uvicorn
    from dagster._cli.utils import get_possibly_temporary_instance_for_cli
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster._utils.log import configure_loggers
    from dagster_webserver import cli
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__

    configure_loggers(log_level="INFO")
    with get_possibly_temporary_instance_for_cli("ml-assets ui") as instance:
        instance.optimize_for_webserver(
            cli.DEFAULT_DB_STATEMENT_TIMEOUT, cli.DEFAULT_POOL_RECYCLE, cli.DEFAULT_POOL_MAX_OVERFLOW
        )
        target = WorkspaceFileTarget([workspace])
        with WorkspaceProcessContext(instance, target, version=__version__) as context:
            app = create_app_from_workspace_process_context(context, live_data_poll_rate=2000)
            guarded = Guard(app, Origins.of(port, os.environ.get(ENV_UI_URL)))
            uvicorn.run(guarded, host=host, port=port, log_level="warning", timeout_graceful_shutdown=STOP_S)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3])
