"""`dg scaffold defs ml_assets.MLPipeline NAME --source PATH --target COLUMN`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click
import dagster as dg
from pydantic import BaseModel, Field

from ml_assets.errors import MLAssetsError


class PipelineParams(BaseModel):
    """Options of the command."""

    source: str = Field(description="Folder of files, one file, or a glob: parquet, csv, jsonl, also .gz and .zst.")
    target: str = Field(description="Column to predict.")


class PipelineScaffolder(dg.Scaffolder[PipelineParams]):
    """Writes a pipeline that runs as it is, inferred from data."""

    @classmethod
    def get_scaffold_params(cls) -> type[PipelineParams]:
        return PipelineParams

    def scaffold(self, request: dg.ScaffoldRequest[PipelineParams]) -> None:
        """Infer and write. A user's mistake ends with its text."""
        from ml_assets.scaffold.draft import draft
        from ml_assets.scaffold.project import refuse_existing, write_pipeline
        from ml_assets.scaffold.render import decisions

        folder = request.target_path
        root = (request.project_root or Path.cwd()).resolve()
        try:
            refuse_existing(folder)
            made = draft(folder.name, request.params.source, request.params.target, root, Path.cwd())
            write_pipeline(made, folder)
        except MLAssetsError as error:
            with contextlib.suppress(OSError):
                folder.rmdir()  # dg has just made it, and refuses a folder that exists
            raise click.ClickException(str(error)) from error
        click.echo("What you should decide:")
        for line in decisions(made):
            click.echo(f"- {line}")
