"""`ml-assets models champion`: which version is the champion, or was at a time."""

from __future__ import annotations

import datetime as dt

import click

from ml_assets.cli.group import console
from ml_assets.cli.listing import json_option, print_json
from ml_assets.cli.pipelines import pipeline_argument, reading
from ml_assets.errors import ModelError
from ml_assets.tables import versions


@click.command()
@pipeline_argument
@click.option("--as-of", metavar="TIME", help="ISO time, UTC where it has no zone, such as 2013-11-01T12:00+01:00.")
@json_option
def champion(pipeline: str, as_of: str | None, as_json: bool) -> None:
    """Which version is the champion, or was at a time. Exits with 1 if there is none."""
    moment = _moment(as_of) if as_of else None
    with reading(pipeline) as lake:
        versions.check_pipeline(lake, pipeline)
        model = versions.alias(lake, pipeline, "champion", moment)
    if model is None:
        was = f"There was no champion at {moment:%Y-%m-%d %H:%M:%S} UTC." if moment else "There is no champion yet."
        raise ModelError(
            was,
            where={"pipeline": pipeline},
            fix=f"`ml-assets models list {pipeline}` shows every version.",
        )
    if as_json:
        print_json(model)
    else:
        console.print(model.version)


def _moment(text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ModelError(
            "--as-of takes a time in ISO format, UTC where it has no zone.",
            found=text,
            fix="Write it such as 2013-11-01, 2013-11-01T12:00 or 2013-11-01T12:00+01:00.",
        ) from None
    return moment if moment.tzinfo is None else moment.astimezone(dt.UTC).replace(tzinfo=None)
