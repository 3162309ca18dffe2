"""The commit that a project's folder is at, so that a model can say which code and YAML it came from."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ENV_COMMIT = "GIT_COMMIT"
TIMEOUT_S = 0.5
CODE = ("*.py", "*.sql", "*.yaml", "*.yml", "*.toml", "*.lock")


def commit_of(folder: Path) -> str:
    """SHA of HEAD, with `+changes` where code, SQL or settings of the folder differ; empty outside a repository.

    `$GIT_COMMIT` says it where there is no repository, as in a container. Files below `data` do not count. Where git
    takes longer than half a second to look for changes, the answer is SHA`+unknown`.
    """
    named = os.environ.get(ENV_COMMIT)
    if named:
        return named
    head = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if not head:
        return ""
    # A repository's own settings can name a program that `status` starts.
    changes = _git(folder, "-c", "core.fsmonitor=false", "status", "--porcelain", "--", *CODE, ":(exclude)data")
    return head + ("+unknown" if changes is None else "+changes" if changes else "")


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None where it fails, takes too long, or is not installed."""
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()
