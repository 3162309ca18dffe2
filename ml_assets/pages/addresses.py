"""Where each page is: paths without host and port, which whoever shows a link puts in front.

Belongs here: nothing but texts, so that stages and commands may link to a page without knowing how it is made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import quote, urlencode

ENV_PAGES_URL = "ML_ASSETS_PAGES_URL"  # where people reach the pages
BELOW_DAGSTER = "/ml-assets"  # Dagster's web server passes what is below it on to the pages
HOME = "/"
TIMELINE = "/timeline"


def pipeline(name: str) -> str:
    """A pipeline: its champion, scores, drift, files."""
    return f"/pipelines/{_part(name)}"


def versions(name: str) -> str:
    """The model versions of a pipeline."""
    return _below(name, "versions")


def version(name: str, number: str) -> str:
    """One model version, with what was decided about it."""
    return f"{versions(name)}/{_part(number)}"


def compare(name: str, first: str, second: str) -> str:
    """Two versions side by side."""
    return f"{pipeline(name)}/compare?{urlencode({'a': first, 'b': second})}"


def batches(name: str) -> str:
    """The batches of a pipeline."""
    return _below(name, "batches")


def batch(name: str, batch: str) -> str:
    """One batch."""
    return f"{batches(name)}/{_part(batch)}"


def quarantine(name: str, batch: str | None = None) -> str:
    """Rows that broke a rule, of all batches or of one."""
    return _below(name, "quarantine") + (f"?{urlencode({'batch': batch})}" if batch else "")


def decisions(name: str) -> str:
    """Every decision about a version, and about a training."""
    return _below(name, "decisions")


def alerts(name: str) -> str:
    """What people were notified of."""
    return _below(name, "alerts")


def report(file: str) -> str:
    """An HTML report, by its path below the reports folder."""
    return f"/reports/{quote(file)}"


def below_dagster(address: str) -> str:
    """A page as a link in Dagster's own pages, where it is found wherever both are served from."""
    return BELOW_DAGSTER + address


def absolute(address: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """A page for somebody who reads this elsewhere; None where nobody has said under which address people reach it."""
    base = environment.get(ENV_PAGES_URL)
    return f"{base.rstrip('/')}{address}" if base else None


def _below(name: str, page: str) -> str:
    return f"{pipeline(name)}/{page}"


def _part(name: str) -> str:
    return quote(name, safe="")
