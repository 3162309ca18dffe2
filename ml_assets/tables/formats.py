"""A lake that a newer ml_assets has written is refused, before anything in it is misread or changed.

A table's format is stored in its comment (`Table.comment`), so that it is written and restored together with the table.
"""

from __future__ import annotations

import re

from ml_assets.errors import LakeError
from ml_assets.lake import comments
from ml_assets.lake.lake import Lake
from ml_assets.tables.families import table_of

FORMAT = re.compile(r"\[format (\d+)\]$")


def check(lake: Lake) -> None:
    """Compare the formats of the lake's tables with those that this version knows.

    Raises:
        LakeError: One of them is newer.
    """
    if not lake.catalog.exists():
        return
    for name, comment in comments.of_tables(lake.con).items():
        stored = FORMAT.search(comment)
        table = table_of(name.partition(".")[2])
        known = table.format if table else 0
        if stored and int(stored[1]) > known:
            raise LakeError(
                "A newer version of ml_assets has written this lake.",
                found=f"table {name} in format {stored[1]}; this version knows {known or 'no such table'}",
                where={"lake": lake.folder},
                fix="Install that version again, or restore a backup of the lake from before the upgrade.",
            )
