"""`ml-assets lake maintenance`: the job `<pipeline>_maintenance`, by hand."""

from __future__ import annotations

from pathlib import Path

import click

from ml_assets.cli.group import console
from ml_assets.cli.listing import json_option, print_json
from ml_assets.cli.pipelines import pipeline_argument, writing
from ml_assets.errors import MLAssetsError
from ml_assets.lake.lake import Commit
from ml_assets.project import declared, project_at
from ml_assets.tables import prediction_log
from ml_assets.tables.maintenance import run_maintenance


@click.command(short_help="Merge small files, expire unneeded snapshots.")
@pipeline_argument
@click.option("--dry-run", is_flag=True, help="Print what would be done, and change nothing.")
@click.option(
    "--keep-days", type=click.IntRange(min=1), help="By default maintenance.keep_days of the pipeline's YAML."
)
@json_option
def maintenance(pipeline: str, dry_run: bool, keep_days: int | None, as_json: bool) -> None:
    """Merge small files, expire snapshots that nothing needs, remove files that nothing names.

    Deletes logged requests that are older than serving.log.keep_days, too.
    """
    with writing(pipeline) as lake:
        log_days = _log_days(pipeline)
        if log_days is not None and not dry_run:
            prediction_log.forget(lake, pipeline, log_days, Commit(prediction_log.PREDICTION_LOG.asset(pipeline)))
        done = run_maintenance(lake, pipeline, keep_days or _keep_days(pipeline), dry_run=dry_run)
    if as_json:
        print_json(done)
        return
    console.print(
        f"{'would expire' if dry_run else 'expired'} {len(done.snapshots):,} snapshots, "
        f"{'merge' if dry_run else 'merged'} {done.files_merged:,} files, "
        f"{'remove' if dry_run else 'removed'} {done.files_removed:,} files; "
        f"{done.bytes_before / 1e6:,.1f} MB before, {done.bytes_after / 1e6:,.1f} MB after, {done.seconds:.2f} s"
    )


def _log_days(pipeline: str) -> int | None:
    """`serving.log.keep_days` of the YAML; None where there is no YAML, no log, or it is kept for ever."""
    from ml_assets.spec.operation import Serving

    try:
        log = Serving.model_validate(declared(project_at(Path.cwd()), pipeline).get("serving") or {}).log
    except (MLAssetsError, ValueError):
        return None
    return log.keep_days if log else None


def _keep_days(pipeline: str) -> int:
    """`maintenance.keep_days` as the pipeline's YAML has it; loading the definitions would take seconds.

    Raises:
        MLAssetsError: There is no such YAML, or it is wrong.
    """
    from ml_assets.spec import Maintenance

    try:
        return Maintenance.model_validate(declared(project_at(Path.cwd()), pipeline).get("maintenance") or {}).keep_days
    except (MLAssetsError, ValueError) as error:
        raise MLAssetsError(
            f"No YAML says how long the snapshots of {pipeline} are kept.", found=error, fix="Give --keep-days."
        ) from error
